package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// giveUp drops what the process does not need once its sockets are open: it becomes who, when given, with no
// capability, no way to gain any through a program that it starts, no core dumps, and no right to write beyond the data
// directory. What the kernel does not know is left out, and said. All but the user holds for the calling thread alone,
// and for the whole process once that thread has executed a program, which it has to do next.
func giveUp(log *slog.Logger, who *account, data string) error {
	runtime.LockOSThread()
	unix.Umask(0o077)
	tell := func(what string, err error) {
		if err != nil {
			log.Warn("a privilege cannot be dropped", "privilege", what, "error", err)
		}
	}
	tell("core dumps", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	tell("the right to gain privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	tell("ambient capabilities", unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
	tell("the bounding set of capabilities", dropBounding())
	if who != nil {
		// This one is asked for: a gateway that goes on as root would be what nobody wanted.
		if err := who.become(); err != nil {
			return fmt.Errorf("become user %s: %w", who.name, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	tell("capabilities", unix.Capset(&header, &none[0]))
	abi, err := confineWrites(data)
	tell("the right to write outside of --data", err)
	log.Info("privileges dropped", "user", unix.Getuid(), "group", unix.Getgid(), "landlock", abi)
	return nil
}

// dropBounding empties the set of capabilities that a program of root's would start with.
func dropBounding() error {
	for c := uintptr(0); ; c++ {
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); {
		case errors.Is(err, unix.EINVAL):
			return nil // there are no more
		case errors.Is(err, unix.EPERM) && unix.Getuid() != 0:
			return nil // it takes a capability to drop one: who has none needs not
		case err != nil:
			return err
		}
	}
}

// confineWrites lets the thread change files beneath dir alone, by Landlock (landlock(7)), and returns the version of
// it that the kernel has, 0 for none.
func confineWrites(dir string) (abi int, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno // the kernel is older than 5.13, or was started without it
	}
	abi = int(version)
	var changes uint64 = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	if abi >= 2 {
		changes |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		changes |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	parent, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return abi, err
	}
	defer func() { _ = unix.Close(parent) }()
	attr := unix.LandlockRulesetAttr{Handled_access_fs: changes}
	const onlyFiles = unsafe.Sizeof(attr.Handled_access_fs) // what every version has
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), onlyFiles, 0)
	if errno != 0 {
		return abi, errno
	}
	defer func() { _ = unix.Close(int(rules)) }()
	beneath := unix.LandlockPathBeneathAttr{Allowed_access: changes, Parent_fd: int32(parent)}
	if _, _, errno = unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&beneath)), 0, 0, 0); errno != 0 {
		return abi, errno
	}
	if _, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return abi, errno
	}
	return abi, nil
}
