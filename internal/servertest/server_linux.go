package servertest

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take to start on a machine that is busy with other tests.
const patience = 60 * time.Second

// Server is a running program. It ends with its test.
type Server struct {
	t     testing.TB
	cmd   *exec.Cmd
	mu    sync.Mutex
	log   bytes.Buffer
	ended chan struct{}
}

// Account is whom a program runs as. The zero value is whoever runs the test.
type Account struct{ credential *syscall.Credential }

// NotRoot returns the account of a user of this machine for programs that refuse to run as root, and gives it dir, a
// folder in t.TempDir. Where the test does not run as root it is the test's own.
func NotRoot(t testing.TB, name, dir string) Account {
	t.Helper()
	if os.Getuid() != 0 {
		return Account{}
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	a := Account{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	a.Own(t, dir)
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711); err != nil { // t.TempDir is for its user alone
		t.Fatal(err)
	}
	return a
}

// Own gives a file to the account.
func (a Account) Own(t testing.TB, path string) {
	t.Helper()
	if a.credential == nil {
		return
	}
	if err := os.Chown(path, int(a.credential.Uid), int(a.credential.Gid)); err != nil {
		t.Fatal(err)
	}
}

// run prepares a program that dies with the test's process, however that ends.
func (a Account) run(t testing.TB, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: a.credential}
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// Addr returns an address to listen on that nobody listens on now. It is not 127.0.0.1, so that no client's own port
// can come in between.
func Addr(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 77, 0, 1}), Port(t))
}

// Run starts a program that stays in the foreground, and waits until it listens on addr.
func Run(t testing.TB, as Account, addr netip.AddrPort, path string, args ...string) *Server {
	t.Helper()
	s := start(t, as, path, args...)
	s.await(func() bool {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(t.Context(), "tcp", addr.String())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

// RunSaying starts a program that stays in the foreground, and waits until it has printed a text: for those that do not
// bear a connection on which nothing comes.
func RunSaying(t testing.TB, as Account, text, path string, args ...string) *Server {
	t.Helper()
	s := start(t, as, path, args...)
	s.await(func() bool { return s.says(text) })
	return s
}

func start(t testing.TB, as Account, path string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, cmd: as.run(t, path, args...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.WaitDelay = s, s, 20*time.Second
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGINT) }
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() { s.Stop() })
	return s
}

// await waits until the server is ready.
func (s *Server) await(ready func() bool) {
	s.t.Helper()
	late, beat := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	for !ready() {
		select {
		case <-beat.C:
		case <-s.ended:
			s.t.Fatalf("%s has ended:\n%s", s.cmd.Path, s.Log())
		case <-late:
			s.t.Fatalf("%s does not start:\n%s", s.cmd.Path, s.Log())
		}
	}
}

// Write takes what the program prints.
func (s *Server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// Log returns what the program has printed so far.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// Stop ends the program, by the signal that all of them end fast on, and returns what it printed.
func (s *Server) Stop() string {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.t.Errorf("%s did not end when it was told to:\n%s", s.cmd.Path, s.Log())
	}
	return s.Log()
}

// says reports whether the program printed a text.
func (s *Server) says(text string) bool { return strings.Contains(s.Log(), text) }
