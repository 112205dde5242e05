package webserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
	"github.com/postern/postern/internal/servertest"
)

// running is an installed server that runs with a file of ours, and the command by which it reads that file anew. The commands
// are those of docs/render.md, with the server's own in place of systemctl.
type running struct {
	server link.WebServer
	reload string // for sh, without the look at what it serves; $DIR is the folder, $FILE the file
	start  func(t *testing.T, dir, file string, at netip.AddrPort)
}

var reloads = []running{
	{link.NGINX, `nginx -p "$DIR" -c main.conf -e stderr -s reload`, func(t *testing.T, dir, file string, at netip.AddrPort) {
		t.Helper()
		user := ""
		if os.Geteuid() == 0 {
			user = "user root;\n" // the folder is nobody else's
		}
		put(t, dir, "main.conf", user+"daemon off; pid pid; error_log stderr; events {}\nhttp {\n access_log off;\n client_body_temp_path body;\n proxy_temp_path proxy;\n"+
			" fastcgi_temp_path fastcgi;\n uwsgi_temp_path uwsgi;\n scgi_temp_path scgi;\n include "+file+";\n}\n")
		servertest.Run(t, servertest.Account{}, at, "nginx", "-p", dir, "-c", "main.conf", "-e", "stderr")
	}},
	// Apache ends when it cannot open a port at a reload, and starts anew at the next, as systemctl reload-or-restart does.
	{link.Apache, `apache2 -f "$DIR/main.conf" -k graceful`, func(t *testing.T, dir, file string, at netip.AddrPort) {
		t.Helper()
		var b strings.Builder
		fmt.Fprintf(&b, "ServerRoot %[1]q\nDefaultRuntimeDir %[1]q\nPidFile %[1]s/pid\nErrorLog %[1]s/error.log\nServerName localhost\nDefine APACHE_RUN_DIR %[1]q\n", dir)
		if os.Geteuid() == 0 {
			fmt.Fprintf(&b, "User %s\nGroup #65534\n", serverUser())
		}
		for _, m := range apacheModules {
			fmt.Fprintf(&b, "IncludeOptional %s/%s.load\n", apacheAvailable, m)
		}
		fmt.Fprintf(&b, "Include %q\n", file)
		put(t, dir, "main.conf", b.String())
		servertest.Run(t, servertest.Account{}, at, "apache2", "-DFOREGROUND", "-f", filepath.Join(dir, "main.conf"))
		t.Cleanup(func() { endApache(t, filepath.Join(dir, "pid")) })
	}},
	{link.HAProxy, `haproxy -c -f "$FILE" && kill -USR2 "$(cat "$DIR/pid")"`, func(t *testing.T, dir, file string, at netip.AddrPort) {
		t.Helper()
		servertest.Run(t, servertest.Account{}, at, "haproxy", "-W", "-p", filepath.Join(dir, "pid"), "-f", file)
	}},
	// Caddy's administration listens where the text says, or at a port of its own choice: here beside that of every other test.
	{link.Caddy, `. "$DIR/admin" && sed "0,/auto_https off/s//admin $ADMIN\n&/" "$FILE" >"$DIR/served" && caddy reload --adapter caddyfile --config "$DIR/served" --address "$ADMIN"`, func(t *testing.T, dir, file string, at netip.AddrPort) {
		t.Helper()
		admin := servertest.Addr(t).String()
		put(t, dir, "admin", "ADMIN="+admin+"\n")
		put(t, dir, "served", strings.Replace(content(t, file), "auto_https off", "admin "+admin+"\n\tauto_https off", 1))
		servertest.Run(t, servertest.Account{}, at, "env", "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "caddy", "run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "served"))
	}},
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// endApache ends the Apache that a reload started, which is no child of the test.
func endApache(t *testing.T, pidFile string) {
	pid, err := strconv.Atoi(strings.TrimSpace(content(t, pidFile)))
	if err != nil {
		return // it has ended, and taken its note with it
	}
	late, beat := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	for _ = syscall.Kill(pid, syscall.SIGTERM); syscall.Kill(pid, 0) == nil; {
		select {
		case <-beat.C:
		case <-late:
			t.Errorf("process %d of Apache does not end", pid)
			return
		}
	}
}

// TestReloads: servers of Debian take a new text while they run; one that they refuse, and one whose port is somebody else's, leave
// file and server as they were.
func TestReloads(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl (Debian package curl)")
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "application") }))
	defer app.Close()
	node := netip.MustParseAddrPort(app.Listener.Addr().String())
	t.Run("servers", func(t *testing.T) { // which all have ended when it ends
		for _, r := range reloads {
			t.Run(string(r.server), func(t *testing.T) {
				t.Parallel()
				r.test(t, link.ProxyNode{Host: node.Addr().String(), DirectPort: node.Port()})
			})
		}
	})
}

func (r running) test(t *testing.T, node link.ProxyNode) {
	program := need(t, r.server)
	somebody := httptest.NewServer(http.NotFoundHandler())
	defer somebody.Close()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	port, elsewhere := ports[0], uint16(somebody.Listener.Addr().(*net.TCPAddr).Port)
	text := func(name string, change func(*link.ReverseProxy)) string {
		p := link.ReverseProxy{
			Server: r.server, ServerName: name, HTTP: true, HTTPPort: port, Docker: link.DockerNone, Nodes: []link.ProxyNode{node},
			Certificate: "/nowhere/art.pem", Key: "/nowhere/art.pem",
		}
		if change != nil {
			change(&p)
		}
		out, err := proxyconf.Render(p, program.Target())
		if err != nil {
			t.Fatal(err)
		}
		return out.Text
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "site.conf")
	// After each reload a look finds out what that keeps to itself: whether the server answers for the file's name at the file's
	// port. HAProxy loses a signal that comes while it still does what the one before said, so it is told again. Nobody has to be
	// waited for where nobody of ours can come to answer.
	command := fmt.Sprintf(`port=%d times=15; ! grep -q %d "$FILE" || port=%d times=1
		name=$(grep -oE '(first|second)\.example\.test' "$FILE" | head -n 1)
		while [ $times -gt 0 ]; do
			times=$((times - 1))
			{ %s; } || exit 1
			curl --silent --show-error --fail --retry 3 --retry-delay 1 --retry-all-errors --max-time 20 --header "Host: $name" "http://127.0.0.1:$port/" | grep -q application && exit 0
		done
		exit 1`, port, elsewhere, elsewhere, r.reload)
	install := func(text string) (Installed, error) {
		return Install(t.Context(), Installation{
			Path: file, Text: text, Reload: []string{"env", "DIR=" + dir, "FILE=" + file, "HOME=" + dir, "sh", "-c", command},
		})
	}
	ask := func(name string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			return err
		}
		req.Host, req.Close = name, true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }() // it was read
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "application" {
			return fmt.Errorf("%s answers %d %q, %w", name, resp.StatusCode, body, err)
		}
		return nil
	}
	// For a moment after a reload processes with the text before still take connections.
	serves := func(what, name string) {
		t.Helper()
		late, beat := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
		defer beat.Stop()
		for err := ask(name); err != nil; err = ask(name) {
			select {
			case <-beat.C:
			case <-late:
				t.Errorf("%s: %v", what, err)
				return
			}
		}
	}

	first := text("first.example.test", nil)
	put(t, dir, "site.conf", first)
	r.start(t, dir, file, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	serves("at its start", "first.example.test")

	second := text("second.example.test", nil)
	if got, err := install(second); err != nil || !got.Changed || !got.Reloaded {
		t.Fatalf("a new text: %+v, %v", got, err)
	}
	serves("with a new text", "second.example.test")

	for what, bad := range map[string]string{
		"a certificate that is not there": text("first.example.test", func(p *link.ReverseProxy) { p.HTTP, p.HTTPS, p.HTTPSPort = false, true, port }),
		"a port that is somebody else's":  text("first.example.test", func(p *link.ReverseProxy) { p.HTTPPort = elsewhere }),
	} {
		_, err := install(bad)
		if e, ok := errors.AsType[*link.Error](err); !ok || e.Reason != "RELOAD_FAILED" || strings.Contains(e.Message, "fails too") {
			t.Errorf("%s: %v", what, err)
		}
		if content(t, file) != second {
			t.Errorf("%s: the file is another one than before", what)
		}
		serves("after "+what, "second.example.test")
		t.Logf("%s: %v", what, err)
	}
	if got, err := install(first); err != nil || !got.Changed {
		t.Errorf("and a good one after them: %+v, %v", got, err)
	}
	serves("after all", "first.example.test")
}
