package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// RecordType is a type of DNS record that is asked for.
type RecordType uint16

// The types that verification asks for.
const (
	TypeA    = RecordType(dns.TypeA)
	TypeAAAA = RecordType(dns.TypeAAAA)
)

// Answer is a resolver's answer to one question. A name that does not exist is an Answer, not an error.
type Answer struct {
	Server  string   `json:"server"` // host:port that answered
	RCode   string   `json:"rcode"`  // NOERROR, NXDOMAIN, SERVFAIL, …
	Records []Record `json:"records,omitempty"`
}

// Record is one record of an answer, in the answer's order.
type Record struct {
	Name  string        `json:"name"` // owner, without the final dot
	Type  string        `json:"type"` // A, AAAA, CNAME
	Value string        `json:"value"`
	TTL   time.Duration `json:"ttl_ns"`
}

// Addrs returns the addresses of the answer.
func (a Answer) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, r := range a.Records {
		if r.Type != "A" && r.Type != "AAAA" {
			continue
		}
		if addr, err := netip.ParseAddr(r.Value); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

// Chain returns the targets of the CNAMEs of the answer, in order.
func (a Answer) Chain() []string {
	var out []string
	for _, r := range a.Records {
		if r.Type == "CNAME" {
			out = append(out, r.Value)
		}
	}
	return out
}

// TTL returns how long the answer may still be remembered: the least of its records' times.
func (a Answer) TTL() time.Duration {
	var least time.Duration
	for i, r := range a.Records {
		if i == 0 || r.TTL < least {
			least = r.TTL
		}
	}
	return least
}

// systemServers returns the resolvers that a resolv.conf names, as host:port.
func systemServers(file string) []string {
	conf, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil
	}
	out := make([]string, len(conf.Servers))
	for i, s := range conf.Servers {
		out[i] = net.JoinHostPort(s, conf.Port)
	}
	return out
}

// exchangeAny asks the servers in turn until one answers. The time that ctx leaves is shared among them, so that a dead
// first resolver does not starve the second.
func exchangeAny(ctx context.Context, servers []string, name string, typ RecordType) (Answer, error) {
	if len(servers) == 0 {
		return Answer{}, errors.New("no resolver is configured")
	}
	var failed error
	for i, server := range servers {
		each := ctx
		cancel := context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			each, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(servers)-i))
		}
		answer, err := exchange(each, server, name, typ)
		cancel()
		if err == nil {
			return answer, nil
		}
		failed = fmt.Errorf("resolver %s: %w", server, err)
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{}, failed
}

// exchange asks one server over UDP, and over TCP when the answer was cut (RFC 7766, section 5).
func exchange(ctx context.Context, server, name string, typ RecordType) (Answer, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), uint16(typ))
	q.SetEdns0(1232, false)
	reply, err := roundTrip(ctx, "udp", server, q)
	if err == nil && reply.Truncated {
		reply, err = roundTrip(ctx, "tcp", server, q)
	}
	if err != nil {
		return Answer{}, err
	}
	out := Answer{Server: server, RCode: dns.RcodeToString[reply.Rcode]}
	if out.RCode == "" {
		out.RCode = fmt.Sprintf("RCODE%d", reply.Rcode)
	}
	for _, rr := range reply.Answer {
		rec := Record{Name: trimDot(rr.Header().Name), TTL: time.Duration(rr.Header().Ttl) * time.Second}
		switch rr := rr.(type) {
		case *dns.A:
			rec.Type, rec.Value = "A", rr.A.String()
		case *dns.AAAA:
			rec.Type, rec.Value = "AAAA", rr.AAAA.String()
		case *dns.CNAME:
			rec.Type, rec.Value = "CNAME", trimDot(rr.Target)
		default:
			continue // signatures and the like say nothing about the path
		}
		out.Records = append(out.Records, rec)
	}
	return out, nil
}

func roundTrip(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &dns.Conn{Conn: conn, UDPSize: 1232}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		reply, err := c.ReadMsg()
		if err != nil {
			return nil, err
		}
		// Over UDP anybody may answer: what does not match the question is not the answer (RFC 5452, section 9.1).
		if reply.Id == q.Id && reply.Response && len(reply.Question) == 1 && sameQuestion(reply.Question[0], q.Question[0]) {
			return reply, nil
		}
	}
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && dns.CanonicalName(a.Name) == dns.CanonicalName(b.Name)
}

func trimDot(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}
