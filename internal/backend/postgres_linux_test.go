package backend

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
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

	"github.com/postern/postern/internal/link"
)

const postgresPrograms = "/usr/lib/postgresql/15/bin/"

// TestAskPostgres asks a real server, with TLS and without, and looks at what it wrote of that into its log.
func TestAskPostgres(t *testing.T) {
	if _, err := os.Stat(postgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	as := notRoot(t, dir)
	cmd := exec.CommandContext(t.Context(), postgresPrograms+"initdb", "--no-sync", "--auth=trust", "--username=u", "-D", dir)
	cmd.SysProcAttr = as
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	writeCertificate(t, dir, as)
	for _, ssl := range []string{"on", "off"} {
		addr := refusing(t)
		server := startPostgres(t, as, dir, addr, ssl)
		for range 10 {
			for _, c := range []link.Check{link.CheckPostgres, link.CheckTCP} {
				q := probe{HealthCheck: link.HealthCheck{Check: c, Timeout: 20 * time.Second}, addr: addr, host: "db.test"}
				if err := ask(t.Context(), q); err != nil {
					t.Errorf("%s with ssl %s: %v", c, ssl, err)
				}
			}
		}
		complaints := server.stop()
		if strings.Contains(complaints, "SSL") || strings.Contains(complaints, "startup packet") || strings.Contains(complaints, "FATAL") {
			t.Errorf("with ssl %s the server complained:\n%s", ssl, complaints)
		}
	}
}

// notRoot returns how to run a program that refuses to run as root, and gives it dir.
func notRoot(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	end := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() != 0 {
		return end
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711); err != nil { // t.TempDir is for its user alone
		t.Fatal(err)
	}
	end.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return end
}

func writeCertificate(t *testing.T, dir string, as *syscall.SysProcAttr) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	certDER, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: certDER}, "server.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if as.Credential != nil {
			if err := os.Chown(path, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// postgres is a running server.
type postgres struct {
	t     *testing.T
	cmd   *exec.Cmd
	mu    sync.Mutex
	log   bytes.Buffer
	ended chan struct{}
}

func (p *postgres) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *postgres) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func startPostgres(t *testing.T, as *syscall.SysProcAttr, dir string, addr netip.AddrPort, ssl string) *postgres {
	t.Helper()
	p := &postgres{t: t, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), postgresPrograms+"postgres", "-D", dir, "-p", fmt.Sprint(addr.Port()),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl="+ssl, "-c", "fsync=off",
		"-c", "log_connections=off", "-c", "lc_messages=C")
	p.cmd.SysProcAttr, p.cmd.Stderr, p.cmd.WaitDelay = as, p, 20*time.Second
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGINT) } // a fast shutdown
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop() })
	ready, beat := time.After(60*time.Second), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	for !strings.Contains(p.text(), "ready to accept connections") {
		select {
		case <-beat.C:
		case <-p.ended:
			t.Fatalf("the server has ended:\n%s", p.text())
		case <-ready:
			t.Fatalf("the server does not start:\n%s", p.text())
		}
	}
	return p
}

// stop ends the server and returns its log.
func (p *postgres) stop() string {
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	<-p.ended
	return p.text()
}
