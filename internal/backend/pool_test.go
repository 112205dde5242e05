package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

// world is a pool in a bubble of virtual time, with a network that tests switch.
type world struct {
	*Pool
	t    *testing.T
	news []string // what Changed was told: "address" when healthy, else "address REASON"

	mu     sync.Mutex
	dead   map[netip.AddrPort]error // what checks of an address end with
	asked  map[netip.AddrPort]int   // checks
	names  map[string][]string
	lookup map[string]int
	slow   time.Duration // a look-up, and a check
	most   int           // checks at once, as seen
	now    int           // checks running
}

func inBubble(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, dead: map[netip.AddrPort]error{}, asked: map[netip.AddrPort]int{},
			names: map[string][]string{}, lookup: map[string]int{},
		}
		w.Pool = newPool(Config{
			Resolver: w,
			Changed: func(h link.BackendHealth) {
				if h.Healthy != (h.Reason == "") || h.ClusterID == "" || h.At.IsZero() {
					t.Errorf("reported: %+v", h)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				w.news = append(w.news, fmt.Sprint(h.Backend, " ", h.Reason))
			},
		}, w.check)
		defer w.Close()
		test(t, w)
	})
}

func (w *world) check(ctx context.Context, q probe) error {
	w.mu.Lock()
	w.asked[q.addr]++
	w.now++
	w.most = max(w.most, w.now)
	err, slow := w.dead[q.addr], w.slow
	w.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(slow):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	return err
}

func (w *world) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	w.lookup[host]++
	found, slow := w.names[host], w.slow
	w.mu.Unlock()
	if network != "ip" {
		return nil, errors.New("asked for " + network)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(slow):
	}
	if found == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range found {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// set changes the network.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) pick(target Target, exclude *Backend) (*Backend, netip.AddrPort) {
	w.t.Helper()
	b, addr, err := w.Pick(target, exclude)
	if err != nil {
		w.t.Fatal(err)
	}
	return b, addr
}

// flow is one that goes well.
func (w *world) flow(target Target) string {
	w.t.Helper()
	b, _ := w.pick(target, nil)
	b.Connected()
	b.Ended(true, false)
	return b.Address()
}

// shares is how many of n flows each backend got.
func (w *world) shares(target Target, n int) map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for range n {
		out[w.flow(target)]++
	}
	return out
}

// refuse has flows to address fail.
func (w *world) refuse(target Target, address string, times int) {
	w.t.Helper()
	for range times {
		b := w.find(target, address)
		b.Failed(netip.MustParseAddrPort(address), syscall.ECONNREFUSED)
	}
	synctest.Wait()
}

// find picks until the backend of an address has a flow.
func (w *world) find(target Target, address string) *Backend {
	w.t.Helper()
	for range 10_000 {
		b, _ := w.pick(target, nil)
		if b.Address() == address {
			return b
		}
		b.Ended(false, false)
	}
	w.t.Fatal(address, "gets no flow")
	return nil
}

func (w *world) told() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.news
	w.news = nil
	return out
}

func (w *world) status(address string) Status {
	w.t.Helper()
	for s := range w.All() {
		if s.Backend == address {
			return s
		}
	}
	w.t.Fatal("nothing is known of", address)
	return Status{}
}

func (w *world) expect(what string, got, want any) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const (
	one   = "10.0.0.1:443"
	two   = "10.0.0.2:443"
	three = "10.0.0.3:443"
	four  = "10.0.0.4:443"
)

// await asks for a backend as the gateway does, until the names of the target have been looked up.
func await(t testing.TB, p *Pool, target Target) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		b, _, err := p.Pick(target, nil)
		if b != nil {
			b.Ended(false, false)
		}
		if !errors.Is(err, ErrUnresolved) {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatal("the names are never looked up")
		}
	}
}

func at(addresses ...string) Target {
	t := Target{ClusterID: "c", Port: 443}
	for _, a := range addresses {
		t.Backends = append(t.Backends, link.Backend{Address: a})
	}
	return t
}

func TestNobodyTakesTheFlow(t *testing.T) {
	draining := at(one, two)
	for i := range draining.Backends {
		draining.Backends[i].Draining = true
	}
	tests := []struct {
		name   string
		target Target
		want   error
	}{
		{"no backends", at(), ErrNoBackend},
		{"all draining", draining, ErrNoBackend},
		{"a name nobody has looked up yet", at("later.test:443"), ErrUnresolved},
		{"not an address", at("nonsense"), ErrNoAddress},
		{"a port that is none", at("10.0.0.1:https"), ErrNoAddress},
		{"port 0", at("10.0.0.1:0"), ErrNoAddress},
		{"an address beside a name", at("later.test:443", one), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				if _, _, err := w.Pick(tt.target, nil); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			})
		})
	}
	inBubble(t, func(t *testing.T, w *world) {
		b, _ := w.pick(at(one), nil)
		if _, _, err := w.Pick(at(one), b); !errors.Is(err, ErrNoBackend) {
			t.Errorf("beside the only one: %v", err)
		}
	})
}

func TestAddressesAsWritten(t *testing.T) {
	for _, tt := range []struct{ address, want string }{
		{"10.0.0.1:443", "10.0.0.1:443"},
		{"[2001:db8::1]:5432", "[2001:db8::1]:5432"},
		{"[::ffff:10.0.0.1]:443", "10.0.0.1:443"},
		{"[fe80::1%lo]:443", "[fe80::1%lo]:443"},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			b, addr := w.pick(at(tt.address), nil)
			if addr.String() != tt.want || b.Address() != tt.address {
				t.Errorf("%s led to %s", tt.address, addr)
			}
		})
	}
}

func TestWeightsAndDraining(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two, three)
		target.Backends[0].Weight, target.Backends[2].Draining = 3, true
		got := w.shares(target, 4000)
		if math.Abs(float64(got[one])-3000) > 250 || got[three] != 0 {
			t.Errorf("weights 3 and 1, and one that drains: %v", got)
		}
	})
}

// TestAChangedListTakesEffect with the next flow, and what was known of the backends that stay is known still.
func TestAChangedListTakesEffect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		before := at(one, two)
		w.pass(0)
		stays := w.find(before, two) // one flow that stays
		w.refuse(before, one, refusedMost)
		if got := w.shares(before, 50); got[one] != 0 {
			t.Fatalf("an ejected backend got flows: %v", got)
		}
		after := at(one, two, three, four)
		if got := w.shares(after, 200); got[one] != 0 || got[three] == 0 || got[four] == 0 {
			t.Errorf("after two came: %v", got)
		}
		if got := w.shares(at(three), 50); got[three] != 50 {
			t.Errorf("after all but one went: %v", got)
		}
		w.expect("who is in use", len(slices.Collect(w.All())), 1)
		w.shares(before, 1)
		w.expect("the flow at one that went and came back", w.status(two).Flows, 1)
		w.expect("the ejected one, back", w.status(one), Status{ClusterID: "c", Backend: one, Reason: ConnectionRefused})
		w.shares(at(three), 1)
		w.pass(2 * sweepEvery)
		w.shares(before, 1)
		w.expect("the flow, some minutes later", w.status(two).Flows, 1)
		w.expect("the one without a flow is forgotten", w.status(one), Status{ClusterID: "c", Backend: one, Healthy: true, In: true})
		stays.Ended(true, false)
		w.expect("open flows", w.status(two).Flows, 0)
	})
}

// TestPortsHaveTheirOwnLists, and a backend that is in several of them has one state.
func TestPortsHaveTheirOwnLists(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ui, sql := at(one, two), at(one, three)
		sql.Port = 5432
		w.refuse(ui, one, refusedMost)
		if got := w.shares(sql, 50); got[one] != 0 || got[three] != 50 {
			t.Errorf("through the other port: %v", got)
		}
		other := ui
		other.ClusterID = "d"
		if got := w.shares(other, 50); got[one] == 0 {
			t.Errorf("another cluster judges for itself: %v", got)
		}
	})
}

func TestSlowStart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		alone := at(one)
		w.flow(alone)
		w.pass(time.Minute)
		both := at(one, two)
		share := func(when string, want float64) {
			t.Helper()
			got := float64(w.shares(both, 4000)[two]) / 4000
			if math.Abs(got-want) > 0.05 {
				t.Errorf("%s the share is %.2f, want about %.2f", when, got, want)
			}
		}
		share("new", 0.1/1.1)
		w.pass(15 * time.Second)
		share("half way", 0.5/1.5)
		w.pass(15 * time.Second)
		share("after 30 s", 0.5)
		w.refuse(both, two, refusedMost)
		w.pass(ejectBase)
		share("back from an ejection", 0.1/1.1)
		w.pass(30 * time.Second)
		share("30 s later", 0.5)
	})
}

// TestNobodyIsHealthy: then everybody is tried.
func TestNobodyIsHealthy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		target.Health.Check = link.CheckTCP
		w.set(func() {
			w.dead[netip.MustParseAddrPort(one)] = syscall.ECONNREFUSED
			w.dead[netip.MustParseAddrPort(two)] = syscall.ECONNREFUSED
		})
		w.flow(target)
		w.pass(time.Minute)
		w.expect("by its check", w.status(one), Status{ClusterID: "c", Backend: one, Reason: ConnectionRefused})
		if got := w.shares(target, 100); got[one] == 0 || got[two] == 0 {
			t.Errorf("with everybody down: %v", got)
		}
		b, _ := w.pick(target, nil)
		if other, _ := w.pick(target, b); other == b {
			t.Error("the one that has just failed was tried again")
		}
	})
}

func TestUnusedClustersAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, "name.test:443")
		target.Health.Check = link.CheckTCP
		w.set(func() { w.names["name.test"] = []string{"10.0.0.9"} })
		stays, _ := w.pick(target, nil)
		w.pass(time.Hour)
		if w.set(func() { clear(w.asked); clear(w.lookup) }); len(slices.Collect(w.All())) != 2 {
			t.Fatal("a cluster with an open flow was forgotten")
		}
		w.pass(time.Minute)
		w.set(func() {
			if len(w.asked) != 2 || len(w.lookup) != 1 {
				t.Errorf("with an open flow: checked %v, looked up %v", w.asked, w.lookup)
			}
		})
		stays.Ended(true, false)
		w.pass(keepFor + 2*sweepEvery)
		w.set(func() { clear(w.asked); clear(w.lookup) })
		w.pass(time.Hour)
		w.set(func() {
			if len(w.asked) != 0 || len(w.lookup) != 0 {
				t.Errorf("long after the last flow: checked %v, looked up %v", w.asked, w.lookup)
			}
		})
		for i := range w.parts {
			if s := &w.parts[i]; len(s.lists)+len(s.clusters) != 0 {
				t.Error("the cluster is still there")
			}
		}
		w.expect("names", len(w.hosts.byName), 0)
		w.expect("jobs", []int{w.checks.waiting(), w.hosts.agenda.waiting(), w.Pool.news.waiting()}, []int{1, 0, 0}) // the sweep
		if w.pass(0); w.flow(at(one)) != one {
			t.Error("it does not come back")
		}
	})
}

// TestNews: what the control plane hears.
func TestNews(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one)
		b, addr := w.pick(target, nil)
		w.expect("before anything happened", w.told(), []string(nil))
		b.Failed(addr, syscall.ECONNREFUSED)
		w.expect("the first sign", w.told(), []string{one + " CONNECTION_REFUSED"})
		w.refuse(target, one, 5)
		w.pass(time.Minute)
		w.expect("the same again", w.told(), []string(nil))
		w.flow(target)
		w.expect("healthy", w.told(), []string{one + " "})
		for range 1000 {
			w.flow(target)
			w.pass(5 * time.Millisecond)
			w.refuse(target, one, 1)
			w.pass(5 * time.Millisecond)
		}
		w.pass(time.Second)
		if got := w.told(); len(got) > 11 || len(got) == 0 || got[len(got)-1] != one+" CONNECTION_REFUSED" {
			t.Errorf("2000 changes in 10 s, of which the last one was bad, were told in %d: … %v", len(got), got[max(0, len(got)-3):])
		}
		w.flow(target)
		w.pass(time.Minute)
		w.told()
		w.TellAnew()
		w.expect("anew", w.told(), []string{one + " "})
		b, addr = w.pick(target, nil)
		b.Failed(addr, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH})
		w.pass(time.Second)
		w.expect("another reason", w.told(), []string{one + " CONNECT_FAILED"})
		b, addr = w.pick(target, nil)
		b.Failed(addr, context.DeadlineExceeded)
		w.pass(time.Second)
		w.expect("and another", w.told(), []string{one + " CONNECT_TIMEOUT"})
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.flow(at(one, two))
		w.told()
		w.TellAnew()
		if got := w.told(); len(got) != 1 {
			t.Errorf("told of backends that no flow has tried: %v", got)
		}
	})
	inBubble(t, func(t *testing.T, w *world) {
		_, _, _ = w.Pick(at("nonsense"), nil)
		w.expect("no address", w.told(), []string{"nonsense MALFORMED_ADDRESS"})
	})
}

func TestEventLoopsShareThePool(t *testing.T) {
	p := NewPool(Config{Changed: func(link.BackendHealth) {}})
	defer p.Close()
	lists := []Target{at(one), at(one, two), at(two, three, four), at()}
	var loops sync.WaitGroup
	for loop := range 4 {
		loops.Go(func() {
			for i := range 5000 {
				target := lists[(loop+i/100)%len(lists)]
				target.Port = uint16(i % 3)
				b, addr, err := p.Pick(target, nil)
				if err != nil {
					continue
				}
				switch i % 7 {
				case 0:
					b.Failed(addr, syscall.ECONNREFUSED)
				case 1:
					b.Ended(false, true)
				default:
					b.Connected()
					b.Ended(true, true)
				}
				if i%500 == 0 {
					p.TellAnew()
				}
			}
		})
	}
	loops.Wait()
	for s := range p.All() {
		if s.Flows != 0 {
			t.Errorf("%d flows are left at %s", s.Flows, s.Backend)
		}
	}
}
