package webserver

import (
	"os"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// need returns the installed program of a server.
func need(t testing.TB, server link.WebServer) Program {
	t.Helper()
	switch p, err := Find(t.Context(), server); {
	case err == nil:
		return p
	case reason(err) != "NOT_INSTALLED":
		t.Fatal(err)
	case server == link.NGINX:
		t.Skip("needs nginx (Debian package nginx)")
	case server == link.Apache:
		t.Skip("needs apache2 (Debian package apache2)")
	case server == link.HAProxy:
		t.Skip("needs haproxy (Debian package haproxy)")
	default:
		t.Skip("needs caddy (Debian package caddy)")
	}
	return Program{}
}

func settings(server link.WebServer) link.ReverseProxy {
	return link.ReverseProxy{
		Server: server, ServerName: "art.example.test", Nodes: []link.ProxyNode{{Host: "app.internal.example.test"}},
		HTTP: true, HTTPS: true, Certificate: "/etc/ssl/certs/art.pem", Key: "/etc/ssl/certs/art.pem",
	}
}

// tryText has an installed server look at a text of the test's own, in which PEM stands for a file with a certificate and its key.
func tryText(t *testing.T, dir string, server link.WebServer, text string) Report {
	t.Helper()
	tr := &trial{dir: dir, program: need(t, server), report: Report{Outcome: Accepted}}
	if err := tr.prepare(settings(server), proxyconf.Target{Server: server}); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "PEM", tr.proxy.Certificate)
	if err := os.WriteFile(tr.path(textName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := trials[server](t.Context(), tr); err != nil {
		t.Fatal(err)
	}
	for _, line := range tr.report.Messages {
		if strings.Contains(line, tr.dir) {
			t.Errorf("a message names the temporary folder: %s", line)
		}
	}
	return tr.report
}

// TestWhatServersSay: what is wrong is found, and told without what only belongs to the trial.
func TestWhatServersSay(t *testing.T) {
	dirs := t.TempDir // a subtest's own would have its name in it, which no configuration takes
	for _, c := range []struct {
		name    string
		server  link.WebServer
		text    string
		outcome Outcome
		says    string // in one of the messages
	}{
		{"nginx", link.NGINX, "server { listen 8443 ssl; ssl_certificate PEM; ssl_certificate_key PEM; return 421; }", Accepted, ""},
		{"nginx, an unknown directive", link.NGINX, "server {\n listen 80;\n frobnicate on;\n}", Refused, `[emerg] unknown directive "frobnicate" in configuration:3`},
		{"nginx, a name that nobody has", link.NGINX, "server { listen 80; location / { proxy_pass http://nobody.invalid; } }", Refused, "host not found"},
		{"nginx, a file that is not there", link.NGINX, "server { listen 8443 ssl; ssl_certificate /none.pem; ssl_certificate_key PEM; }", Refused, `"/none.pem"`},
		{"apache", link.Apache, "<VirtualHost *:80>\nServerName a.test\nProxyPass / http://127.0.0.1:1/\n</VirtualHost>", Accepted, ""},
		{"apache, an unknown directive", link.Apache, "\nFrobnicate on\n", Refused, "Syntax error on line 2 of configuration"},
		{
			"apache, a curve that the library lacks, which its test accepts", link.Apache,
			"SSLOpenSSLConfCmd Curves NOCURVE:X25519\n<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile PEM\nSSLCertificateKeyFile PEM\nSSLOpenSSLConfCmd Curves NOCURVE:X25519\n</VirtualHost>",
			Refused, "AH02407",
		},
		{"haproxy", link.HAProxy, "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nfrontend f\n bind :1080\n http-request return status 421\n", Accepted, ""},
		{"haproxy, an unknown keyword", link.HAProxy, "frontend f\n frobnicate\n", Refused, "parsing [configuration:2]"},
		{"caddy", link.Caddy, "http://a.test {\n respond 421\n}\n", Accepted, ""},
		{"caddy, an unknown directive", link.Caddy, "http://a.test {\n frobnicate\n}\n", Refused, "configuration:2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := tryText(t, dirs(), c.server, c.text)
			said := strings.Join(got.Messages, "\n")
			if got.Outcome != c.outcome || !strings.Contains(said, c.says) || c.says == "" && said != "" && c.server != link.Caddy {
				t.Errorf("%s, want %s and %q:\n%s", got.Outcome, c.outcome, c.says, said)
			}
			if c.server == link.Apache && got.Started != (c.outcome == Accepted) {
				t.Errorf("started: %v", got.Started)
			}
			t.Log(said)
		})
	}
}
