package gateway

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
)

// soakEnv says how long TestSoak runs on event loops, and four times as long as on package net; without it, it is a moment,
// so that it does not rot.
const soakEnv = "POSTERN_SOAK"

const (
	soakTCPPort     = 2222
	soakWorkers     = 24
	heapSlack       = 16 << 20 // between a warm gateway that is idle and the same one at the end
	goroutineSlack  = 12       // idle HTTP connections and what serves them
	descriptorSlack = 16
)

// TestSoak has everything happen at once for a while: flows of all kinds come and go, rules change, backends die and come
// back, clients are slow, silent and mad. It holds that no byte is corrupted, that no flow is refused or cut that the
// rules allow, that no flow gets a byte that they don't, and that nothing stays: no goroutine, descriptor or memory.
func TestSoak(t *testing.T) {
	const moment = 4 * time.Second
	soaking := moment
	if v := os.Getenv(soakEnv); v != "" {
		var err error
		if soaking, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		length := soaking
		if change != nil {
			length = max(moment, soaking/4)
		}
		s := newSoak(t, change)
		s.run(length / 5) // warms everything up
		idle := s.idle()
		s.run(length - length/5)
		s.compare(idle, s.idle())
		if err := s.w.g.Close(); err != nil {
			t.Error(err)
		}
		s.report()
	})
}

// soak is a gateway and what happens to it.
type soak struct {
	t        *testing.T
	w        *world
	parties  []*soakParty
	mortal   []*soakBackend
	backends []*soakBackend
	hello    []byte
	rules    api.GatewayRules // in force

	deaths  atomic.Int64 // counted before a backend dies and after it is back
	stop    atomic.Bool
	mostMem uint64

	mu    sync.Mutex
	did   map[string]int // flows by kind, and other things that happened
	bytes int64
}

// soakParty is an endpoint whose authorisation is known.
type soakParty struct {
	endpoint string
	// state is even while the rules are settled: then state%4 == 0 is authorised, 2 is not. It is odd while a change is
	// on its way. That nothing has changed between two looks is that state has not.
	state atomic.Int64
}

func (p *soakParty) allowed(state int64) bool { return state%4 == 0 }
func (p *soakParty) settled(state int64) bool { return state%2 == 0 }

func newSoak(t *testing.T, change func(*Config)) *soak {
	s := &soak{t: t, did: map[string]int{}}
	s.w = newWorld(t, func(c *Config) {
		if change != nil {
			change(c)
		}
		c.Loops, c.ReportEvery = 2, 50*time.Millisecond
		c.SpoolDir = t.TempDir()
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	})
	s.hello = clientHello(t, acmePrivate)
	// Addresses of their own, so that nobody's outgoing connection takes a backend's port while it is dead.
	var targets []api.GatewayTarget
	for i := range byte(3) {
		b := newSoakBackend(t, 1+i, fmt.Sprintf("127.0.1.%d:0", 1+i), true)
		s.backends = append(s.backends, b)
		targets = append(targets, api.GatewayTarget{Address: b.addr})
	}
	s.mortal = s.backends[1:]
	// The port that carries anything leads to one backend, which lives.
	plain := newSoakBackend(t, 9, "127.0.1.9:0", false)
	s.backends = append(s.backends, plain)
	s.rules = s.w.rules(1)
	s.rules.Tag = "1"
	acme, globex := &s.rules.Clusters[0], &s.rules.Clusters[1]
	acme.Backends, globex.Backends = targets, []api.GatewayTarget{{Address: plain.addr}}
	acme.EndpointIDs, globex.EndpointIDs = nil, nil
	carry(&s.rules, soakTCPPort, plain.addr)
	for i := range 6 {
		p := &soakParty{endpoint: "vpce-0000000000000000" + strconv.Itoa(i)}
		s.parties = append(s.parties, p)
	}
	// 0 to 2 are for acme, 3 to 5 for globex. Of each three the first is always authorised, the second at times, and the
	// third never.
	for i, c := range []*api.GatewayClusterRules{acme, globex} {
		c.EndpointIDs = []string{s.parties[3*i].endpoint, s.parties[3*i+1].endpoint}
		s.parties[3*i+2].state.Store(2)
	}
	s.w.apply(s.rules)
	return s
}

func (s *soak) run(length time.Duration) {
	s.stop.Store(false)
	var workers sync.WaitGroup
	for i := range soakWorkers {
		rnd := rand.New(rand.NewPCG(uint64(i), uint64(length)))
		workers.Go(func() {
			for !s.stop.Load() {
				s.flow(rnd)
			}
		})
	}
	rnd := rand.New(rand.NewPCG(99, uint64(length)))
	for start := time.Now(); time.Since(start) < length && !s.t.Failed(); {
		s.happen(rnd)
		s.forget()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.mostMem = max(s.mostMem, m.HeapAlloc)
	}
	s.stop.Store(true)
	workers.Wait()
}

// happen is one event of the world outside: a change of the rules, or a death and a return.
func (s *soak) happen(rnd *rand.Rand) {
	switch rnd.IntN(6) {
	case 0:
		b := s.mortal[rnd.IntN(len(s.mortal))]
		s.deaths.Add(1)
		b.die()
		linger(rnd, 100)
		b.rise()
		s.deaths.Add(1)
		s.count("deaths of backends", 1)
	case 1: // the control plane is gone for a moment, and comes back with everything
		s.w.control.change(func() { s.w.control.drop() })
		s.changeRules(func(r *api.GatewayRules) {}, true)
	default:
		i := 3*rnd.IntN(2) + 1
		p := s.parties[i]
		p.state.Add(1)
		s.changeRules(func(r *api.GatewayRules) {
			c := &r.Clusters[i/3]
			if c.EndpointIDs = []string{s.parties[3*(i/3)].endpoint}; p.state.Load()%4 == 3 {
				c.EndpointIDs = append(c.EndpointIDs, p.endpoint)
			}
		}, rnd.IntN(8) == 0)
		p.state.Add(1)
		linger(rnd, 150)
	}
}

// changeRules has the gateway apply changed rules, as a delta or in full, and returns when it has acknowledged them.
func (s *soak) changeRules(change func(*api.GatewayRules), full bool) {
	before := s.rules
	s.rules.Clusters = slices.Clone(before.Clusters)
	s.rules.Revision++
	s.rules.Tag = strconv.FormatInt(s.rules.Revision, 10)
	change(&s.rules)
	say := s.rules
	if !full {
		say.From, say.Ports, say.Clusters = before.Revision, nil, nil
		for i, c := range s.rules.Clusters {
			if !slices.Equal(c.EndpointIDs, before.Clusters[i].EndpointIDs) {
				say.Clusters = append(say.Clusters, c)
			}
		}
	}
	s.w.apply(say)
	s.count("changes of rules", 1)
}

// forget counts the records that came and forgets those of flows that have ended: what is left are flows that live.
func (s *soak) forget() {
	var ended, refused int
	cut := 0
	c := s.w.control
	c.change(func() {
		maps.DeleteFunc(c.flows, func(_ string, f api.GatewayFlow) bool {
			if f.EndedAt == nil {
				return false
			}
			ended++
			switch f.CloseReason {
			case reasonRevoked:
				cut++
			case reasonExhausted, reasonNoBackend, reasonUnreachable, reasonBackendTLS:
				s.count("flows that ended with "+f.CloseReason, 1)
			}
			return true
		})
		for _, r := range c.refused {
			refused += int(r.Count)
		}
		c.refused, c.acks, c.hellos, c.askedSince, c.health = nil, nil, nil, nil, nil
	})
	s.count("recorded flows", ended)
	s.count("recorded cuts", cut)
	s.count("recorded refusals", refused)
}

func (s *soak) count(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did[what] += n
}

// flow is one flow of any kind, from its beginning to its end.
func (s *soak) flow(rnd *rand.Rand) {
	p := s.parties[rnd.IntN(len(s.parties))]
	toPlain := slices.Index(s.parties, p) >= 3
	port, opening := uint16(443), s.hello
	if toPlain {
		port, opening = soakTCPPort, nil
	}
	state, deaths := p.state.Load(), s.deaths.Load()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.w.g.PrivateAddr().String())
	if err != nil {
		s.t.Errorf("cannot reach the gateway: %v", err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * testPatient))
	f := &soakFlow{Conn: c, rnd: rnd, party: p}
	header := l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source: addr4("10.1.2.3", 40000), Destination: addr4("10.1.0.9", port), AWSEndpoint: p.endpoint,
	})
	if !toPlain && rnd.IntN(10) == 0 {
		s.mad(f, header)
		return
	}
	if !toPlain && rnd.IntN(4) == 0 {
		err = f.postgres(header)
	} else {
		opening = append(header, opening...)
	}
	if err == nil && rnd.IntN(10) == 0 {
		err = f.shake(opening)
	} else if err == nil {
		_, err = f.Write(opening)
	}
	kind := soakKinds[rnd.IntN(len(soakKinds))]
	if err == nil {
		err = kind.do(s, f)
	}
	s.judge(kind.name, p, f, state, deaths, err)
}

// postgres asks for TLS as PostgreSQL's clients do. The gateway answers before it knows the name, so also those that it
// refuses then.
func (f *soakFlow) postgres(header []byte) error {
	if _, err := f.Write(append(header, l4.PostgresSSLRequest...)); err != nil {
		return err
	}
	var yes [1]byte
	if _, err := io.ReadFull(f, yes[:]); err != nil || yes[0] != l4.PostgresYes {
		return fmt.Errorf("the answer to SSLRequest is %q, %w", yes, err)
	}
	return nil
}

// mad never comes to a hello: it sends noise, or a part of one, and then it is silent for a while. It gets nothing.
func (s *soak) mad(f *soakFlow, header []byte) {
	said := header[:f.rnd.IntN(len(header)+1)]
	switch f.rnd.IntN(3) {
	case 0:
		said = slices.Concat(header, s.hello[:f.rnd.IntN(len(s.hello))])
	case 1:
		at := f.rnd.IntN(blockSize - 1000)
		said = slices.Concat(header, block()[at:at+1+f.rnd.IntN(999)])
	}
	_, _ = f.Write(said)
	_ = f.SetReadDeadline(time.Now().Add(time.Duration(f.rnd.IntN(100)) * time.Millisecond))
	if got, _ := io.ReadAll(f); len(got) > 0 {
		s.t.Errorf("a peer that said %x… was answered: %q", said[:min(len(said), 150)], got)
	}
	s.count("mad flows", 1)
}

// judge holds what a flow met against what was known of its party all the time.
func (s *soak) judge(kind string, p *soakParty, f *soakFlow, state, deaths int64, err error) {
	known := p.settled(state) && p.state.Load() == state
	s.mu.Lock()
	s.bytes += f.checked
	switch {
	case known && !p.allowed(state):
		s.did["refused flows"]++
	case err == nil:
		s.did["flows "+kind]++
	default:
		s.did["flows that a change or a death ended"]++
	}
	s.mu.Unlock()
	switch {
	case errors.Is(err, errOtherBytes) || errors.Is(err, errNotCut):
		s.t.Errorf("%s: %v", kind, err)
	case known && !p.allowed(state) && f.backend != 0:
		s.t.Errorf("%s: a flow of %s, which is not authorised, was answered", kind, p.endpoint)
	case known && p.allowed(state) && err != nil:
		mayHaveDied := f.backend != 1 && f.backend != 9 && slices.Index(s.parties, p) < 3 && (deaths%2 == 1 || s.deaths.Load() != deaths)
		if !mayHaveDied {
			s.t.Errorf("%s: an allowed flow of %s at backend %d failed: %v", kind, p.endpoint, f.backend, err)
		}
	}
}

// soakKinds are what clients do once their hello is sent. The more often a kind is to come, the more often it is here.
var soakKinds = slices.Concat(
	slices.Repeat([]soakKind{{"short", (*soak).short}}, 12),
	[]soakKind{
		{"bulky", (*soak).bulky},
		{"bulky down", (*soak).bulkyDown},
		{"long", (*soak).long},
		{"idle", (*soak).idleFlow},
		{"slow", (*soak).slow},
		{"half-closed", (*soak).halfClosed},
		{"reset", (*soak).reset},
		{"reset in the middle", (*soak).resetInBulk},
	},
)

type soakKind struct {
	name string
	do   func(*soak, *soakFlow) error
}

func (s *soak) short(f *soakFlow) error {
	if err := f.exchange(f.rnd.IntN(4<<10), f.rnd.IntN(16<<10)); err != nil {
		return err
	}
	return f.end()
}

func (s *soak) bulky(f *soakFlow) error {
	if err := f.exchange(1<<20+f.rnd.IntN(3<<20), 1<<20+f.rnd.IntN(4<<20)); err != nil {
		return err
	}
	return f.end()
}

func (s *soak) bulkyDown(f *soakFlow) error {
	if err := f.exchange(10, 2<<20+f.rnd.IntN(6<<20)); err != nil {
		return err
	}
	return f.end()
}

// long is small and large by turns, so that splicing begins and ends.
func (s *soak) long(f *soakFlow) error {
	for range 20 {
		most := []int{100, 4 << 10, 64 << 10, 1 << 20}[f.rnd.IntN(4)]
		if err := f.exchange(f.rnd.IntN(most), f.rnd.IntN(most)); err != nil {
			return err
		}
	}
	return f.end()
}

func (s *soak) idleFlow(f *soakFlow) error {
	for n := 1 + f.rnd.IntN(20); n > 0 && !s.stop.Load(); n-- {
		if err := f.exchange(10, 10); err != nil {
			return err
		}
		linger(f.rnd, 100)
	}
	return f.end()
}

// slow takes what comes slower than it is sent.
func (s *soak) slow(f *soakFlow) error {
	_ = f.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	lazy := *f
	lazy.Conn = &lazyReader{TCPConn: f.Conn.(*net.TCPConn), rnd: f.rnd}
	err := lazy.exchange(100, 512<<10+f.rnd.IntN(1<<20))
	f.backend, f.checked = lazy.backend, lazy.checked
	if err != nil {
		return err
	}
	return f.end()
}

type lazyReader struct {
	*net.TCPConn
	rnd *rand.Rand
}

func (r *lazyReader) Read(b []byte) (int, error) {
	if r.rnd.IntN(8) == 0 {
		linger(r.rnd, 5)
	}
	return r.TCPConn.Read(b[:min(len(b), 16<<10)])
}

// halfClosed ends its half before it has read anything: the answer and the farewell have to come all the same.
func (s *soak) halfClosed(f *soakFlow) error {
	ended := *f
	ended.Conn = &endAfterWrite{TCPConn: f.Conn.(*net.TCPConn)}
	err := ended.exchange(f.rnd.IntN(4<<10), f.rnd.IntN(512<<10))
	f.backend, f.checked = ended.backend, ended.checked
	if err != nil {
		return err
	}
	return f.farewell()
}

type endAfterWrite struct{ *net.TCPConn }

func (e *endAfterWrite) Write(b []byte) (int, error) {
	n, err := e.TCPConn.Write(b)
	if err == nil {
		err = e.CloseWrite()
	}
	return n, err
}

func (s *soak) reset(f *soakFlow) error {
	err := f.exchange(10, 10)
	_ = f.Conn.(*net.TCPConn).SetLinger(0)
	return err
}

// resetInBulk breaks off while bytes are on their way in both directions.
func (s *soak) resetInBulk(f *soakFlow) error {
	time.AfterFunc(time.Duration(f.rnd.IntN(10))*time.Millisecond, func() {
		_ = f.Conn.(*net.TCPConn).SetLinger(0)
		_ = f.Conn.Close()
	})
	if err := f.exchange(4<<20, 4<<20); errors.Is(err, errOtherBytes) {
		return err
	}
	return nil
}

// idleState is what a gateway without flows holds.
type idleState struct {
	heap        uint64
	goroutines  int
	descriptors int // without the pipes that are kept for the next bulky flow
	pipes       int
}

// idle waits until nothing of the flows is left, at the gateway and in what it has reported.
func (s *soak) idle() (st idleState) {
	s.t.Helper()
	eventually(s.t, "every flow has ended", func() bool {
		return s.w.g.engine.Stats().Open == 0 && s.w.g.LiveFlows() == 0
	})
	s.w.control.await("the records of all ends", func() bool {
		for _, f := range s.w.control.flows {
			if f.EndedAt == nil {
				return false
			}
		}
		return true
	})
	s.forget()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 20 { // what serves HTTP comes and goes
		<-tick.C
		stats := s.w.g.engine.Stats()
		now := idleState{heap(), runtime.NumGoroutine(), descriptors(s.t) - 2*stats.Pipes, stats.Pipes}
		if st.heap == 0 || now.goroutines < st.goroutines || now.descriptors < st.descriptors {
			st = now
		}
	}
	return st
}

func descriptors(t *testing.T) int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not counted: %v", err)
	}
	return len(open)
}

func (s *soak) compare(before, after idleState) {
	if after.heap > before.heap+heapSlack {
		s.t.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
	}
	if after.goroutines > before.goroutines+goroutineSlack {
		s.t.Errorf("there were %d goroutines and are %d", before.goroutines, after.goroutines)
	}
	if after.descriptors > before.descriptors+descriptorSlack {
		s.t.Errorf("there were %d descriptors and are %d", before.descriptors, after.descriptors)
	}
	s.t.Logf("idle before %+v, after %+v", before, after)
}

func (s *soak) report() {
	for _, what := range slices.Sorted(maps.Keys(s.did)) {
		s.t.Logf("%8d %s", s.did[what], what)
	}
	st := s.w.g.engine.Stats()
	s.t.Logf("%8d MiB checked by the clients, %d MiB relayed, of these %d MiB spliced; the heap had up to %d MiB",
		s.bytes>>20, (st.In+st.Out)>>20, st.Spliced>>20, s.mostMem>>20)
	for _, b := range s.backends {
		if n := b.bad.Load(); n > 0 {
			s.t.Errorf("backend %d got other bytes %d times", b.number, n)
		}
	}
	if os.Getenv(soakEnv) == "" {
		return // a moment on a busy machine may be too short for something of everything
	}
	for _, kind := range soakKinds {
		if s.did["flows "+kind.name] == 0 {
			s.t.Errorf("no %s flow was tried", kind.name)
		}
	}
	if s.did["refused flows"] == 0 || s.did["recorded refusals"] == 0 || s.did["recorded cuts"] == 0 {
		s.t.Error("nobody was refused or cut: this soak shows nothing")
	}
}
