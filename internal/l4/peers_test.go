package l4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/postern/postern/internal/servertest"
)

// firstBytes is a server that parses what the first bytes of a connection are.
type firstBytes struct {
	t  *testing.T
	ln net.Listener
}

func newFirstBytes(t *testing.T, addr string) *firstBytes {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &firstBytes{t, ln}
}

// next accepts a connection and reads until parse has what it wants. The connection lives until the test's end.
func (f *firstBytes) next(parse func([]byte) (int, error)) net.Conn {
	f.t.Helper()
	_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := f.ln.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	var buf []byte
	for {
		n, err := parse(buf)
		if err == nil {
			return c
		}
		if !errors.Is(err, ErrIncomplete) {
			f.t.Fatalf("%v: %q", err, buf)
		}
		for len(buf) < n {
			more := make([]byte, 4096)
			m, err := c.Read(more)
			if err != nil {
				f.t.Fatalf("%v, after %q", err, buf)
			}
			buf = append(buf, more[:m]...)
		}
	}
}

// background runs a program until the test's end.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("%s: %s", name, text)
		}
		_ = out.Close()
	})
}

// connect dials an address as soon as somebody listens there.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		c, err := d.DialContext(t.Context(), "tcp", addr)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if time.Since(start) > patience {
			t.Fatal(err)
		}
	}
}

func config(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// header wants a PROXY header, and that it names both ends of the connection to the balancer.
func (f *firstBytes) header(client net.Conn, version int) {
	f.t.Helper()
	var h ProxyHeader
	f.next(func(b []byte) (n int, err error) {
		if len(b) > 0 && (b[0] == 'P') != (version == 1) {
			f.t.Fatalf("not of version %d: %q", version, b)
		}
		h, n, err = ParseAnyProxyHeader(b)
		return n, err
	})
	if h.Source != netip.MustParseAddrPort(client.LocalAddr().String()) || h.Destination != netip.MustParseAddrPort(client.RemoteAddr().String()) {
		f.t.Errorf("version %d: %v → %v, the balancer was reached by %v → %v", version, h.Source, h.Destination, client.LocalAddr(), client.RemoteAddr())
	}
}

func TestHeadersOfHAProxy(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("needs haproxy (Debian package haproxy)")
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for version, option := range map[int]string{1: "send-proxy", 2: "send-proxy-v2"} {
			f := newFirstBytes(t, "127.0.0.1:0")
			front := net.JoinHostPort(host, strconv.Itoa(int(servertest.Port(t))))
			background(t, "haproxy", "-db", "-f", config(t, fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen test
  bind %s
  server test %s %s
`, front, f.ln.Addr(), option)))
			client := connect(t, front)
			f.header(client, version)
		}
	}
}

func TestHeadersOfNginx(t *testing.T) {
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("needs nginx (Debian package nginx)")
	}
	if _, err := os.Stat(module); err != nil {
		t.Skip("needs nginx-stream (Debian package libnginx-mod-stream)")
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		f := newFirstBytes(t, "127.0.0.1:0")
		front := net.JoinHostPort(host, strconv.Itoa(int(servertest.Port(t))))
		background(t, "nginx", "-p", t.TempDir(), "-e", "stderr", "-c", config(t, fmt.Sprintf(`
load_module %s;
daemon off;
master_process off;
pid nginx.pid;
events {}
stream { server { listen %s; proxy_pass %s; proxy_protocol on; } }
`, module, front, f.ln.Addr())))
		client := connect(t, front)
		f.header(client, 1)
	}
}

func TestFirstMessagesOfPsql(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("needs psql (Debian package postgresql-client-15)")
	}
	f := newFirstBytes(t, "127.0.0.1:0")
	port := netip.MustParseAddrPort(f.ln.Addr().String()).Port()
	for _, tt := range []struct {
		sslmode string
		want    []PostgresStart // what it sends, the second after a No
	}{
		{"disable", []PostgresStart{PostgresStartup}},
		{"require", []PostgresStart{PostgresSSL}},
		{"prefer", []PostgresStart{PostgresSSL, PostgresStartup}},
	} {
		background(t, psql, "-w", fmt.Sprintf("host=127.0.0.1 port=%d user=ada dbname=engines sslmode=%s gssencmode=disable connect_timeout=10", port, tt.sslmode))
		var got PostgresStart
		parse := func(b []byte) (n int, err error) {
			got, n, err = ParsePostgres(b)
			if err == nil && n != len(b) {
				t.Errorf("sslmode %s: %d bytes behind the message: %q", tt.sslmode, len(b)-n, b)
			}
			return n, err
		}
		c := f.next(parse)
		for i, want := range tt.want {
			if got != want {
				t.Errorf("sslmode %s: message %d is of kind %d, want %d", tt.sslmode, i, got, want)
			}
			if i == len(tt.want)-1 {
				break
			}
			if _, err := c.Write([]byte{PostgresNo}); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parse(buf[:n]); err != nil {
				t.Fatalf("%v: %q", err, buf[:n])
			}
		}
		_ = c.Close()
	}
}
