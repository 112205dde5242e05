package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that the gateway becomes.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// findAccount reads --user: a name, or numbers UID[:GID] that need not be of any user that the system knows. Without a
// GID an unknown number is a group too.
func findAccount(s string) (*account, error) {
	name, group, hasGroup := strings.Cut(s, ":")
	a := &account{name: s}
	u, err := user.Lookup(name)
	if err != nil {
		if _, err := accountNumber(name); err != nil {
			return nil, fmt.Errorf("--user %s: no such user; %w", s, errUsage)
		}
		if u, err = user.LookupId(name); err != nil {
			u = &user.User{Uid: name, Gid: name}
		}
	}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, err
	}
	if hasGroup {
		u.Gid = group
		if g, err := user.LookupGroup(group); err == nil {
			u.Gid = g.Gid
		}
	} else if ids, err := u.GroupIds(); err == nil {
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil {
				a.groups = append(a.groups, n)
			}
		}
	}
	if a.gid, err = accountNumber(u.Gid); err != nil {
		return nil, fmt.Errorf("--user %s: no such group; %w", s, errUsage)
	}
	if a.groups == nil {
		a.groups = []int{a.gid}
	}
	return a, nil
}

// accountNumber reads the number of a user or group. The kernel and the C library take one of more than 32 bits for
// another: 2^32 for root's.
func accountNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}

// become makes the process one of the account's. Only root can, and it cannot go back.
func (a *account) become() error {
	if os.Getuid() == a.uid && os.Getgid() == a.gid && a.uid != 0 {
		return nil
	}
	if os.Getuid() != 0 {
		return errors.New("only root can become another user")
	}
	return errors.Join(syscall.Setgroups(a.groups), syscall.Setgid(a.gid), syscall.Setuid(a.uid))
}

// makeData makes the data directory when it is not there, for the account when given.
func makeData(dir string, who *account) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if who == nil || os.Getuid() != 0 {
		return nil
	}
	return os.Chown(dir, who.uid, who.gid)
}
