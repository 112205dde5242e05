package proxyconf_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
	"github.com/postern/postern/internal/proxytest"
	"github.com/postern/postern/internal/servertest"
)

// installed is a web server of Debian's that runs what is rendered for it.
type installed struct {
	server link.WebServer
	lacks  []proxytest.Feature
	format clientcert.Format // of the header that tells a client's certificate
	// prepare writes the text to the folder dir, with what the server needs around it, and returns how to run the server.
	prepare func(t *testing.T, dir, text string) []string
}

var installations = []installed{
	{server: link.NGINX, format: clientcert.NGINX, prepare: prepareNGINX},
	{server: link.Apache, format: clientcert.ApacheEscaped, prepare: prepareApache},
	{server: link.HAProxy, format: clientcert.RFC9440, prepare: prepareHAProxy},
	// Caddy serves peers without PROXY headers too, lists of revoked certificates are a plugin's, and a body is gone after the first node.
	{
		server: link.Caddy, format: clientcert.RFC9440, prepare: prepareCaddy,
		lacks: []proxytest.Feature{proxytest.ProxyProtocol, proxytest.CRL, proxytest.BodyFailover},
	},
}

func (i installed) Lacks() []proxytest.Feature { return i.lacks }

func (i installed) Certificate(values []string) (*x509.Certificate, error) {
	leaf, _, err := clientcert.Parse(i.format, values)
	return leaf, err
}

func (i installed) Start(t *testing.T, p link.ReverseProxy) {
	t.Helper()
	p.Server = i.server
	out, err := proxyconf.Render(p, proxyconf.Target{Server: i.server})
	if err != nil {
		t.Fatal(err)
	}
	port := p.HTTPSPort
	if !p.HTTPS {
		port = p.HTTPPort
	}
	dir := t.TempDir()
	// Servers that were started as root read the folder as somebody else.
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // as said
			t.Fatal(err)
		}
	}
	command := i.prepare(t, dir, out.Text)
	run := servertest.Run(t, servertest.Account{}, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), command[0], command[1:]...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", out.Text, run.Log())
		}
	})
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func prepareNGINX(t *testing.T, dir, text string) []string {
	path := write(t, dir, "nginx.conf", "daemon off; pid nginx.pid; worker_processes 1; events {}\nhttp {\n\taccess_log off;\n\tinclude site.conf;\n}\n")
	write(t, dir, "site.conf", text)
	return []string{"nginx", "-e", "stderr", "-p", dir, "-c", path}
}

// apacheModules are those of Debian's that a site may use; the program itself holds the others.
var apacheModules = []string{
	"mpm_event", "authz_core", "authz_host", "headers", "setenvif", "env", "rewrite", "socache_shmcb", "ssl", "http2", "slotmem_shm", "proxy",
	"proxy_http", "proxy_wstunnel", "proxy_balancer", "lbmethod_byrequests", "lbmethod_bybusyness", "remoteip", "reqtimeout",
}

func prepareApache(t *testing.T, dir, text string) []string {
	var b strings.Builder
	fmt.Fprintf(&b, "ServerRoot %q\nDefaultRuntimeDir %q\nPidFile apache.pid\nErrorLog /dev/stderr\nServerName localhost\n", dir, dir)
	if os.Getuid() == 0 {
		b.WriteString("User www-data\nGroup www-data\n")
	}
	for _, m := range apacheModules {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	fmt.Fprintf(&b, "IncludeOptional site.conf\n")
	write(t, dir, "site.conf", text)
	return []string{"apache2", "-DFOREGROUND", "-f", write(t, dir, "apache2.conf", b.String())}
}

func prepareHAProxy(t *testing.T, dir, text string) []string {
	return []string{"haproxy", "-db", "-f", write(t, dir, "haproxy.cfg", text)}
}

// prepareCaddy takes the administration away, which would listen at a port of its own choice, and the certificates' store.
func prepareCaddy(t *testing.T, dir, text string) []string {
	adapt := exec.CommandContext(t.Context(), "caddy", "adapt", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", text))
	adapt.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var complaint bytes.Buffer
	adapt.Stderr = &complaint
	adapted, err := adapt.Output()
	if err != nil {
		t.Fatalf("caddy adapt: %v\n%s\n%s", err, &complaint, text)
	}
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config["admin"] = map[string]any{"disabled": true}
	config["storage"] = map[string]any{"module": "file_system", "root": dir}
	adapted, err = json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "caddy", "run", "--config", write(t, dir, "caddy.json", string(adapted))}
}

// TestServers has the servers of Debian run what is rendered for them, in front of an application with Docker registries.
func TestServers(t *testing.T) {
	programs := map[string]string{
		"nginx": "nginx", "apache2": "apache2", "haproxy": "haproxy", "caddy": "caddy",
		"docker-registry": "docker-registry", "skopeo": "skopeo", "curl": "curl",
	}
	for _, program := range slices.Sorted(maps.Keys(programs)) {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (Debian package %s)", program, programs[program])
		}
	}
	suite := proxytest.NewSuite(t)
	t.Run("servers", func(t *testing.T) { // which all have ended when it ends, before what they share does
		for _, i := range installations {
			t.Run(string(i.server), func(t *testing.T) {
				t.Parallel()
				suite.Run(t, i)
			})
		}
	})
}
