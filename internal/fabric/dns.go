package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/miekg/dns"
)

// nameserver is a DNS server on one port, UDP and TCP, that answers as the resolver of one VPC does. It recurses: what
// it says is final.
type nameserver struct {
	addr    string
	servers []*dns.Server
	wg      sync.WaitGroup
}

// startNameserver listens on a free port of host and answers with resolve until close.
func startNameserver(ctx context.Context, host string, resolve func(name string, typ uint16) answer, log *slog.Logger) (*nameserver, error) {
	tcp, udp, err := listenBoth(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("fabric: DNS server: %w", err)
	}
	ns := &nameserver{addr: tcp.Addr().String()}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if err := w.WriteMsg(reply(q, resolve, w.RemoteAddr().Network() == "udp")); err != nil {
			log.Debug("a DNS answer could not be sent", "client", w.RemoteAddr(), "err", err)
		}
	})
	for _, srv := range []*dns.Server{{Listener: tcp}, {PacketConn: udp}} {
		srv.Handler = handler
		// Every well-formed header is answered, if only to refuse it: silence would look like a lost packet.
		srv.MsgAcceptFunc = func(h dns.Header) dns.MsgAcceptAction {
			if h.Bits&(1<<15) != 0 {
				return dns.MsgIgnore // a response
			}
			return dns.MsgAccept
		}
		up := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		ns.servers = append(ns.servers, srv)
		failed := make(chan error, 1)
		ns.wg.Go(func() { failed <- srv.ActivateAndServe() })
		select {
		case <-up:
		case err := <-failed:
			ns.close()
			_, _ = tcp.Close(), udp.Close() // those that no server has taken over
			return nil, fmt.Errorf("fabric: DNS server: %w", err)
		}
	}
	return ns, nil
}

// close stops both servers and waits for the answers under way.
func (ns *nameserver) close() {
	for _, srv := range ns.servers {
		_ = srv.Shutdown()
	}
	ns.wg.Wait()
}

// listenBoth takes one free port for TCP and UDP. A port that is free for one may be taken for the other.
func listenBoth(ctx context.Context, host string) (net.Listener, net.PacketConn, error) {
	var lc net.ListenConfig
	var failures []error
	for range 16 {
		tcp, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, nil, err
		}
		udp, err := lc.ListenPacket(ctx, "udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close()
		failures = append(failures, err)
	}
	return nil, nil, errors.Join(failures...)
}

// reply makes the answer to q.
func reply(q *dns.Msg, resolve func(string, uint16) answer, udp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
	}
	if opt := q.IsEdns0(); opt != nil {
		if udp {
			size = max(size, int(opt.UDPSize()))
		}
		m.SetEdns0(1232, false) // fits every path: DNS flag day 2020
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m
		}
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
		return m
	}
	switch typ := q.Question[0].Qtype; {
	case q.Question[0].Qclass != dns.ClassINET, typ == dns.TypeAXFR, typ == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
		return m
	case typ == dns.TypeANY: // as the VPC resolver has it; RFC 8482 leaves the choice
		m.Rcode = dns.RcodeNotImplemented
		return m
	}

	a := resolve(q.Question[0].Name, q.Question[0].Qtype)
	m.Rcode = a.rcode
	m.Answer = shuffled(a.records)
	if a.soa != nil {
		soa := dns.Copy(a.soa).(*dns.SOA)
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl) // RFC 2308, section 3
		m.Ns = []dns.RR{soa}
	}
	m.Truncate(size)
	return m
}

// shuffled puts the addresses at the end of an answer into another order, as the cloud's resolver does to spread
// clients over zones. A chain of CNAMEs before them keeps its own.
func shuffled(rrs []dns.RR) []dns.RR {
	out := append([]dns.RR(nil), rrs...)
	first := len(out)
	for first > 0 && out[first-1].Header().Rrtype != dns.TypeCNAME {
		first--
	}
	tail := out[first:]
	rand.Shuffle(len(tail), func(i, j int) { tail[i], tail[j] = tail[j], tail[i] })
	return out
}
