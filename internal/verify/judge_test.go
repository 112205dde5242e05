package verify

import (
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// facts is one row's both sides. It starts as a path on which all is well; a row changes what it is about.
type facts struct {
	t Target
	o Observations
	v Vendor
}

const zoneA, zoneB = "10.0.1.5", "10.0.2.6"

// fixedKey is a gateway's key that is the same in every run, for the golden files.
var fixedKey = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes, fixed"[:32]))

func fixedProof() ProofSeen {
	const nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	p := link.PathProof{
		Nonce: nonce, ClusterID: clusterID, Name: "proof." + privateName, Listener: link.PrivateListener,
		EndpointID: endpoint, Source: "10.0.3.9:40112", GatewayID: "gw-1", IssuedAt: at,
	}.Sign(fixedKey)
	return ProofSeen{
		Step: Step{Took: 4 * time.Millisecond}, Nonce: nonce, PeerKey: fixedKey.Public().(ed25519.PublicKey), Status: 200, Proof: &p,
	}
}

func healthy() *facts {
	f := &facts{}
	a, b := netip.MustParseAddr(zoneA), netip.MustParseAddr(zoneB)
	f.t = Target{
		PrivateName: privateName, PublicName: publicName, Port: 443, EndpointID: endpoint, HTTPPath: "/",
		VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, InterfaceAddrs: []netip.Addr{a, b},
		ExpectPublicRefused: true, ClusterID: clusterID,
		ProofKeys: []ed25519.PublicKey{fixedKey.Public().(ed25519.PublicKey)},
	}
	f.o = Observations{
		Vantage: "vpc-1", StartedAt: at, Took: 31 * time.Millisecond,
		DNS: DNSSeen{Asked: true, Took: 2 * time.Millisecond, V4: Answer{
			Server: "127.0.0.1:5353", RCode: "NOERROR", Records: []Record{
				{privateName, "A", zoneA, time.Minute}, {privateName, "A", zoneB, time.Minute},
			},
		}, V6: Answer{Server: "127.0.0.1:5353", RCode: "NOERROR"}},
		Public: PublicSeen{Stage: "tls", Step: Step{Failure: EOF, Error: "EOF"}, Vantage: "internet"},
	}
	for _, addr := range f.t.InterfaceAddrs {
		f.o.Paths = append(f.o.Paths, PathSeen{
			Host: addr.String(), Addr: addr, FromDNS: true,
			TCP:       Step{Took: time.Millisecond},
			TLS:       TLSSeen{Step: Step{Took: 3 * time.Millisecond}, Version: "TLS 1.3", Subject: "CN=acme", Issuer: "CN=Postern CA", Names: []string{privateName}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(2000 * time.Hour)},
			HTTP:      HTTPSeen{Status: 200, Step: Step{Took: time.Millisecond}},
			PathProof: fixedProof(),
		})
	}
	f.v = Vendor{
		Known: true, Connection: &link.Connection{EndpointID: endpoint, State: link.Available},
		Gateways:      []link.Gateway{{ID: "gw-1", AppliedRevision: 7, LastSeenAt: at}},
		RulesRevision: 7, ServiceState: link.ServiceAvailable, PublicAccess: link.PublicDisabled,
		Backends: []link.BackendHealth{{Backend: "10.1.0.1:443", Healthy: true}},
	}
	return f
}

// tcp makes the TCP step fail at the given addresses, at all of them when none is given.
func (f *facts) tcp(failure Failure, hosts ...string) {
	for i := range f.o.Paths {
		p := &f.o.Paths[i]
		if len(hosts) == 0 || strings.Contains(strings.Join(hosts, " "), p.Host) {
			p.TCP = Step{Failure: failure, Error: "dial: " + strings.ToLower(string(failure)), Took: 5 * time.Second}
			p.TLS, p.HTTP = TLSSeen{Step: Step{Failure: NotTried}}, HTTPSeen{Step: Step{Failure: NotTried}}
			p.PathProof = ProofSeen{Step: Step{Failure: NotTried}}
		}
	}
}

// tls makes every handshake fail at every address, that of the proof too.
func (f *facts) tls(failure Failure) {
	for i := range f.o.Paths {
		f.o.Paths[i].TLS = TLSSeen{Step: Step{Failure: failure, Error: "handshake: " + strings.ToLower(string(failure)), Took: time.Millisecond}}
		f.o.Paths[i].HTTP = HTTPSeen{Step: Step{Failure: NotTried}}
		f.o.Paths[i].PathProof = ProofSeen{Step: f.o.Paths[i].TLS.Step}
	}
}

// proofAnswered says that the gateway's own name answers all the same.
func (f *facts) proofAnswered() {
	for i := range f.o.Paths {
		f.o.Paths[i].PathProof = fixedProof()
	}
}

func (f *facts) resolvesTo(addr string) {
	a := netip.MustParseAddr(addr)
	typ, answer := "A", &f.o.DNS.V4
	if a.Is6() {
		typ, answer = "AAAA", &f.o.DNS.V6
	}
	answer.Records = []Record{{privateName, typ, addr, time.Minute}}
	f.o.Paths = append(f.o.Paths[:len(f.o.Paths):len(f.o.Paths)], f.o.Paths[0])
	p := &f.o.Paths[len(f.o.Paths)-1]
	p.Host, p.Addr = addr, a
}

const repository = "docker-local." + privateName

// docker says that the cluster has Docker repositories by subdomain, and that all is well with one's name.
func (f *facts) docker(change func(*RepositorySeen)) {
	f.t.RepositoryName = repository
	f.o.Docker = RepositorySeen{DNS: f.o.DNS, TLS: f.o.Paths[0].TLS}
	if change != nil {
		change(&f.o.Docker)
	}
}

func (f *facts) noNames(rcode string) {
	f.o.DNS.V4, f.o.DNS.V6 = Answer{RCode: rcode}, Answer{RCode: rcode}
	for i := range f.o.Paths {
		f.o.Paths[i].FromDNS = false
	}
}

func (f *facts) refused(reason string) {
	f.v.Refused = []link.RefusedAttempt{{EndpointID: endpoint, Reason: reason, LastAt: at.Add(time.Second)}}
}

// noTargets says that the load balancer's health checks reach no gateway.
func (f *facts) noTargets() {
	f.v.Reachable = link.Condition{
		Type: link.ConditionReachable, Status: link.False, Reason: "NO_HEALTHY_GATEWAY", Message: "Health checks failed of 10.1.0.1:7443",
	}
}

func (f *facts) cert(change func(*TLSSeen)) {
	for i := range f.o.Paths {
		change(&f.o.Paths[i].TLS)
	}
}

func (f *facts) state(s link.State, reason, message, next string) {
	f.v.Connection.State = s
	f.v.Connection.Conditions = []link.Condition{{
		Type: link.ConditionAccepted, Status: link.False, Reason: reason, Message: message, NextStep: next,
	}}
}

// TestJudge is the specification of the diagnosis: what both sides know, and what the verdict names.
func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name string
		bend func(*facts)
		code string // of the first failure; empty: none
		side Side
		says string // part of the cause or next step of some check
	}{
		{"all is well", func(*facts) {}, "", SideNone, ""},

		// What the control plane alone knows comes first, for it explains the rest.
		{"endpoint not registered", func(f *facts) { f.v.Connection = nil; f.tls(EOF) }, "NOT_REGISTERED", SideCustomer, "register it"},
		{"time-out, endpoint waits to be accepted", func(f *facts) {
			f.tcp(TimedOut)
			f.state(link.PendingAcceptance, "OWNER_NOT_TRUSTED", "account 444455556666 is no trusted owner", "add 444455556666 to the trusted owners")
		}, "CONNECTION_NOT_ACCEPTED", SideVendor, "add 444455556666 to the trusted owners"},
		{"time-out, endpoint rejected", func(f *facts) {
			f.tcp(TimedOut)
			f.state(link.Rejected, "OWNER_NOT_TRUSTED", "account 444455556666 is no trusted owner", "")
		}, "CONNECTION_REJECTED", SideVendor, "account 444455556666 is no trusted owner"},
		{"not yet seen at the cloud", func(f *facts) { f.tcp(TimedOut); f.v.Connection.State = link.Pending }, "CONNECTION_PENDING", SideVendor, "wait a minute"},
		{"disconnected", func(f *facts) { f.tcp(TimedOut); f.v.Connection.State = link.Deleted }, "CONNECTION_GONE", SideCustomer, "connect again"},
		{"expired at the cloud", func(f *facts) { f.tcp(TimedOut); f.v.Connection.State = link.Expired }, "CONNECTION_FAILED", SideCloud, ""},
		{"service still being made", func(f *facts) { f.tcp(TimedOut); f.v.ServiceState = link.ServiceCreating }, "SERVICE_NOT_AVAILABLE", SideVendor, ""},
		{"no zone in common", func(f *facts) {
			f.tcp(TimedOut)
			f.v.ServiceZoneIDs, f.v.EndpointZones = []string{"use1-az1"}, []string{"use1-az4", "use1-az6"}
		}, "ZONES_APART", SideCustomer, "compare zone ids"},
		{"a zone in common", func(f *facts) {
			f.v.ServiceZoneIDs, f.v.EndpointZones = []string{"use1-az1", "use1-az4"}, []string{"use1-az4", "use1-az6"}
		}, "", SideNone, ""},
		{"every backend down", func(f *facts) { f.tls(EOF); f.v.Backends[0] = link.BackendHealth{Reason: "REFUSED"} }, "BACKENDS_DOWN", SideVendor, "REFUSED"},
		{"every backend down by an old record", func(f *facts) { f.v.Backends[0] = link.BackendHealth{Reason: "REFUSED"} }, "", SideNone, "REFUSED"},
		{"a backend of two down", func(f *facts) {
			f.v.Backends = append(f.v.Backends, link.BackendHealth{Reason: "TIMEOUT"})
		}, "", SideNone, "TIMEOUT"},

		// DNS.
		{"name does not exist", func(f *facts) { f.noNames("NXDOMAIN") }, "DNS_NXDOMAIN", SideCustomer, "private zone"},
		{"name without address", func(f *facts) { f.noNames("NOERROR") }, "DNS_NO_ADDRESS", SideCustomer, "at the name itself"},
		{"resolver fails", func(f *facts) { f.noNames("SERVFAIL") }, "DNS_SERVER_ERROR", SideCustomer, "forwarder"},
		{"resolver silent", func(f *facts) {
			f.noNames("")
			f.o.DNS.V4Err, f.o.DNS.V6Err = "i/o timeout", "i/o timeout"
		}, "DNS_NO_ANSWER", SideCustomer, "port 53"},
		{"resolver silent about IPv4 only", func(f *facts) { f.noNames("NOERROR"); f.o.DNS.V4Err = "i/o timeout" }, "DNS_NO_ANSWER", SideCustomer, ""},
		{"CNAME without address", func(f *facts) {
			f.noNames("NOERROR")
			f.o.DNS.V4.Records = []Record{{privateName, "CNAME", "x.vpce.amazonaws.com", time.Minute}}
		}, "DNS_CNAME_WITHOUT_ADDRESS", SideCustomer, "rebind"},
		{"zonal name", func(f *facts) {
			f.o.DNS.V4.Records = append(f.o.DNS.V4.Records, Record{
				privateName, "CNAME",
				string(endpoint) + "-abcd1234-us-east-1a.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com", time.Minute,
			})
		}, "", SideNone, "regional name"},
		{"regional name", func(f *facts) {
			f.o.DNS.V4.Records = append(f.o.DNS.V4.Records, Record{
				privateName, "CNAME",
				string(endpoint) + "-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com", time.Minute,
			})
		}, "", SideNone, ""},
		// Docker repositories by subdomain.
		{"a repository is where the name is", func(f *facts) { f.docker(nil) }, "", SideNone, ""},
		{"a repository's name does not exist", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.DNS.V4, s.DNS.V6 = Answer{RCode: "NXDOMAIN"}, Answer{RCode: "NXDOMAIN"} })
		}, "", SideNone, "make the wildcard record *." + privateName},
		{"a repository's name is answered by the internet", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.DNS.V4.Records = []Record{{repository, "A", "203.0.113.7", time.Minute}} })
		}, "REPOSITORY_ELSEWHERE", SideCustomer, "leave the private path"},
		{"a repository's name by IPv6 alone leaves", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.DNS.V6.Records = []Record{{repository, "AAAA", "2001:db8::7", time.Minute}} })
		}, "REPOSITORY_ELSEWHERE", SideCustomer, "leave the private path"},
		{"the resolver is silent about a repository", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.DNS.V4, s.DNS.V4Err = Answer{}, "i/o timeout" })
		}, "", SideNone, "check the resolver"},
		{"no name at all leaves the repository out", func(f *facts) { f.docker(nil); f.noNames("NXDOMAIN") }, "DNS_NXDOMAIN", SideCustomer, "the private name itself has no address"},
		{"the gateway does not know the repository", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.TLS = TLSSeen{Step: Step{Failure: EOF}} })
		}, "", SideNone, "a wildcard covers one label"},
		{"the certificate has no wildcard", func(f *facts) { f.docker(func(s *RepositorySeen) { s.TLS.NameErr = "x" }) }, "", SideNone, "adds the wildcard"},
		{"nothing completes TLS for a repository", func(f *facts) {
			f.docker(func(s *RepositorySeen) { s.TLS = TLSSeen{Step: Step{Failure: NotTried}} })
			f.tls(EOF)
		}, "TLS_CLOSED", SideVendor, "no address completes TLS"},
		{"hosts file stands before DNS", func(f *facts) { f.o.DNS.System = []netip.Addr{netip.MustParseAddr("10.0.9.9")} }, "", SideNone, "/etc/hosts"},

		// Addresses.
		{"public answer", func(f *facts) { f.resolvesTo("203.0.113.7") }, "ADDRESS_PUBLIC", SideCustomer, "not associated"},
		{"public IPv6 beside private IPv4", func(f *facts) { f.resolvesTo("2001:db8::7") }, "ADDRESS_PUBLIC", SideCustomer, "prefer IPv6"},
		{"old answer after a switch", func(f *facts) { f.resolvesTo("10.0.9.9") }, "ADDRESS_NOT_THE_ENDPOINT", SideCustomer, "another 1m0s"},
		{"endpoint of another VPC", func(f *facts) { f.t.InterfaceAddrs = nil; f.resolvesTo("10.77.0.1") }, "ADDRESS_OUTSIDE_VPC", SideCustomer, "another VPC"},
		{"inside the VPC, interfaces unknown", func(f *facts) { f.t.InterfaceAddrs = nil }, "", SideNone, ""},
		{"a VPC of public addresses", func(f *facts) {
			f.t.InterfaceAddrs, f.t.VPCCIDRs = nil, append(f.t.VPCCIDRs, netip.MustParsePrefix("203.0.113.0/24"))
			f.resolvesTo("203.0.113.7")
		}, "", SideNone, ""},

		// TCP.
		{"time-out, the vendor is ready", func(f *facts) { f.tcp(TimedOut) }, "TCP_TIMEOUT", SideCustomer, "allow TCP 443"},
		{"time-out, the vendor was not asked", func(f *facts) { f.tcp(TimedOut); f.v = Vendor{} }, "TCP_TIMEOUT", SideEither, "ask the vendor"},
		{"time-out in one zone", func(f *facts) { f.tcp(TimedOut, zoneB) }, "TCP_TIMEOUT", SideCustomer, "this one's subnet or zone"},
		{"time-out, no gateway is heard of", func(f *facts) { f.tcp(TimedOut); f.v.Gateways[0].LastSeenAt = at.Add(-time.Hour) }, "TCP_TIMEOUT", SideVendor, "no target"},
		{"refused by the endpoint", func(f *facts) { f.tcp(Refused) }, "TCP_REFUSED", SideVendor, "does not listen on port 443"},
		{"refused by another host", func(f *facts) { f.resolvesTo("10.0.9.9"); f.tcp(Refused, "10.0.9.9") }, "ADDRESS_NOT_THE_ENDPOINT", SideCustomer, "likely not the endpoint's"},
		{"refused, interfaces unknown", func(f *facts) { f.tcp(Refused); f.t.InterfaceAddrs = nil }, "TCP_REFUSED", SideEither, "compare the address"},
		{"time-out, interfaces unknown", func(f *facts) { f.tcp(TimedOut); f.t.InterfaceAddrs = nil }, "TCP_TIMEOUT", SideCustomer, "not the endpoint's"},
		{"refused, the balancer reaches no gateway", func(f *facts) { f.tcp(Refused); f.t.InterfaceAddrs = nil; f.noTargets() }, "NO_HEALTHY_GATEWAY", SideVendor, "Health checks failed"},
		{"time-out, the balancer reaches no gateway", func(f *facts) { f.tcp(TimedOut); f.noTargets() }, "NO_HEALTHY_GATEWAY", SideVendor, "health checks"},
		{"health told late, the path works", func(f *facts) { f.noTargets() }, "", SideNone, "Health checks failed"},
		{"reset", func(f *facts) { f.tcp(Reset) }, "TCP_RESET", SideVendor, "no target"},
		{"no route", func(f *facts) { f.tcp(Unreachable) }, "TCP_UNREACHABLE", SideCustomer, "route tables"},
		{"no IPv6 here", func(f *facts) {
			f.t.InterfaceAddrs = append(f.t.InterfaceAddrs, netip.MustParseAddr("fd00::5"))
			f.resolvesTo("fd00::5")
			f.tcp(Unreachable, "fd00::5")
		}, "", SideNone, "no IPv6"},
		{"unknown error", func(f *facts) { f.tcp(Other) }, "TCP_OTHER", SideEither, ""},

		// Connects, then closes: how a gateway refuses.
		{"not authorised for this cluster", func(f *facts) { f.tls(EOF); f.refused("ENDPOINT_NOT_AUTHORISED") }, "TLS_CLOSED", SideCustomer, "register the endpoint's id"},
		{"no endpoint id reached the gateway", func(f *facts) { f.tls(Reset); f.refused("NO_ENDPOINT_ID"); f.v.Refused[0].EndpointID = "" }, "TLS_CLOSED", SideVendor, "PROXY protocol v2"},
		{"the load balancer's PROXY protocol is off", func(f *facts) { f.tls(EOF); f.refused("NO_PROXY_HEADER"); f.v.Refused[0].EndpointID = "" }, "TLS_CLOSED", SideVendor, "could not tell: NO_PROXY_HEADER"},
		{"its own refusal counts more than nobody's", func(f *facts) {
			f.tls(EOF)
			f.refused("ENDPOINT_NOT_AUTHORISED")
			f.v.Refused = append(f.v.Refused, link.RefusedAttempt{Reason: "NO_PROXY_HEADER", LastAt: at.Add(time.Minute)})
		}, "TLS_CLOSED", SideCustomer, "register the endpoint's id"},
		{"the balancer is not trusted", func(f *facts) { f.tls(EOF); f.refused("UNTRUSTED_PEER"); f.v.Refused[0].EndpointID = "" }, "TLS_CLOSED", SideVendor, "trusts"},
		{"a reason of the future", func(f *facts) { f.tls(EOF); f.refused("MOON_PHASE") }, "TLS_CLOSED", SideVendor, "MOON_PHASE"},
		{"a refusal that report-only would have made does not count", func(f *facts) {
			f.tls(EOF)
			f.refused("ENDPOINT_NOT_AUTHORISED")
			f.v.Refused[0].WouldRefuse = true
		}, "TLS_CLOSED", SideVendor, "PROXY protocol on one side only"},
		{"a refusal at the public door does not count", func(f *facts) {
			f.tls(EOF)
			f.refused("PUBLIC_ACCESS_DISABLED")
			f.v.Refused[0].EndpointID, f.v.Refused[0].Listener = "", link.PublicListener
		}, "TLS_CLOSED", SideVendor, "PROXY protocol on one side only"},
		{"an older refusal does not count", func(f *facts) {
			f.tls(EOF)
			f.refused("ENDPOINT_NOT_AUTHORISED")
			f.v.Refused[0].LastAt = at.Add(-time.Minute)
		}, "TLS_CLOSED", SideVendor, "PROXY protocol on one side only"},
		{"another endpoint's refusal does not count", func(f *facts) {
			f.tls(EOF)
			f.refused("ENDPOINT_NOT_AUTHORISED")
			f.v.Refused[0].EndpointID = "vpce-0ffffffffffffffff"
		}, "TLS_CLOSED", SideVendor, "PROXY protocol on one side only"},
		{"rules on their way", func(f *facts) { f.tls(EOF); f.v.RulesRevision = 9 }, "TLS_CLOSED", SideVendor, "a few seconds"},
		{"the gateway answers, the service does not", func(f *facts) { f.tls(EOF); f.proofAnswered() }, "TLS_CLOSED", SideVendor, "cannot reach the service"},
		{"the vendor was not asked", func(f *facts) { f.tls(EOF); f.v = Vendor{} }, "TLS_CLOSED", SideEither, "ask the vendor"},

		// TLS.
		{"handshake times out", func(f *facts) { f.tls(TimedOut) }, "TLS_TIMEOUT", SideEither, "MTU"},
		{"the gateway hangs", func(f *facts) { f.tls(TimedOut) }, "TLS_TIMEOUT", SideEither, "have the operator look at the gateways"},
		{"the service answers, the gateway for itself not", func(f *facts) {
			for i := range f.o.Paths {
				f.o.Paths[i].PathProof = ProofSeen{Step: Step{Failure: TimedOut}}
			}
		}, "PROOF_NO_ANSWER", SideVendor, "does not answer for itself"},
		{"handshake times out behind the gateway", func(f *facts) { f.tls(TimedOut); f.proofAnswered() }, "TLS_TIMEOUT", SideVendor, "backends"},
		{"alert", func(f *facts) { f.tls(Alert) }, "TLS_ALERT", SideVendor, "takes none"},
		{"not TLS", func(f *facts) { f.tls(NotTLS) }, "TLS_NOT_TLS", SideEither, ""},
		{"not TLS behind the gateway", func(f *facts) { f.tls(NotTLS); f.proofAnswered() }, "TLS_NOT_TLS", SideVendor, ""},
		{"unknown handshake error", func(f *facts) { f.tls(Other) }, "TLS_OTHER", SideEither, ""},
		{"expired", func(f *facts) { f.cert(func(s *TLSSeen) { s.NotAfter = at.Add(-72 * time.Hour) }) }, "TLS_EXPIRED", SideVendor, ""},
		{"not yet valid", func(f *facts) { f.cert(func(s *TLSSeen) { s.NotBefore = at.Add(time.Hour) }) }, "TLS_NOT_YET_VALID", SideVendor, "clock"},
		{"wrong name", func(f *facts) { f.cert(func(s *TLSSeen) { s.NameErr = "x" }) }, "TLS_WRONG_NAME", SideVendor, ""},
		{"unknown authority", func(f *facts) { f.cert(func(s *TLSSeen) { s.ChainErr = "x" }) }, "TLS_UNKNOWN_AUTHORITY", SideEither, "CA file"},
		{"expires in a week", func(f *facts) { f.cert(func(s *TLSSeen) { s.NotAfter = at.Add(7 * 24 * time.Hour) }) }, "", SideNone, "renews"},
		{"old version", func(f *facts) { f.cert(func(s *TLSSeen) { s.Version = "TLS 1.1" }) }, "", SideNone, "RFC 8996"},

		// HTTP.
		{"no HTTP answer", func(f *facts) { f.o.Paths[0].HTTP.Step = Step{Failure: EOF} }, "HTTP_NO_ANSWER", SideVendor, ""},
		{"unexpected status", func(f *facts) { f.t.ExpectStatus = []int{204, 302} }, "HTTP_STATUS", SideEither, "204 302"},
		{"credentials wanted", func(f *facts) { f.o.Paths[0].HTTP.Status = 401 }, "", SideNone, ""},
		{"gone behind the proxy", func(f *facts) { f.o.Paths[0].HTTP.Status = 503 }, "HTTP_STATUS", SideVendor, "upstream"},
		{"service fails", func(f *facts) { f.o.Paths[0].HTTP.Status = 500 }, "HTTP_STATUS", SideVendor, "logs"},
		{"an expected 503", func(f *facts) { f.t.ExpectStatus = []int{200, 503}; f.o.Paths[0].HTTP.Status = 503 }, "", SideNone, ""},
		{"misdirected", func(f *facts) { f.o.Paths[0].HTTP.Status = 421 }, "", SideNone, "host names"},
		{"redirect leaves", func(f *facts) { f.o.Paths[0].HTTP.RedirectHost = "login.example" }, "", SideNone, "Host header"},

		// The public door.
		{"public door open, enabled", func(f *facts) { f.o.Public.Stage, f.v.PublicAccess = "open", link.PublicEnabled }, "PUBLIC_OPEN", SideCustomer, "allow list"},
		{"public door open, report only", func(f *facts) { f.o.Public.Stage, f.v.PublicAccess = "open", link.PublicReportOnly }, "PUBLIC_OPEN", SideCustomer, "REPORT_ONLY"},
		{"public door open, disabled", func(f *facts) { f.o.Public.Stage = "open" }, "PUBLIC_OPEN", SideVendor, "does not heed"},
		{"public door open, vendor not asked", func(f *facts) { f.o.Public.Stage = "open"; f.v = Vendor{} }, "PUBLIC_OPEN", SideEither, ""},
		{"public name gone", func(f *facts) { f.o.Public = PublicSeen{Stage: "dns", Step: Step{Failure: Other, Error: "NXDOMAIN"}} }, "", SideNone, ""},
		{"public name not looked up", func(f *facts) {
			f.o.Public = PublicSeen{Stage: "dns", Step: Step{Failure: TimedOut, Error: "i/o timeout"}}
		}, "", SideNone, "working resolver"},
		{"public door tried from inside", func(f *facts) { f.o.Public.Vantage = "vpc-1" }, "", SideNone, "same place"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := healthy()
			tc.bend(f)
			r := Judge(f.t, f.o, f.v)
			if r.Code != tc.code || r.Side != tc.side {
				t.Errorf("code %q on side %q, want %q on %q\n%s", r.Code, r.Side, tc.code, tc.side, page(t, r))
			}
			if exit := r.ExitCode(); exit != 0 != (tc.code != "") {
				t.Errorf("exit status %d with code %q", exit, tc.code)
			}
			said := false
			for _, c := range r.Checks {
				said = said || strings.Contains(c.Cause+"\n"+c.Next, tc.says)
				if c.ID == "" || c.Group == "" || c.Status == "" || c.Code == "" || c.Summary == "" || c.Side == "" {
					t.Errorf("incomplete check: %+v", c)
				}
				if c.Status == Fail && (c.Cause == "" || c.Next == "" || c.Side == SideNone) {
					t.Errorf("a failure that does not say why and what next: %+v", c)
				}
			}
			if !said {
				t.Errorf("no check says %q\n%s", tc.says, page(t, r))
			}
		})
	}
}

// TestWireBeatsRecord: where a proof holds, a control plane that lags behind is a warning.
func TestWireBeatsRecord(t *testing.T) {
	w := newWorld(t)
	names(w)
	target := w.target(w.gateway(gatewaySpec{}))
	seen := Probe(t.Context(), w.vantage(), target)
	r := Judge(target, seen, Vendor{Known: true, Connection: &link.Connection{State: link.Pending}})
	if r.Verdict != Proven || r.Worst() != Warn {
		t.Errorf("verdict %s, worst %s\n%s", r.Verdict, r.Worst(), page(t, r))
	}
}

// TestReportPages holds the page that people read against the golden files.
func TestReportPages(t *testing.T) {
	for name, bend := range map[string]func(*facts){
		"well": func(*facts) {},
		"pending": func(f *facts) {
			f.tcp(TimedOut)
			f.state(link.PendingAcceptance, "OWNER_NOT_TRUSTED", "account 444455556666 is no trusted owner", "add 444455556666 to the trusted owners")
		},
		"no-name":      func(f *facts) { f.noNames("NXDOMAIN") },
		"unauthorised": func(f *facts) { f.tls(EOF); f.refused("ENDPOINT_NOT_AUTHORISED") },
		"one-zone":     func(f *facts) { f.tcp(TimedOut, zoneB) },
		"hostile": func(f *facts) {
			f.cert(func(s *TLSSeen) { s.NameErr, s.Names = "x", []string{"evil\x1b[2J.example"} })
			f.o.Paths[0].Host = "10.0.1.5\x1b]0;x\a"
		},
		"not-probed": func(f *facts) { f.o.VantageErr = "vantage point vpc-1: connection refused" },
	} {
		for _, mode := range []string{"quiet", "verbose", "color"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				f := healthy()
				bend(f)
				var b strings.Builder
				if err := Judge(f.t, f.o, f.v).WriteText(&b, mode == "color", mode == "verbose"); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+mode+".txt", b.String())
				if mode != "color" && strings.ContainsRune(b.String(), '\x1b') {
					t.Error("an escape of the peer's reached the page")
				}
			})
		}
	}
}

// TestReportJSON holds the document that programs read against the golden file, and reads it back.
func TestReportJSON(t *testing.T) {
	f := healthy()
	f.tcp(TimedOut, zoneB)
	r := Judge(f.t, f.o, f.v)
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "one-zone.json", string(doc)+"\n")
	var back Report
	if err := json.Unmarshal(doc, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write anew with -update):\n%s", file, diff)
	}
}
