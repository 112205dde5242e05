package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
)

// behindProxy has the world's public listener stand behind a reverse proxy that ends TLS, at loopback.
func behindProxy(change func(*Config), front Front) func(*Config) {
	return func(c *Config) {
		if change != nil {
			change(c)
		}
		c.Listeners[1].Front, c.Listeners[1].Port = &front, 443
		c.Listeners[1].TrustedPeers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
}

// asProxy sends one request over a connection as a reverse proxy does, and returns the status, 0 for none.
func asProxy(t *testing.T, c net.Conn, r *bufio.Reader, host string, fields ...string) (status int, body string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, strings.Join(append(fields, ""), "\r\n")); err != nil {
		return 0, ""
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// TestBehindAReverseProxy: each request is decided on by whom the proxy says it is of, over one connection of the proxy's.
func TestBehindAReverseProxy(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWebWorld(t, behindProxy(change, Front{Format: clientcert.NGINX, Header: "X-Cert"}))
		good, other := newClientCA(t, "good"), newClientCA(t, "other")
		w.asks("OPTIONAL", good)
		w.change(func(r *api.GatewayClusterRules) { r.AllowList = []api.AllowRule{{Prefix: "198.51.100.0/24", UI: true}} })
		conn := w.dial(w.g.PublicAddr())
		in := bufio.NewReader(conn)
		const of = "X-Forwarded-For: 203.0.113.9, 198.51.100.7"
		cert := func(ca *clientCA, user string) string {
			return "X-Cert: " + clientcert.Encode(clientcert.NGINX, ca.issue(user).Leaf)
		}
		for _, tt := range []struct {
			name, host string
			fields     []string
			status     int
			body       string // a part of it
			refused    string // the reason that is recorded
		}{
			{"an allowed client", acmePublic, []string{of}, 200, `"X-Forwarded-For":["198.51.100.7"]`, ""},
			{"a repository's name", "docker." + acmePublic, []string{of}, 200, "", ""},
			{"another client", acmePublic, []string{"X-Forwarded-For: 198.51.100.7, 192.0.2.1"}, 421, "", "ADDRESS_NOT_ALLOWED"},
			{"a private name", acmePrivate, []string{of}, 421, "", "WRONG_LISTENER"},
			{"a name of nobody", "nobody.test", []string{of}, 421, "", "UNKNOWN_NAME"},
			{"a certificate", acmePublic, []string{of, cert(good, "ann")}, 200, `"X-Postern-User":["ann"]`, ""},
			{"without it again", acmePublic, []string{of}, 200, "", ""},
			{"a certificate that nobody vouches for", acmePublic, []string{of, cert(other, "eve")}, 403, "", "CLIENT_CERTIFICATE_UNTRUSTED"},
			{"no word of the client", acmePublic, nil, 400, "", ""},
		} {
			status, body := asProxy(t, conn, in, tt.host, tt.fields...)
			if status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%s: status %d, want %d: %s", tt.name, status, tt.status, body)
			}
			if tt.name == "without it again" && strings.Contains(body, "X-Postern-User") {
				t.Errorf("a request without a certificate is another's: %s", body)
			}
			if tt.refused != "" {
				r := w.control.awaitRefusal(tt.refused)
				if r.Name != tt.host || r.Listener != string(link.PublicListener) || !strings.HasPrefix(tt.fields[0], "X-Forwarded-For: ") || !strings.HasSuffix(tt.fields[0], r.Source) {
					t.Errorf("%s: %+v", tt.name, r)
				}
			}
			if status != 200 && status != 421 { // the others may be the last word on a connection
				conn = w.dial(w.g.PublicAddr())
				in = bufio.NewReader(conn)
			}
		}

		// New rules count at the next request; what is under way and may not be any more is cut.
		if status, _ := asProxy(t, conn, in, acmePublic, of); status != 200 {
			t.Errorf("status %d", status)
		}
		w.change(func(r *api.GatewayClusterRules) { r.PublicAccess = "DISABLED" })
		if status, _ := asProxy(t, conn, in, acmePublic, of); status == 200 {
			t.Error("the public door is closed, and a request came through")
		}
		conn = w.dial(w.g.PublicAddr())
		if status, _ := asProxy(t, conn, bufio.NewReader(conn), acmePublic, of); status != 421 {
			t.Errorf("status %d, want 421", status)
		}
		w.control.awaitRefusal("PUBLIC_ACCESS_DISABLED")
		w.change(func(r *api.GatewayClusterRules) { r.PublicAccess, r.Proxy = "ENABLED", nil })
		conn = w.dial(w.g.PublicAddr())
		if status, _ := asProxy(t, conn, bufio.NewReader(conn), acmePublic, of); status != 421 {
			t.Errorf("status %d, want 421", status)
		}
		w.control.awaitRefusal(reasonNotProxied)
	})
}

// TestOnlyTheProxyIsBelieved: nobody else gets to speak plain HTTP.
func TestOnlyTheProxyIsBelieved(t *testing.T) {
	w := newWebWorld(t, func(c *Config) {
		behindProxy(nil, Front{})(c)
		c.Listeners[1].TrustedPeers = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	})
	closedWithoutAByte(t, w.dial(w.g.PublicAddr()))
	w.control.awaitRefusal(reasonUntrustedPeer)

	for _, bad := range []ListenerConfig{
		{Side: link.PrivateListener, Front: &Front{}, TrustedPeers: w.cfg.Listeners[1].TrustedPeers},
		{Side: link.PublicListener, Front: &Front{}},
		{Side: link.PublicListener, Front: &Front{Format: "other"}, TrustedPeers: w.cfg.Listeners[1].TrustedPeers},
		{Side: link.PublicListener, Front: &Front{Header: "X-Cert"}, TrustedPeers: w.cfg.Listeners[1].TrustedPeers},
	} {
		cfg := w.cfg
		bad.Addr = "127.0.0.1:0"
		cfg.Listeners = []ListenerConfig{bad}
		if g, err := Start(context.Background(), cfg); err == nil {
			t.Errorf("%+v is good", bad.Front)
			_ = g.Close()
		}
	}
}

// TestTheProxySendsPROXY: its header says whose flow it is, and is asked for.
func TestTheProxySendsPROXY(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWebWorld(t, behindProxy(change, Front{ProxyHeader: true}))
		conn := w.dial(w.g.PublicAddr())
		_, _ = conn.Write(l4.AppendProxyHeader(nil, l4.ProxyWriter{
			Source: netip.MustParseAddrPort("198.51.100.7:1234"), Destination: netip.MustParseAddrPort("203.0.113.1:443"),
		}))
		if status, body := asProxy(t, conn, bufio.NewReader(conn), acmePublic, "X-Forwarded-For: 198.51.100.7"); status != 200 {
			t.Errorf("status %d: %s", status, body)
		}
		without := w.dial(w.g.PublicAddr())
		if status, _ := asProxy(t, without, bufio.NewReader(without), acmePublic, "X-Forwarded-For: 198.51.100.7"); status != 0 {
			t.Errorf("without a PROXY header: status %d", status)
		}
		w.control.awaitRefusal(reasonNoProxyHeader)
	})
}

// TestLimitsBehindAReverseProxy: there a request is what a flow is elsewhere, of its own client.
func TestLimitsBehindAReverseProxy(t *testing.T) {
	w := newWebWorld(t, behindProxy(nil, Front{}))
	limit := func(l api.GatewayLimits) {
		t.Helper()
		w.change(func(r *api.GatewayClusterRules) { r.Limits = &l })
	}
	ask := func(c net.Conn, path, source string) {
		_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\n\r\n", path, acmePublic, source)
	}
	answered := func(in *bufio.Reader) (status int, wait string, last bool) {
		t.Helper()
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Retry-After"), resp.Close
	}
	const one, other = "198.51.100.7", "198.51.100.8"
	busy, idle := w.dial(w.g.PublicAddr()), w.dial(w.g.PublicAddr())
	fromBusy, fromIdle := bufio.NewReader(busy), bufio.NewReader(idle)
	status := func(source string) int {
		t.Helper()
		ask(idle, "/v2/", source)
		got, _, _ := answered(fromIdle)
		return got
	}

	// Requests under way.
	ask(busy, "/held", one)
	<-w.app.in
	limit(api.GatewayLimits{Flows: 1})
	ask(idle, "/", other)
	if got, wait, last := answered(fromIdle); got != http.StatusTooManyRequests || wait != "1" || last {
		t.Errorf("%d, Retry-After %q, the last %v", got, wait, last)
	}
	if r := w.control.awaitRefusal(reasonClusterFull); r.ClusterID != acmeID || r.Source != other || r.Name != acmePublic {
		t.Errorf("%+v", r)
	}
	limit(api.GatewayLimits{FlowsPerEndpoint: 1})
	if got := status(other); got != 200 {
		t.Errorf("another client's request: %d", got)
	}
	if got := status(one); got != http.StatusTooManyRequests {
		t.Errorf("the same client's second request: %d", got)
	}
	w.control.awaitRefusal(reasonEndpointFull)
	close(w.app.hold)
	if got, _, _ := answered(fromBusy); got != http.StatusOK {
		t.Errorf("the request under way: %d", got)
	}
	for deadline := time.Now().Add(2 * testPatient); status(one) != 200; {
		if time.Now().After(deadline) {
			t.Fatal("a request that has ended is still counted")
		}
	}

	// Their rate, whoever's they are: what is refused leaves the connection to the next one.
	limit(api.GatewayLimits{FlowsPerSecond: 1})
	for deadline := time.Now().Add(2 * testPatient); status(one) != http.StatusTooManyRequests; {
		if time.Now().After(deadline) {
			t.Fatal("the rate of requests is not limited")
		}
	}
	w.control.awaitRefusal(reasonClusterRate)
	limit(api.GatewayLimits{FlowsPerSecondByEndpoint: 1})
	for deadline := time.Now().Add(2 * testPatient); status(one) != http.StatusTooManyRequests; {
		if time.Now().After(deadline) {
			t.Fatal("the rate of one client's requests is not limited")
		}
	}
	if got := status(other); got != 200 {
		t.Errorf("another client's request: %d", got)
	}
	w.control.awaitRefusal(reasonEndpointRate)
	limit(api.GatewayLimits{})
	for range 5 {
		if got := status(one); got != 200 {
			t.Errorf("without limits: %d", got)
		}
	}
	text := scrapeGateway(t, w.g)
	for _, want := range []string{
		`http_failures_total{code="too_many_requests"}`,
		`decisions_total{decision="refused",listener="public",reason="CLUSTER_FLOW_LIMIT"} 1`,
	} {
		if !strings.Contains(text, "postern_gateway_"+want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
