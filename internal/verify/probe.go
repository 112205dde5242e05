package verify

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// mostAddrs bounds how many addresses of one name are tried: an endpoint has one per zone, and an answer is foreign bytes.
const mostAddrs = 16

// Probe looks at the path to t from v and returns what it saw. Each step is bounded by the target's step time-out, the
// addresses are tried at the same time, and every connection and goroutine is gone when Probe returns. When ctx ends
// first, the observations say that they are incomplete.
func Probe(ctx context.Context, v Vantage, t Target) Observations {
	o := Observations{Vantage: v.Name, StartedAt: time.Now()}
	if t.PrivateName == "" || t.Port == 0 {
		o.VantageErr = "nothing to probe: the target has no private name or no port"
		return o
	}
	p := &prober{v: v, t: t}

	var public sync.WaitGroup
	if t.ExpectPublicRefused && t.PublicName != "" {
		outside := v
		if v.Outside != nil {
			outside = *v.Outside
		}
		public.Go(func() {
			o.Public = p.public(ctx, outside)
			o.Public.Vantage = outside.Name
		})
	}
	o.Proxy = p.proxy()
	var repository sync.WaitGroup
	if t.RepositoryName != "" {
		repository.Go(func() { o.Docker.DNS = p.resolve(ctx, t.RepositoryName) })
	}
	o.DNS = p.resolve(ctx, t.PrivateName)

	o.Paths = p.candidates(o.DNS)
	var paths sync.WaitGroup
	for i := range o.Paths {
		paths.Go(func() { p.walk(ctx, &o.Paths[i]) })
	}
	paths.Wait()
	repository.Wait()
	if t.RepositoryName != "" {
		o.Docker.TLS = p.repository(ctx, o.Paths)
	}
	public.Wait()

	o.VantageErr = p.broken
	if err := ctx.Err(); err != nil {
		o.VantageErr = "the probe was cut short: " + err.Error()
	}
	o.Took = time.Since(o.StartedAt)
	return o
}

// prober is one run of Probe.
type prober struct {
	v Vantage
	t Target

	mu     sync.Mutex
	broken string // first failure of the vantage point itself
}

// candidates lists the addresses to try: where DNS leads, where applications are led instead, and the endpoint's own,
// so that a path that works is seen behind names that do not.
func (p *prober) candidates(dns DNSSeen) []PathSeen {
	if !dns.Asked {
		return []PathSeen{{Host: p.t.PrivateName, FromDNS: true}}
	}
	var out []PathSeen
	add := func(fromDNS bool, addrs []netip.Addr) {
		for _, a := range addrs {
			known := slices.ContainsFunc(out, func(s PathSeen) bool { return s.Addr == a })
			if !known && len(out) < mostAddrs {
				out = append(out, PathSeen{Host: a.String(), Addr: a, FromDNS: fromDNS})
			}
		}
	}
	add(true, dns.V4.Addrs())
	add(true, dns.V6.Addrs())
	add(true, dns.System)
	add(false, p.t.InterfaceAddrs)
	return out
}

func (p *prober) proxy() string {
	if p.v.Proxy == nil {
		return ""
	}
	u, err := p.v.Proxy(&url.URL{Scheme: "https", Host: net.JoinHostPort(p.t.PrivateName, strconv.Itoa(int(p.t.Port)))})
	if err != nil || u == nil {
		return ""
	}
	return u.Host // without user and password
}

func (p *prober) resolve(ctx context.Context, name string) DNSSeen {
	if p.v.Resolve == nil {
		return DNSSeen{}
	}
	ctx, cancel := context.WithTimeout(ctx, p.t.stepTimeout())
	defer cancel()
	start := time.Now()
	seen := DNSSeen{Asked: true}
	ask := func(typ RecordType, answer *Answer, failed *string) func() {
		return func() {
			var err error
			if *answer, err = p.v.Resolve(ctx, name, typ); err != nil {
				*failed = p.words(err)
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(ask(TypeA, &seen.V4, &seen.V4Err))
	wg.Go(ask(TypeAAAA, &seen.V6, &seen.V6Err))
	if p.v.System != nil {
		wg.Go(func() {
			var err error
			if seen.System, err = p.v.System(ctx, name); err != nil {
				seen.SystemErr = p.words(err)
			}
		})
	}
	wg.Wait()
	seen.Took = time.Since(start)
	return seen
}

// words returns the text of err, and remembers it when it is the vantage point that failed.
func (p *prober) words(err error) string {
	if own, ok := errors.AsType[*VantageError](err); ok {
		p.mu.Lock()
		if p.broken == "" {
			p.broken = own.Error()
		}
		p.mu.Unlock()
	}
	return err.Error()
}

// walk takes one address through the steps: connect, handshake, HTTP; and, next to them, the proof of path.
func (p *prober) walk(ctx context.Context, s *PathSeen) {
	addr := net.JoinHostPort(s.Host, strconv.Itoa(int(p.t.Port)))
	s.TLS.Failure, s.HTTP.Failure, s.PathProof.Failure = NotTried, NotTried, NotTried
	conn := p.connect(ctx, p.v, addr, &s.TCP)
	if conn == nil {
		return
	}
	var wg sync.WaitGroup
	if len(p.t.ProofKeys) > 0 {
		wg.Go(func() { s.PathProof = p.prove(ctx, addr) })
	}
	p.application(ctx, conn, s)
	wg.Wait()
}

// connect is the TCP step. It returns nil when the step failed.
func (p *prober) connect(ctx context.Context, v Vantage, addr string, step *Step) net.Conn {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.t.stepTimeout())
	defer cancel()
	conn, err := v.Dial(ctx, "tcp", addr)
	*step = p.outcome(ctx, start, err)
	if err != nil {
		return nil
	}
	return conn
}

// public tries every address of the public name and tells of the attempt that came furthest: one open door is enough.
func (p *prober) public(ctx context.Context, v Vantage) PublicSeen {
	hosts, failed := []string{p.t.PublicName}, Step{}
	if v.Resolve != nil {
		hosts, failed = p.publicHosts(ctx, v)
	}
	if len(hosts) == 0 {
		return PublicSeen{Stage: "dns", Step: failed}
	}
	seen := make([]PublicSeen, min(len(hosts), mostAddrs))
	var wg sync.WaitGroup
	for i := range seen {
		wg.Go(func() { seen[i] = p.knock(ctx, v, hosts[i]) })
	}
	wg.Wait()
	far := map[string]int{"tcp": 1, "tls": 2, "open": 3}
	return slices.MaxFunc(seen, func(a, b PublicSeen) int { return far[a.Stage] - far[b.Stage] })
}

func (p *prober) publicHosts(ctx context.Context, v Vantage) ([]string, Step) {
	ctx, cancel := context.WithTimeout(ctx, p.t.stepTimeout())
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	var answers [2]Answer
	var errs [2]error
	for i, typ := range []RecordType{TypeA, TypeAAAA} {
		wg.Go(func() { answers[i], errs[i] = v.Resolve(ctx, p.t.PublicName, typ) })
	}
	wg.Wait()
	var hosts []string
	for _, a := range answers {
		for _, addr := range a.Addrs() {
			hosts = append(hosts, addr.String())
		}
	}
	err := errors.Join(errs[:]...)
	if err == nil && len(hosts) == 0 {
		err = errors.New(answers[0].RCode)
	}
	return hosts, p.outcome(ctx, start, err)
}

func (p *prober) knock(ctx context.Context, v Vantage, host string) PublicSeen {
	seen := PublicSeen{Stage: "tcp", Addr: host}
	conn := p.connect(ctx, v, net.JoinHostPort(host, strconv.Itoa(int(p.t.Port))), &seen.Step)
	if conn == nil {
		return seen
	}
	defer conn.Close()
	seen.Stage = "tls"
	if _, seen.Step = p.handshake(ctx, conn, p.t.PublicName); seen.Done() {
		seen.Stage = "open"
	}
	return seen
}
