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
	"strconv"
	"syscall"
	"time"
)

// SharedPostgres is a PostgreSQL server that outlives a test: all tests of a package use it, each a database of its own.
// It listens on a socket in its own folder, so that no port is anybody's.
type SharedPostgres struct {
	dir   string
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{}
}

// SharePostgres makes and starts a server. Stop it at the end of the process; it dies with the process in any case.
func SharePostgres() (_ *SharedPostgres, err error) {
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return nil, err
	}
	p := &SharedPostgres{dir: dir, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	as := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	initdb := exec.CommandContext(context.Background(), PostgresPrograms+"initdb",
		"--no-sync", "--auth=trust", "--username=u", "--encoding=UTF8", "-D", p.data())
	initdb.SysProcAttr, initdb.Env = as, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(context.Background(), PostgresPrograms+"postgres", "-D", p.data(), "-k", dir)
	for _, s := range []string{
		"listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300", "lc_messages=C",
	} {
		p.cmd.Args = append(p.cmd.Args, "-c", s)
	}
	p.cmd.SysProcAttr, p.cmd.Stdout, p.cmd.Stderr = as, p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, p.await()
}

func (p *SharedPostgres) data() string { return filepath.Join(p.dir, "data") }

// await waits until the server takes connections.
func (p *SharedPostgres) await() error {
	late, beat := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	for {
		said, err := os.ReadFile(p.log.Name())
		if err != nil || bytes.Contains(said, []byte("ready to accept connections")) {
			return err
		}
		select {
		case <-beat.C:
		case <-p.ended:
			return fmt.Errorf("postgres has ended:\n%s", said)
		case <-late:
			p.Stop()
			return fmt.Errorf("postgres does not start:\n%s", said)
		}
	}
}

// URL is that of a database of the server, which the server's superuser opens.
func (p *SharedPostgres) URL(database string) string {
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {p.dir}, "user": {"u"}}.Encode()}).String()
}

// Stop ends the server and removes its data.
func (p *SharedPostgres) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	<-p.ended
	_ = errors.Join(p.log.Close(), os.RemoveAll(p.dir))
}
