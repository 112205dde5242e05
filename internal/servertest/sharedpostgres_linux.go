package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SharedPostgres is a PostgreSQL server that outlives a test: all tests of a package use it, each a database of its own.
// It listens on a socket in its own folder, so that no port is anybody's.
type SharedPostgres struct {
	dir      string
	as       *syscall.SysProcAttr
	settings []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd has ended
}

// SharePostgres makes and starts a server, with settings of the form name=value on top of those that make tests fast.
// Stop it at the end of the process; it dies with the process in any case.
func SharePostgres(settings ...string) (_ *SharedPostgres, err error) {
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return nil, err
	}
	p := &SharedPostgres{dir: dir, as: &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}, settings: settings}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		p.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	initdb := exec.CommandContext(context.Background(), PostgresPrograms+"initdb",
		"--no-sync", "--auth=trust", "--username=u", "--encoding=UTF8", "-D", p.data())
	initdb.SysProcAttr, initdb.Env = p.as, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *SharedPostgres) data() string { return filepath.Join(p.dir, "data") }

// Start starts the server again after Crash, and returns when it takes connections.
func (p *SharedPostgres) Start() error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own
	p.cmd = exec.CommandContext(context.Background(), PostgresPrograms+"postgres", "-D", p.data(), "-k", p.dir)
	for _, s := range slices.Concat([]string{
		"listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=300", "lc_messages=C",
	}, p.settings) {
		p.cmd.Args = append(p.cmd.Args, "-c", s)
	}
	p.cmd.SysProcAttr, p.cmd.Stdout, p.cmd.Stderr = p.as, log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	late, beat := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	for {
		said, err := os.ReadFile(log.Name())
		if err != nil || bytes.Contains(said, []byte("ready to accept connections")) {
			return err
		}
		select {
		case <-beat.C:
		case <-ended:
			return fmt.Errorf("postgres has ended:\n%s", said)
		case <-late:
			p.Crash()
			return fmt.Errorf("postgres does not start:\n%s", said)
		}
	}
}

// URL is that of a database of the server, which the server's superuser opens.
func (p *SharedPostgres) URL(database string) string {
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {p.dir}, "user": {"u"}}.Encode()}).String()
}

// Crash ends the server at once, with everything that is under way. What was committed is there after Start.
func (p *SharedPostgres) Crash() { p.end(syscall.SIGQUIT) }

// Freeze has the server and all that serve connections for it stand still until Thaw.
func (p *SharedPostgres) Freeze() error { return p.signalAll(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *SharedPostgres) Thaw() error { return p.signalAll(syscall.SIGCONT) }

// signalAll signals the server first, so that it begins nothing, and then its children.
func (p *SharedPostgres) signalAll(sig syscall.Signal) error {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	errs := []error{p.cmd.Process.Signal(sig)}
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	errs = append(errs, err)
	for child := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(child)
		if err == nil {
			err = syscall.Kill(n, sig)
		}
		if !errors.Is(err, syscall.ESRCH) { // it has just ended
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Stop ends the server and removes its data.
func (p *SharedPostgres) Stop() {
	p.end(syscall.SIGINT)
	_ = os.RemoveAll(p.dir)
}

func (p *SharedPostgres) end(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	<-p.ended
}
