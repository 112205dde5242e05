package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// network is the data plane: everything that carries bytes or answers for it. It reads the fabric's state and never
// changes it. All that it runs ends with close.
type network struct {
	fabric *Fabric
	hosts  *hosts
	log    *slog.Logger
	checks *healthChecks
	socks  *proxy
	http   *proxy

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu          sync.Mutex // guards what follows
	closed      bool
	flows       map[*flow]struct{}
	nameservers map[string]*nameserver // by VPC id; started when first asked for
	views       map[string]*view       // by VPC id, of viewsOf
	names       *publicNames           // of viewsOf
	viewsOf     *State

	ports atomic.Uint32 // for the clients' ends of flows
}

// A connection attempt that nothing answers is repeated each dialRetry, as TCP repeats a SYN, and whenever the state
// changes, and given up after dialPatience, about when Linux does.
const (
	dialRetry    = time.Second
	dialPatience = 2 * time.Minute
)

// startNetwork starts the data plane of f; everything listens when it returns.
func startNetwork(ctx context.Context, f *Fabric) (_ *network, err error) {
	n := &network{fabric: f, log: f.cfg.Log, flows: map[*flow]struct{}{}, nameservers: map[string]*nameserver{}}
	n.ctx, n.cancel = context.WithCancel(ctx)
	n.checks = newHealthChecks(n.ctx, n.log)
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.hosts, err = newHosts(f.cfg.Internet); err != nil {
		return nil, err
	}
	if n.socks, err = n.startProxy(f.cfg.SOCKSAddr, socks{}); err != nil {
		return nil, fmt.Errorf("fabric: SOCKS: %w", err)
	}
	if n.http, err = n.startProxy(f.cfg.HTTPProxyAddr, connect{}); err != nil {
		return nil, fmt.Errorf("fabric: HTTP proxy: %w", err)
	}
	n.wg.Go(n.follow)
	return n, nil
}

func (n *network) startProxy(address string, proto proxyProtocol) (*proxy, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := (&net.ListenConfig{}).Listen(n.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, proto: proto, admit: n.admit, log: n.log, dial: func(ctx context.Context, p passage) (*flow, error) {
		return n.dial(ctx, p.from, p.host, p.port)
	}}
	p.serve(n.ctx)
	return p, nil
}

// close stops listening, cuts every flow and joins every goroutine.
func (n *network) close() {
	n.cancel()
	for _, p := range []*proxy{n.socks, n.http} {
		if p != nil {
			p.close()
		}
	}
	n.mu.Lock()
	n.closed = true
	flows, nameservers := n.flows, n.nameservers
	n.flows, n.nameservers = nil, nil
	n.mu.Unlock()
	for fl := range flows {
		fl.cut()
	}
	for _, ns := range nameservers {
		ns.close()
	}
	n.wg.Wait() // follow starts checks, so it ends before them
	n.checks.close()
}

// follow keeps health checks, flows and DNS servers in step with the state.
func (n *network) follow() {
	for {
		changed := n.fabric.changes()
		s := n.fabric.state.Load()
		n.checks.sync(s)
		n.cutFlows(s)
		n.closeNameservers(s)
		select {
		case <-changed:
		case <-n.ctx.Done():
			return
		}
	}
}

// closeNameservers ends the DNS servers of VPCs that are gone.
func (n *network) closeNameservers(s *State) {
	n.mu.Lock()
	var idle []*nameserver
	for vpcID, ns := range n.nameservers {
		if vpcID != Internet && s.VPCs[vpcID] == nil {
			delete(n.nameservers, vpcID)
			idle = append(idle, ns)
		}
	}
	n.mu.Unlock()
	for _, ns := range idle {
		ns.close() // outside the lock, which answers under way may need
	}
}

// cutFlows cuts the flows of endpoints that are being deleted or gone. A rejected endpoint keeps those it has.
func (n *network) cutFlows(s *State) {
	n.mu.Lock()
	var doomed []*flow
	for fl := range n.flows {
		if fl.endpointID == "" {
			continue
		}
		if e := s.Endpoints[fl.endpointID]; e == nil || e.State == EndpointDeleting || e.State == EndpointDeleted {
			doomed = append(doomed, fl)
		}
	}
	n.mu.Unlock()
	for _, fl := range doomed {
		fl.cut()
	}
}

// admit says whether a proxy's user name is a vantage point of this fabric.
func (n *network) admit(user string) (vantage, bool) {
	from, ok := parseVantage(user)
	if !ok {
		return vantage{}, false
	}
	_, err := placeOf(n.fabric.snapshot(), from)
	return from, err == nil
}

// view returns what names mean in a VPC, or outside, now.
func (n *network) view(vpcID string) *view {
	s := n.fabric.snapshot()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.viewsOf != s {
		n.viewsOf, n.names, n.views = s, newPublicNames(s), map[string]*view{}
	}
	v := n.views[vpcID]
	if v == nil {
		v = newView(s, n.names, vpcID, n.hosts)
		n.views[vpcID] = v
	}
	return v
}

// dnsAddr returns the address of a VPC's DNS server, which it starts when it does not run yet.
func (n *network) dnsAddr(vpcID string) string {
	if vpcID != Internet && n.fabric.snapshot().VPCs[vpcID] == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ""
	}
	ns := n.nameservers[vpcID]
	if ns == nil {
		host := n.fabric.cfg.DNSAddr
		if host == "" {
			host = "127.0.0.1"
		}
		var err error
		ns, err = startNameserver(n.ctx, host, func(name string, typ uint16) answer { return n.view(vpcID).resolve(name, typ) }, n.log)
		if err != nil {
			n.log.Error("a VPC has no DNS server", "vpc", vpcID, "err", err)
			return ""
		}
		n.nameservers[vpcID] = ns
	}
	return ns.addr
}

// dial opens a flow from a vantage point to host, a name or a literal address. Of several addresses it takes the first
// that answers, giving each its share of the time that ctx has.
func (n *network) dial(ctx context.Context, from vantage, host string, port uint16) (*flow, error) {
	addrs, err := n.lookup(from.vpcID, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(caller, dialPatience)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	var first error
	for i, addr := range addrs {
		to := netip.AddrPortFrom(addr, port)
		fl, err := n.dialAddress(ctx, from, to, len(addrs)-i)
		if err == nil {
			return fl, nil
		}
		if first == nil {
			first = &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := caller.Err(); err != nil {
		first = &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addrs[0], port)), Err: err}
	}
	return nil, first
}

// dialAddress dials one address within an equal share of what is left of ctx's time for so many addresses. While the
// network drops the attempt it holds and tries again, as a TCP stack does that gets no answer.
func (n *network) dialAddress(ctx context.Context, from vantage, to netip.AddrPort, shares int) (*flow, error) {
	deadline, _ := ctx.Deadline() // always there: dial has set one
	ctx, cancel := context.WithTimeout(ctx, max(time.Until(deadline)/time.Duration(shares), 2*time.Second))
	defer cancel()
	client := uint16(32768 + n.ports.Add(1)%28000)
	logged := ""
	for {
		changed := n.fabric.changes()
		s := n.fabric.snapshot()
		here, err := placeOf(s, from)
		if err != nil {
			return nil, err
		}
		r := findRoute(s, here, to, n.hosts, n.checks.healthy)
		switch r.fate {
		case refused:
			return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
		case unroutable:
			return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
		case reset:
			return n.open(&flow{r: r, client: netip.AddrPortFrom(here.addr, client), server: to, endpointID: r.endpointID})
		case carried:
			fl, err := n.dialTarget(ctx, r, netip.AddrPortFrom(here.addr, client), to)
			if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
				return fl, err
			}
		}
		if r.why != logged {
			n.log.Debug("the network drops a connection attempt", "from", from, "to", to, "why", r.why)
			logged = r.why
		}
		retry := time.NewTimer(dialRetry)
		select {
		case <-retry.C:
		case <-changed:
			retry.Stop()
		case <-ctx.Done():
			retry.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
		}
	}
}

// dialTarget connects to one of a way's targets on this machine and tells it who comes, where that is wanted.
func (n *network) dialTarget(ctx context.Context, r way, client, server netip.AddrPort) (*flow, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.targets[int(n.ports.Load())%len(r.targets)])
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the host's own addresses are no part of the fabric's world
		}
		return nil, err
	}
	if r.proxyV2 {
		if _, err := conn.Write(proxyHeader(client, server, r.endpointID)); err != nil {
			_ = conn.Close()
			return nil, os.NewSyscallError("connect", syscall.ECONNRESET)
		}
	}
	return n.open(&flow{r: r, conn: conn.(*net.TCPConn), client: client, server: server, endpointID: r.endpointID})
}

// open enters a flow in the network's books, unless it came too late.
func (n *network) open(fl *flow) (*flow, error) {
	fl.network = n
	fl.touch()
	n.mu.Lock()
	late := n.closed
	if e := n.fabric.state.Load().Endpoints[fl.endpointID]; fl.endpointID != "" && (e == nil || e.State != EndpointAvailable) {
		late = true
	}
	if !late {
		n.flows[fl] = struct{}{}
		if fl.r.idle > 0 {
			fl.watchIdle(fl.r.idle)
		}
	}
	n.mu.Unlock()
	if late {
		fl.cut()
		return nil, os.NewSyscallError("connect", syscall.ECONNRESET)
	}
	return fl, nil
}

// forget strikes a flow out.
func (n *network) forget(fl *flow) {
	n.mu.Lock()
	delete(n.flows, fl)
	n.mu.Unlock()
}

// lookup returns the IPv4 addresses of host as seen from a VPC or from outside.
func (n *network) lookup(vpcID, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	return n.view(vpcID).addressesOf(host)
}

// splitAddress reads a "host:port" with a numeric port.
func splitAddress(address string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 || host == "" {
		return "", 0, &net.AddrError{Err: "want host:port with a port from 1 to 65535", Addr: address}
	}
	return host, uint16(p), nil
}
