package dnsplan

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postern/postern/internal/servertest"
)

// The world of the tests with real resolvers: the endpoint's name and the rest of the world's are public, as at AWS; the
// cluster's names lead to the endpoint inside the VPC only, and to the public door elsewhere.
const (
	corporate = "127.77.53.1" // the public DNS as the customer's network sees it
	inboundA  = "127.77.53.2" // the inbound resolver endpoints inside the VPC
	inboundB  = "127.77.53.3"

	private, public = "10.0.1.17", "198.41.0.4" // the guards count the networks of documentation as private
)

// TestResolvers has the resolvers of corporate networks run their snippets, with their guard against DNS rebinding: the
// cluster's names, also those below it, lead to the endpoint's private address, and other names where they led before.
func TestResolvers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root (from whoever runs the tests): the resolvers ask port 53")
	}
	outside, inside := map[string]string{vpce: private}, map[string]string{vpce: private, "art.acme.example": private}
	serveNames(t, corporate, outside)
	serveNames(t, inboundA, inside)
	serveNames(t, inboundB, inside)
	for _, tt := range []struct {
		resolver  Resolver
		program   string
		deb       string
		resolvers []string // inside the VPC
		guarded   bool
		at        func(testing.TB) netip.AddrPort
		config    func(dir, snippet string, at netip.AddrPort, guarded bool) string
		run       func(t *testing.T, at netip.AddrPort, path, config string) *servertest.Server
	}{
		{Unbound, "unbound", "unbound", []string{inboundA, inboundB}, true, servertest.Addr, unboundConfig, runUnbound},
		{Unbound, "unbound", "unbound", nil, true, servertest.Addr, unboundConfig, runUnbound},
		{Unbound, "unbound", "unbound", nil, false, servertest.Addr, unboundConfig, runUnbound},
		{Dnsmasq, "dnsmasq", "dnsmasq-base", []string{inboundA, inboundB}, true, servertest.Addr, dnsmasqConfig, runDnsmasq},
		{BIND, "named", "bind9", []string{inboundA, inboundB}, true, ownAddr, namedConfig, runNamed},
		{BIND, "named", "bind9", []string{inboundA, inboundB}, false, ownAddr, namedConfig, runNamed},
	} {
		kind := "alone"
		if tt.resolvers != nil {
			kind = "with resolvers in the VPC"
		}
		if tt.guarded {
			kind += ", guarded"
		}
		t.Run(string(tt.resolver)+" "+kind, func(t *testing.T) {
			path := program(t, tt.program, tt.deb)
			p, err := Make(onPremises(tt.resolvers...))
			if err != nil {
				t.Fatal(err)
			}
			snippet, err := p.Snippet(tt.resolver)
			if err != nil {
				t.Fatal(err)
			}
			dir, at := t.TempDir(), tt.at(t)
			config := filepath.Join(dir, "main.conf")
			write(t, filepath.Join(dir, "postern.conf"), snippet)
			write(t, config, tt.config(dir, filepath.Join(dir, "postern.conf"), at, tt.guarded))
			server := tt.run(t, at, path, config)
			leadsToTheEndpoint(t, at)
			if t.Failed() {
				t.Log(server.Stop())
			}
		})
	}
}

// TestZoneFileIsServed has BIND load a zone with the lines of the zone file in it, and resolve by it.
func TestZoneFileIsServed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root (from whoever runs the tests): the resolvers ask port 53")
	}
	named := program(t, "named", "bind9")
	serveNames(t, corporate, map[string]string{vpce: private})
	p, err := Make(onPremises())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := p.ZoneFile()
	if err != nil {
		t.Fatal(err)
	}
	dir, at := t.TempDir(), ownAddr(t)
	write(t, filepath.Join(dir, "zone"), "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A "+at.Addr().String()+"\nother IN A "+public+"\n"+lines)
	write(t, filepath.Join(dir, "postern.conf"), `zone "acme.example" { type primary; file "`+filepath.Join(dir, "zone")+`"; };`)
	config := filepath.Join(dir, "main.conf")
	write(t, config, namedConfig(dir, filepath.Join(dir, "postern.conf"), at, false))
	server := runNamed(t, at, named, config)
	leadsToTheEndpoint(t, at)
	if t.Failed() {
		t.Log(server.Stop())
	}
}

// ownAddr is an address for BIND, which listens on those alone that an interface has.
func ownAddr(t testing.TB) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), servertest.Port(t))
}

func leadsToTheEndpoint(t *testing.T, at netip.AddrPort) {
	t.Helper()
	for name, want := range map[string]string{
		"art.acme.example":        private,
		"docker.art.acme.example": private,
		"other.acme.example":      public,
	} {
		if got := resolve(t, at, name); got != want {
			t.Errorf("%s leads to %q, want %s", name, got, want)
		}
	}
}

func unboundConfig(dir, snippet string, at netip.AddrPort, guarded bool) string {
	guard := ""
	if guarded {
		guard = "    private-address: 10.0.0.0/8\n"
	}
	return `server:
    interface: ` + at.Addr().String() + `
    port: ` + port(at) + `
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "` + dir + `"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
` + guard + `include: "` + snippet + `"
forward-zone:
    name: "."
    forward-addr: ` + corporate + `
`
}

func runUnbound(t *testing.T, at netip.AddrPort, path, config string) *servertest.Server {
	return servertest.Run(t, servertest.Account{}, at, path, "-d", "-c", config)
}

func dnsmasqConfig(_, snippet string, at netip.AddrPort, guarded bool) string {
	guard := ""
	if guarded {
		guard = "stop-dns-rebind\n"
	}
	return `port=` + port(at) + `
listen-address=` + at.Addr().String() + `
bind-interfaces
no-resolv
no-hosts
user=root
pid-file=
log-facility=-
server=` + corporate + `
` + guard + `conf-file=` + snippet + `
`
}

// With --keep-in-foreground it would not end on SIGINT.
func runDnsmasq(t *testing.T, at netip.AddrPort, path, config string) *servertest.Server {
	return servertest.Run(t, servertest.Account{}, at, path, "--no-daemon", "--conf-file="+config)
}

func namedConfig(dir, snippet string, at netip.AddrPort, guarded bool) string {
	guard := ""
	if guarded {
		guard = `    deny-answer-addresses { 10.0.0.0/8; } except-from { "art.acme.example"; "` + vpce + `"; };` + "\n"
	}
	return `options {
    directory "` + dir + `";
    listen-on port ` + port(at) + ` { ` + at.Addr().String() + `; };
    listen-on-v6 { none; };
    recursion yes;
    forwarders { ` + corporate + `; };
    forward only;
    dnssec-validation no;
    pid-file none;
    session-keyfile none;
` + guard + `};
controls { };
include "` + snippet + `";
`
}

// It listens before it has loaded its zones.
func runNamed(t *testing.T, _ netip.AddrPort, path, config string) *servertest.Server {
	return servertest.RunSaying(t, servertest.Account{}, " running\n", path, "-g", "-c", config)
}

func port(at netip.AddrPort) string { _, p, _ := net.SplitHostPort(at.String()); return p }

// serveNames runs a DNS server at port 53 of an address. It has addresses for these names and those below them, and the public
// address for every other.
func serveNames(t *testing.T, at string, names map[string]string) {
	t.Helper()
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		asked := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
		addr := public
		for name, private := range names {
			if asked == name || strings.HasSuffix(asked, "."+name) {
				addr = private
			}
		}
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(addr),
			})
		}
		_ = w.WriteMsg(m)
	})
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", at+":53")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := lc.ListenPacket(t.Context(), "udp", at+":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: answer}, {PacketConn: pc, Handler: answer}} {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = s.ActivateAndServe() // it ends with the test
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-ended
		})
	}
}

// resolve asks a resolver for a name's address.
func resolve(t *testing.T, at netip.AddrPort, name string) string {
	t.Helper()
	c := dns.Client{Net: "tcp"} // the client's own patience is for packets that get lost
	m, _, err := c.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name+".", dns.TypeA), at.String())
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String()
		}
	}
	return dns.RcodeToString[m.Rcode]
}

func program(t *testing.T, name, deb string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s (Debian package %s)", name, deb)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
