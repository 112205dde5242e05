package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/servertest"
)

// TestBehindTheRealNGINX: nginx ends TLS and lets any client certificate through; what it is worth is found out here.
func TestBehindTheRealNGINX(t *testing.T) {
	w := newWebWorld(t, behindProxy(nil, Front{Format: clientcert.NGINX, Header: "X-Cert"}))
	good, other := newClientCA(t, "good"), newClientCA(t, "other")
	w.asks("OPTIONAL", good)
	w.change(func(r *api.GatewayClusterRules) { r.AllowList = []api.AllowRule{{Prefix: "127.0.0.0/8", UI: true}} })
	addr, identity := servertest.Addr(t), w.identity()
	w.nginx(t, addr, fmt.Sprintf(`http {
	access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	server {
		listen %s ssl;
		ssl_certificate %s; ssl_certificate_key %s;
		ssl_verify_client optional_no_ca;
		location / {
			proxy_pass http://%s;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto https;
			proxy_set_header X-Cert $ssl_client_escaped_cert;
		}
	}
}
`, addr, identity, identity, w.g.PublicAddr()))
	pair := func(name string, ca *clientCA) []string {
		chain, key := servertest.PEM(t, ca.issue(name))
		return []string{"--cert", w.file(name+".crt", string(chain)), "--key", w.file(name+".key", string(key))}
	}
	forged := "X-Cert: " + clientcert.Encode(clientcert.NGINX, good.issue("forged").Leaf)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"nobody", nil, `200 -`},
		{"a user", pair("ann", good), `200 ["ann"]`},
		{"a stranger", pair("eve", other), `403 -`},
		{"a forged header", []string{"-H", forged}, `200 -`},
		{"forged words of the source", []string{"-H", "X-Forwarded-For: 198.51.100.1"}, `200 -`},
		{"forged words of the user", []string{"-H", "X-Postern-User: root", "-H", "X_Postern_User: root"}, `200 -`},
	} {
		args := append([]string{"--cacert", w.trust(), "--connect-to", "::" + addr.String(), "-w", "\n%{http_code}", "https://" + acmePublic + "/"}, tt.args...)
		s := curl(t, nil, args...)
		end := max(strings.LastIndexByte(s.out, '\n'), 0)
		body, status := s.out[:end], strings.TrimSpace(s.out[end:])
		user := "-"
		if _, rest, ok := strings.Cut(body, `"X-Postern-User":`); ok {
			user, _, _ = strings.Cut(rest, "]")
			user += "]"
		}
		if got := status + " " + user; got != tt.want {
			t.Errorf("%s: %s, want %s\n%s%s", tt.name, got, tt.want, s.out, s.errors)
		}
	}
	w.control.awaitRefusal("CLIENT_CERTIFICATE_UNTRUSTED")
}
