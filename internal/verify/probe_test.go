package verify

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// silence is how long a step lasts that nobody answers. The steps before it, which are answered, have to fit in as well,
// also on a machine that is busy with other tests.
const silence = 3 * time.Second

func names(w *world) {
	w.zone[privateName+" A"] = []string{privateName + ". 60 IN A 127.0.0.1"}
}

// TestPathOverTheWire takes a real path, bends one thing, and expects the verdict that names it.
func TestPathOverTheWire(t *testing.T) {
	for _, tc := range []struct {
		name    string
		gateway gatewaySpec
		bend    func(*world, *gatewaySpec, *Target)
		verdict Verdict
		layer   Group
		code    string
	}{
		{name: "everything is well", verdict: Proven},
		{
			name:    "no key to hold a proof against",
			bend:    func(_ *world, _ *gatewaySpec, t *Target) { t.ProofKeys = nil },
			verdict: Unproven,
		},
		{
			name: "the name does not exist, the path behind it works",
			bend: func(w *world, _ *gatewaySpec, _ *Target) {
				clear(w.zone)
			},
			verdict: Broken, layer: GroupDNS, code: "DNS_NXDOMAIN",
		},
		{
			name: "the name leads to another endpoint",
			bend: func(w *world, _ *gatewaySpec, _ *Target) {
				w.zone[privateName+" A"] = []string{
					privateName + ". 60 IN CNAME vpce-0ffffffffffffffff-abcdefgh.vpce-svc-01234567890abcdef.us-east-1.vpce.amazonaws.com.",
					"vpce-0ffffffffffffffff-abcdefgh.vpce-svc-01234567890abcdef.us-east-1.vpce.amazonaws.com. 60 IN A 127.0.0.1",
				}
			},
			verdict: Broken, layer: GroupDNS, code: "DNS_OTHER_ENDPOINT",
		},
		{
			name: "a rebind filter took the address away",
			bend: func(w *world, _ *gatewaySpec, _ *Target) {
				w.zone[privateName+" A"] = []string{privateName + ". 60 IN CNAME elsewhere.example."}
			},
			verdict: Broken, layer: GroupDNS, code: "DNS_CNAME_WITHOUT_ADDRESS",
		},
		{
			name: "the port has no listener",
			bend: func(_ *world, _ *gatewaySpec, t *Target) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					panic(err)
				}
				t.Port = uint16(ln.Addr().(*net.TCPAddr).Port)
				_ = ln.Close()
			},
			verdict: Broken, layer: GroupTCP, code: "TCP_REFUSED",
		},
		{
			name:    "the gateway refuses the endpoint: closed without a byte",
			gateway: gatewaySpec{refuse: func(string) bool { return true }},
			verdict: Broken, layer: GroupTLS, code: "TLS_CLOSED",
		},
		{
			name:    "the gateway gives proofs and its backend is gone",
			gateway: gatewaySpec{refuse: func(name string) bool { return name == privateName }},
			verdict: Broken, layer: GroupTLS, code: "TLS_CLOSED",
		},
		{
			name: "something answers, but not with TLS",
			gateway: gatewaySpec{raw: func(c net.Conn) {
				_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
				_, _ = c.Read(make([]byte, 4096))
			}},
			verdict: Broken, layer: GroupTLS, code: "TLS_NOT_TLS",
		},
		{
			name: "the handshake is never answered",
			gateway: gatewaySpec{raw: func(c net.Conn) {
				for b := make([]byte, 4096); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			}},
			bend:    func(_ *world, _ *gatewaySpec, t *Target) { t.StepTimeout = silence },
			verdict: Broken, layer: GroupTLS, code: "TLS_TIMEOUT",
		},
		{
			name: "the certificate expired",
			bend: func(w *world, g *gatewaySpec, _ *Target) {
				c := w.serviceCert(-time.Hour, privateName)
				g.cert = &c
			},
			verdict: Broken, layer: GroupTLS, code: "TLS_EXPIRED",
		},
		{
			name: "the certificate lacks the private name",
			bend: func(w *world, g *gatewaySpec, _ *Target) {
				c := w.serviceCert(1000*time.Hour, publicName)
				g.cert = &c
			},
			verdict: Broken, layer: GroupTLS, code: "TLS_WRONG_NAME",
		},
		{
			name:    "the authority is not trusted",
			bend:    func(w *world, _ *gatewaySpec, t *Target) { t.RootCAs = newWorld(w.t).roots },
			verdict: Broken, layer: GroupTLS, code: "TLS_UNKNOWN_AUTHORITY",
		},
		{
			name:    "a proxy in front of the service answers for it",
			gateway: gatewaySpec{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
			verdict: Broken, layer: GroupHTTP, code: "HTTP_STATUS",
		},
		{
			name:    "this service's healthy answer is 400",
			gateway: gatewaySpec{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }},
			bend:    func(_ *world, _ *gatewaySpec, t *Target) { t.ExpectStatus = []int{400} },
			verdict: Proven,
		},
		{
			name: "an answer that never ends does not hold the probe up",
			gateway: gatewaySpec{answer: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}},
			verdict: Proven,
		},
		{
			name: "the service takes the request and never answers",
			gateway: gatewaySpec{answer: func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				panic(http.ErrAbortHandler) // to return would be an answer, which may just get through
			}},
			bend:    func(_ *world, _ *gatewaySpec, t *Target) { t.StepTimeout = silence },
			verdict: Broken, layer: GroupHTTP, code: "HTTP_NO_ANSWER",
		},
		{
			name:    "another endpoint carries the flow",
			gateway: gatewaySpec{endpoint: "vpce-0ffffffffffffffff"},
			verdict: Broken, layer: GroupPath, code: "PROOF_OTHER_ENDPOINT",
		},
		{
			name:    "the flow came by the public door",
			gateway: gatewaySpec{listener: link.PublicListener},
			verdict: Broken, layer: GroupPath, code: "PROOF_NOT_PRIVATE",
		},
		{
			name:    "the proof is of another cluster's name",
			gateway: gatewaySpec{name: "proof.other.us-east-1.pe.postern.test"},
			verdict: Broken, layer: GroupPath, code: "PROOF_OTHER_CLUSTER",
		},
		{
			name:    "the proof was changed after signing",
			gateway: gatewaySpec{tamper: func(p *link.PathProof) { p.Source = "10.9.9.9:1" }},
			verdict: Broken, layer: GroupPath, code: "PROOF_INVALID",
		},
		{
			name:    "an old proof is played back",
			gateway: gatewaySpec{nonce: "AAAAAAAAAAAAAAAAAAAAAAAA"},
			verdict: Broken, layer: GroupPath, code: "PROOF_INVALID",
		},
		{
			name:    "an interceptor passes a genuine proof on",
			gateway: gatewaySpec{intercept: true},
			verdict: Broken, layer: GroupPath, code: "PROOF_INTERCEPTED",
		},
		{
			name: "what answers is no gateway of this vendor",
			bend: func(w *world, g *gatewaySpec, t *Target) {
				g.noProof = true
				other, _, _ := ed25519.GenerateKey(rand.Reader)
				t.ProofKeys = []ed25519.PublicKey{other}
			},
			verdict: Broken, layer: GroupPath, code: "PROOF_NOT_A_GATEWAY",
		},
		{
			name:    "the gateway gives no proof",
			gateway: gatewaySpec{noProof: true},
			verdict: Broken, layer: GroupPath, code: "PROOF_REFUSED",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			names(w)
			target := w.target(0)
			spec := tc.gateway
			if tc.bend != nil {
				tc.bend(w, &spec, &target)
			}
			if target.Port == 0 {
				target.Port = w.gateway(spec)
			}
			seen := Probe(t.Context(), w.vantage(), target)
			r := Judge(target, seen, Vendor{})
			if r.Verdict != tc.verdict || r.Layer != tc.layer || r.Code != tc.code {
				t.Errorf("verdict %s, layer %q, code %q; want %s, %q, %q\n%s",
					r.Verdict, r.Layer, r.Code, tc.verdict, tc.layer, tc.code, page(t, r))
			}
			if proven := r.EndpointID == endpoint; tc.verdict == Proven && !proven {
				t.Errorf("proven endpoint is %q", r.EndpointID)
			}
		})
	}
}

// TestRepositoryOverTheWire asks for a Docker repository by its name, as a gateway of this world has it or has not.
func TestRepositoryOverTheWire(t *testing.T) {
	elsewhere := []string{repository + ". 60 IN A 203.0.113.7"}
	for _, tc := range []struct {
		name     string
		records  []string // of the repository's name; nil: it does not exist
		names    []string // of the certificate
		refuse   bool
		dns, tls string // codes
	}{
		{"well", []string{repository + ". 60 IN A 127.0.0.1"}, []string{privateName, "*." + privateName}, false, "REPOSITORY_RESOLVES", "REPOSITORY_CERTIFIED"},
		{"without the wildcard's record", nil, []string{privateName, "*." + privateName}, false, "REPOSITORY_NOT_NAMED", "REPOSITORY_CERTIFIED"},
		{"without the wildcard's certificate", elsewhere, []string{privateName}, false, "REPOSITORY_ELSEWHERE", "REPOSITORY_NOT_CERTIFIED"},
		{"without rules for it", nil, []string{privateName}, true, "REPOSITORY_NOT_NAMED", "REPOSITORY_REFUSED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			names(w)
			if tc.records != nil {
				w.zone[repository+" A"] = tc.records
			}
			cert := w.serviceCert(90*24*time.Hour, tc.names...)
			target := w.target(w.gateway(gatewaySpec{cert: &cert, refuse: func(name string) bool { return tc.refuse && name == repository }}))
			target.RepositoryName = repository
			r := Judge(target, Probe(t.Context(), w.vantage(), target), Vendor{})
			for id, want := range map[string]string{"DNS_REPOSITORY": tc.dns, "TLS_REPOSITORY": tc.tls} {
				i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == id })
				if i < 0 || r.Checks[i].Code != want || r.Checks[i].Subject != repository {
					t.Errorf("%s: want %s\n%s", id, want, page(t, r))
				}
			}
			if r.EndpointID != endpoint {
				t.Errorf("the path is not proven\n%s", page(t, r))
			}
		})
	}
}

// TestPathBehindBrokenNames shows that a broken name does not hide a working path: the endpoint's own address is probed.
func TestPathBehindBrokenNames(t *testing.T) {
	w := newWorld(t)
	target := w.target(w.gateway(gatewaySpec{}))
	r := Judge(target, Probe(t.Context(), w.vantage(), target), Vendor{})
	if r.Layer != GroupDNS || r.EndpointID != endpoint {
		t.Errorf("layer %q, proven endpoint %q; want DNS to be blamed and the path proven", r.Layer, r.EndpointID)
	}
}

// TestDroppedPackets probes through a proxy that is silent about one address, as a security group is.
func TestDroppedPackets(t *testing.T) {
	w := newWorld(t)
	w.zone[privateName+" A"] = []string{privateName + ". 60 IN A 127.0.0.1", privateName + ". 60 IN A 127.0.0.2"}
	proxy := w.socks(func(addr string) byte {
		if strings.HasPrefix(addr, "127.0.0.2:") {
			return 0xff
		}
		return 0
	})
	v, err := SOCKS5("socks5h://vpc-1:x@"+proxy, w.dns(w.zone))
	if err != nil {
		t.Fatal(err)
	}
	target := w.target(w.gateway(gatewaySpec{}))
	target.StepTimeout = silence
	target.InterfaceAddrs = append(target.InterfaceAddrs, netip.MustParseAddr("127.0.0.2"))
	// A step without a bound would last until the context ends, and the proof with it.
	ctx, cancel := context.WithTimeout(t.Context(), 10*silence)
	defer cancel()
	r := Judge(target, Probe(ctx, v, target), Vendor{})
	if r.Code != "TCP_TIMEOUT" || r.Proof == nil {
		t.Errorf("code %q, proof %v; want a time-out at one address and a proof at the other\n%s", r.Code, r.Proof, page(t, r))
	}
}

// TestProxyResolves probes without a DNS server: the proxy resolves, and the path is proven all the same.
func TestProxyResolves(t *testing.T) {
	w := newWorld(t)
	v, err := SOCKS5("socks5://vpc-1:x@"+w.socks(func(string) byte { return 0 }), "")
	if err != nil {
		t.Fatal(err)
	}
	target := w.target(w.gateway(gatewaySpec{}))
	if r := Judge(target, Probe(t.Context(), v, target), Vendor{}); r.Verdict != Proven {
		t.Errorf("verdict %s\n%s", r.Verdict, page(t, r))
	}
}

// TestVantageItselfFails tells a broken vantage point from a broken path: exit status 2, not 1.
func TestVantageItselfFails(t *testing.T) {
	w := newWorld(t)
	names(w)
	target := w.target(w.gateway(gatewaySpec{}))
	for name, proxy := range map[string]string{
		"wrong password": "socks5://vpc-1:wrong@" + w.socks(func(string) byte { return 0 }),
		"rules forbid":   "socks5://vpc-1:x@" + w.socks(func(string) byte { return 2 }),
		"nobody there":   "socks5://vpc-1:x@127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			v, err := SOCKS5(proxy, w.dns(w.zone))
			if err != nil {
				t.Fatal(err)
			}
			r := Judge(target, Probe(t.Context(), v, target), Vendor{})
			if r.Verdict != NotProbed || r.ExitCode() != 2 {
				t.Errorf("verdict %s, exit %d; want NOT_PROBED and 2", r.Verdict, r.ExitCode())
			}
			if strings.Contains(r.Summary, "wrong@") {
				t.Errorf("the password stands in the report: %s", r.Summary)
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	w := newWorld(t)
	names(w)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := w.target(w.gateway(gatewaySpec{}))
	r := Judge(target, Probe(ctx, w.vantage(), target), Vendor{})
	if r.Verdict != NotProbed {
		t.Errorf("verdict %s; a probe that was cut short knows nothing", r.Verdict)
	}
}

func TestPublicDoor(t *testing.T) {
	for _, tc := range []struct {
		name   string
		zone   string
		refuse bool
		stage  string
		code   string
	}{
		{"closed after the server name", "127.0.0.1", true, "tls", "PUBLIC_CLOSED"},
		{"open", "127.0.0.1", false, "open", "PUBLIC_OPEN"},
		{"no listener", "127.0.0.3", true, "tcp", "PUBLIC_CLOSED"},
		{"no name", "", true, "dns", "PUBLIC_CLOSED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			names(w)
			if tc.zone != "" {
				w.zone[publicName+" A"] = []string{publicName + ". 60 IN A " + tc.zone}
			}
			target := w.target(w.gateway(gatewaySpec{refuse: func(n string) bool { return tc.refuse && n == publicName }}))
			target.PublicName, target.ExpectPublicRefused = publicName, true
			seen := Probe(t.Context(), w.vantage(), target)
			if seen.Public.Stage != tc.stage {
				t.Errorf("stage %q, want %q (%s)", seen.Public.Stage, tc.stage, seen.Public.Error)
			}
			r := Judge(target, seen, Vendor{})
			if last := r.Checks[len(r.Checks)-1]; last.Code != tc.code {
				t.Errorf("code %q, want %q", last.Code, tc.code)
			}
		})
	}
}

// TestHostsFile probes where applications are led, too, when that is elsewhere than DNS says.
func TestHostsFile(t *testing.T) {
	w := newWorld(t)
	names(w)
	v := w.vantage()
	v.System = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.4")}, nil
	}
	target := w.target(w.gateway(gatewaySpec{}))
	r := Judge(target, Probe(t.Context(), v, target), Vendor{})
	if text := page(t, r); r.Code != "ADDRESS_NOT_THE_ENDPOINT" || !strings.Contains(text, "DNS_SYSTEM_DIFFERS") {
		t.Errorf("code %s\n%s", r.Code, text)
	}
}

// TestProxyEnvironment shows that an HTTP proxy which would carry the private name away is told, without its password.
func TestProxyEnvironment(t *testing.T) {
	w := newWorld(t)
	names(w)
	v := w.vantage()
	v.Proxy = func(*url.URL) (*url.URL, error) { return url.Parse("http://user:secret@proxy.example:3128") }
	target := w.target(w.gateway(gatewaySpec{}))
	r := Judge(target, Probe(t.Context(), v, target), Vendor{})
	text := page(t, r)
	if r.Verdict != Proven || !strings.Contains(text, "HTTP_PROXY_SET") || strings.Contains(text, "secret") {
		t.Errorf("verdict %s\n%s", r.Verdict, text)
	}
}

func TestClassify(t *testing.T) {
	if got := classify(errors.New("anything")); got != Other {
		t.Errorf("an unknown error is %s", got)
	}
	if got := classify(&net.DNSError{IsTimeout: true}); got != TimedOut {
		t.Errorf("a time-out is %s", got)
	}
}

func page(t *testing.T, r Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b, false, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
