package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/servertest"
)

// haproxy runs HAProxy with a configuration and waits until it listens on addr.
func (w *world) haproxy(t *testing.T, addr netip.AddrPort, config string) *servertest.Server {
	t.Helper()
	const program = "/usr/sbin/haproxy"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs haproxy (Debian package haproxy)")
	}
	const defaults = "global\n maxconn 200\n log stdout format raw local0\n" +
		"defaults\n log global\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n"
	return servertest.Run(t, servertest.Account{}, addr, program, "-db", "-f", w.file("haproxy.cfg", defaults+config))
}

// nginx is haproxy for nginx.
func (w *world) nginx(t *testing.T, addr netip.AddrPort, config string) *servertest.Server {
	t.Helper()
	const program, module = "/usr/sbin/nginx", "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs nginx (Debian package nginx)")
	}
	if _, err := os.Stat(module); err != nil {
		t.Skip("needs nginx (Debian package libnginx-mod-stream)")
	}
	const defaults = "load_module " + module + ";\ndaemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {}\n"
	path := w.file("nginx.conf", defaults+config)
	return servertest.Run(t, servertest.Account{}, addr, program, "-e", "stderr", "-p", t.TempDir(), "-c", path)
}

// front is a load balancer before the gateway.
type front struct {
	public, private string // where it listens for the gateway's listeners
	server          *servertest.Server
}

// haproxyFront writes PROXY v2, and checks the gateway's health in both ways: with a LOCAL header, and by connecting
// and leaving.
func (w *world) haproxyFront(t *testing.T) front {
	public, private := servertest.Addr(t), servertest.Addr(t)
	section := func(name string, addr netip.AddrPort, to net.Addr) string {
		return fmt.Sprintf("listen %s\n mode tcp\n bind %s\n source 127.0.0.1\n default-server send-proxy-v2 check inter 500ms\n"+
			" server local %s\n server bare %[4]s no-check-send-proxy\n", name, addr, to, to)
	}
	s := w.haproxy(t, public, section("public", public, w.g.PublicAddr())+section("private", private, w.g.PrivateAddr()))
	return front{public.String(), private.String(), s}
}

// nginxFront writes PROXY v1.
func (w *world) nginxFront(t *testing.T) front {
	public, private := servertest.Addr(t), servertest.Addr(t)
	section := func(addr netip.AddrPort, to net.Addr) string {
		return fmt.Sprintf("server { listen %s; proxy_pass %s; proxy_bind 127.0.0.1; proxy_protocol on; }\n", addr, to)
	}
	s := w.nginx(t, public, "stream {\n"+section(public, w.g.PublicAddr())+section(private, w.g.PrivateAddr())+"}\n")
	return front{public.String(), private.String(), s}
}

// TestBehindAForeignBalancer: at the public door the client's own address decides, not the balancer's; at the private
// door such a balancer, which knows no endpoint, opens nothing. The balancer's health checks are nobody's flows.
func TestBehindAForeignBalancer(t *testing.T) {
	const friend, stranger = "127.0.0.2", "127.0.0.3"
	for _, tt := range []struct {
		name          string
		start         func(*world, *testing.T) front
		private       string // why its flows are refused at the private door
		privateSource string
		checksAtLeast uint64
	}{
		{"HAProxy", (*world).haproxyFront, policy.NoEndpointID, friend, 17},
		{"nginx", (*world).nginxFront, reasonNoProxyHeader, "127.0.0.1", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothEngines(t, func(t *testing.T, change func(*Config)) {
				w := newWorld(t, func(c *Config) {
					c.Listeners[1].TrustedPeers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
					if change != nil {
						change(c)
					}
				})
				site := w.web(true)
				rules := w.rules(1)
				rules.Clusters[0].Backends = targets(site.addr)
				rules.Clusters[0].AllowList = []api.AllowRule{{Prefix: friend + "/32", UI: true}}
				w.apply(rules)
				balancer, ca := tt.start(w, t), w.trust()
				from := func(source, to string) []string {
					return []string{"--cacert", ca, "--interface", source, "--connect-to", "::" + to}
				}
				site.exchange(t, "https://"+acmePublic+"/", from(friend, balancer.public)...)
				for _, refused := range []struct{ source, to, name, reason, recorded string }{
					{stranger, balancer.public, acmePublic, policy.AddressNotAllowed, stranger},
					{friend, balancer.private, acmePrivate, tt.private, tt.privateSource},
				} {
					if s := curl(t, nil, append(from(refused.source, refused.to), "https://"+refused.name+"/")...); s.code == 0 || s.out != "" {
						t.Errorf("from %s to %s: %+v", refused.source, refused.name, s)
					}
					if r := w.control.awaitRefusal(refused.reason); r.Source != refused.recorded || r.EndpointID != "" {
						t.Errorf("from %s to %s: recorded %+v", refused.source, refused.name, r)
					}
				}
				eventually(t, "health checks came", func() bool { return w.g.engine.Stats().Accepted >= tt.checksAtLeast })
				if log := balancer.server.Stop(); strings.Contains(log, "is DOWN") {
					t.Errorf("the balancer took the gateway for ill:\n%s", log)
				}
				if err := w.g.Close(); err != nil { // so that all is reported
					t.Fatal(err)
				}
				w.control.change(func() {
					ended := w.control.ended()
					if len(ended) != 2 || slices.ContainsFunc(ended, func(f api.GatewayFlow) bool {
						return !strings.HasPrefix(f.Source, friend+":") || f.ClusterID != acmeID || f.Listener != "public"
					}) {
						t.Errorf("flows recorded: %+v", ended)
					}
					if len(w.control.refused) != 2 || w.control.refused[0].Count+w.control.refused[1].Count != 2 {
						t.Errorf("refused attempts recorded: %+v", w.control.refused)
					}
				})
			})
		})
	}
}

// TestTheBackendIsAForeignProxy: HAProxy and nginx as backends take the PROXY header that tells them who the client is,
// and the one that comes before a health check.
func TestTheBackendIsAForeignProxy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(w *world, t *testing.T, addr netip.AddrPort) *servertest.Server
	}{
		{"HAProxy", func(w *world, t *testing.T, addr netip.AddrPort) *servertest.Server {
			return w.haproxy(t, addr, fmt.Sprintf("frontend f\n mode http\n bind %s accept-proxy ssl crt %s\n log-format \"%%ci %%HP %%ST\"\n"+
				" http-request return status 200 content-type text/plain lf-string \"%%[src] %%[src_port] %%[dst_port]\"\n", addr, w.identity()))
		}},
		{"nginx", func(w *world, t *testing.T, addr netip.AddrPort) *servertest.Server {
			identity := w.identity()
			return w.nginx(t, addr, fmt.Sprintf("http {\nlog_format f '$remote_addr $uri $status'; access_log /dev/stdout f;\n"+
				"set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;\n"+
				"server { listen %s proxy_protocol ssl; ssl_certificate %s; ssl_certificate_key %s;\n"+
				"return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port'; }\n}\n", addr, identity, identity))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			addr := servertest.Addr(t)
			proxy := tt.start(w, t, addr)
			rules := w.rules(1)
			rules.Clusters[0].Backends = targets(addr.String())
			rules.Clusters[0].ProxyProtocol = true
			rules.Clusters[0].Health = &api.GatewayHealthCheck{Check: "HTTPS", Path: "/well", Statuses: []int{200}, IntervalSeconds: 1, Fall: 1}
			w.apply(rules)
			s := curl(t, nil, "--cacert", w.trust(), "--connect-to", "::"+w.endpointDoor(endpointA, 443).String(), "https://"+acmePrivate+"/")
			if want := customer.Addr().String() + " 40000 443"; s.out != want {
				t.Errorf("the backend saw %q, want %q: %+v", s.out, want, s)
			}
			eventually(t, "a health check comes, from the gateway itself", func() bool { return strings.Contains(proxy.Log(), "127.0.0.1 /well 200") })
			w.control.change(func() {
				if slices.ContainsFunc(w.control.health, func(h api.GatewayBackend) bool { return !h.Healthy }) {
					t.Errorf("health recorded: %+v", w.control.health)
				}
			})
			if !strings.Contains(proxy.Log(), customer.Addr().String()+" / 200") {
				t.Errorf("the backend logged\n%s", proxy.Log())
			}
		})
	}
}
