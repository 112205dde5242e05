package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// receiver is the control plane's end of a delivery, which stores a batch once by its id.
type receiver struct {
	mu      sync.Mutex
	away    bool                          // answers nothing but errors
	answer  func(api.GatewayReport) error // what to answer after it was stored; nil: no error
	slow    time.Duration                 // how long an answer takes
	came    []api.GatewayReport           // every batch, each time that it came
	flows   []string                      // ids of those that ended, in their order, each batch once
	claims  []string
	refused int64
	stored  map[string]bool
}

var errAway = errors.New("nobody answers")

func (c *receiver) send(ctx context.Context, rep api.GatewayReport) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slow := c.slow; slow > 0 {
		c.mu.Unlock()
		ok := sleep(ctx, slow)
		c.mu.Lock()
		if !ok {
			return ctx.Err()
		}
	}
	c.came = append(c.came, rep)
	if c.away {
		return errAway
	}
	if c.stored == nil {
		c.stored = map[string]bool{}
	}
	if !c.stored[rep.BatchID] {
		c.stored[rep.BatchID] = true
		for _, f := range rep.Flows {
			if f.EndedAt != nil {
				c.flows = append(c.flows, f.ID)
			}
		}
		for _, k := range rep.Refused {
			c.refused += k.Count
		}
		for _, claim := range rep.Claims {
			c.claims = append(c.claims, claim.ClaimID)
		}
	}
	if c.answer != nil {
		return c.answer(rep)
	}
	return nil
}

func (c *receiver) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// carrier is a delivery that runs, and what goes with it.
type carrier struct {
	*delivery
	t    testing.TB
	log  *lines
	stop func() // ends it and waits
	made []string
}

func startCarrier(t testing.TB, c *receiver, dir string, change func(*deliveryConfig)) *carrier {
	seen := &lines{}
	cfg := deliveryConfig{Send: c.send, Every: 250 * time.Millisecond, SpoolDir: dir, Log: seen.logger()}
	if change != nil {
		change(&cfg)
	}
	out := newRecorder(2, "gw-1", time.Now, newRefusalLog(2, testLog(t)))
	d := newDelivery(out, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx) })
	return &carrier{delivery: d, t: t, log: seen, stop: sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})}
}

// flow records a flow that has come and gone.
func (c *carrier) flow() {
	rec := aRecord()
	ticket := c.out.started(0, &rec)
	end := rec.end(time.Second)
	c.out.ended(0, ticket, &end)
	c.made = append(c.made, uuidText(rec.id))
}

// flowsFor records so many flows every 100 ms for a time.
func (c *carrier) flowsFor(t time.Duration, each int) {
	for ; t > 0; t -= 100 * time.Millisecond {
		for range each {
			c.flow()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// logged returns how many lines with a message were written since the last call.
func (c *carrier) logged(prefix string) (n int) {
	for _, l := range c.log.take(c.t) {
		if strings.HasPrefix(l.Msg, prefix) {
			n++
		}
	}
	return n
}

func wantFlows(t testing.TB, c *receiver, want []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.flows, want) {
		t.Errorf("%d flows arrived, want %d; in their order up to %d", len(c.flows), len(want), inOrder(c.flows, want))
	}
}

func inOrder(got, want []string) int {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			return i
		}
	}
	return len(got)
}

func TestRecordsGatherToBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{}
		d := startCarrier(t, c, "", nil)
		defer d.stop()
		d.flowsFor(10*time.Second, 20) // 200 per second
		time.Sleep(time.Second)
		wantFlows(t, c, d.made)
		c.change(func() {
			if n := len(c.came); n > 10*4+1 {
				t.Errorf("%d batches in 10 seconds: records do not gather", n)
			}
		})
		for range 10 * mostInBatch {
			d.flow()
		}
		time.Sleep(d.Every)
		synctest.Wait()
		wantFlows(t, c, d.made) // batches that are full do not wait for each other
	})
}

func TestDeliveryWhileTheControlPlaneIsAway(t *testing.T) {
	for name, spooled := range map[string]bool{"with a spool": true, "in memory alone": false} {
		t.Run(name, func(t *testing.T) {
			dir := ""
			if spooled {
				dir = filepath.Join(t.TempDir(), "spool")
			}
			synctest.Test(t, func(t *testing.T) {
				c := &receiver{}
				d := startCarrier(t, c, dir, nil)
				defer d.stop()
				d.flowsFor(time.Second, 3)
				c.change(func() { c.away = true })
				d.flowsFor(time.Minute, 3)
				if spooled && (d.spooled() == 0 || d.out.waiting() > 10) {
					t.Errorf("%d bytes on disk, %d records in memory", d.spooled(), d.out.waiting())
				}
				c.change(func() { c.away = false })
				d.flowsFor(time.Minute, 3)
				time.Sleep(time.Second)
				wantFlows(t, c, d.made)
				if d.spooled() != 0 || d.lost() != 0 || d.out.waiting() != 0 {
					t.Errorf("%d bytes on disk, %d lost, %d in memory", d.spooled(), d.lost(), d.out.waiting())
				}
				c.change(func() {
					first := slices.IndexFunc(c.came, func(r api.GatewayReport) bool { return !c.stored[r.BatchID] })
					if first >= 0 {
						t.Errorf("a batch was given up for another: %s", c.came[first].BatchID)
					}
				})
				d.stop()
				if names := filesIn(t, filepath.Dir(dir+"/x")); spooled && len(names) != 0 {
					t.Errorf("left behind: %v", names)
				}
			})
		})
	}
}

func TestABatchIsStoredOnceWhenItsAnswerIsLost(t *testing.T) {
	for name, dir := range map[string]string{"with a spool": t.TempDir(), "in memory alone": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &receiver{}
				n := 0
				c.answer = func(api.GatewayReport) error {
					if n++; n%3 != 0 {
						return errAway
					}
					return nil
				}
				d := startCarrier(t, c, dir, nil)
				defer d.stop()
				d.flowsFor(10*time.Second, 2)
				c.change(func() { c.answer = nil })
				time.Sleep(time.Minute)
				wantFlows(t, c, d.made)
			})
		})
	}
}

// A control plane that hangs gives no error for long: memory must not fill meanwhile, and nothing may be lost.
func TestASlowControlPlane(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{slow: 10 * time.Second}
		d := startCarrier(t, c, dir, nil)
		defer d.stop()
		most := 0
		for range 30 {
			d.flowsFor(time.Second, 120)
			most = max(most, d.out.waiting())
		}
		if d.spooled() == 0 || most > mostFlowRecords/2 {
			t.Errorf("%d bytes on disk; up to %d records in memory", d.spooled(), most)
		}
		c.change(func() { c.slow = 0 })
		time.Sleep(time.Minute)
		wantFlows(t, c, d.made)
		if d.lost() != 0 || d.spooled() != 0 {
			t.Errorf("%d lost, %d bytes on disk", d.lost(), d.spooled())
		}
	})
}

func TestClaimsGoFirstAndAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{}
		d := startCarrier(t, c, dir, nil)
		defer d.stop()
		d.flow()
		d.out.claimed(api.GatewayClaim{ClaimID: "at once", EndpointID: endpointA})
		synctest.Wait()
		c.change(func() {
			if !slices.Equal(c.claims, []string{"at once"}) { // the flow may have come before it, with it or behind it
				t.Errorf("claims %v, batches %+v", c.claims, c.came)
			}
			c.away = true
		})
		d.flowsFor(time.Minute, 10) // the pauses are long by now
		d.out.claimed(api.GatewayClaim{ClaimID: "while away", EndpointID: endpointA})
		synctest.Wait()
		c.change(func() {
			if last := c.came[len(c.came)-1]; len(last.Claims) != 1 {
				t.Errorf("a claim waited for the pause: last tried was %+v", last)
			}
			c.away, c.came = false, nil
		})
		time.Sleep(time.Minute)
		c.change(func() {
			if len(c.came[0].Claims) != 1 || !slices.Equal(c.claims, []string{"at once", "while away"}) {
				t.Errorf("first came %+v; claims %v", c.came[0], c.claims)
			}
		})
		wantFlows(t, c, d.made)
	})
}

// The machine's plug is pulled at any batch: what the control plane did not get, and what it got without an answer, is
// sent by the next process; nothing is stored twice, and all but what was still in memory arrives.
func TestDeliveryAfterACrash(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{away: true}
		d := startCarrier(t, c, filepath.Join(dir, "first"), func(cfg *deliveryConfig) { cfg.SpoolSize = 1 << 20 })
		defer d.stop()
		d.flowsFor(20*time.Second, 5)
		d.out.claimed(api.GatewayClaim{ClaimID: "c1", EndpointID: endpointA})
		time.Sleep(time.Second)
		// From now on the disk is copied, as a crash would leave it, each time before an answer is given.
		copies := 0
		c.change(func() {
			c.away = false
			c.answer = func(api.GatewayReport) error {
				if err := os.CopyFS(filepath.Join(dir, fmt.Sprint("copy", copies)), os.DirFS(filepath.Join(dir, "first"))); err != nil {
					t.Error(err)
				}
				copies++
				return nil
			}
		})
		time.Sleep(time.Minute)
		wantFlows(t, c, d.made)
		if copies < 10 {
			t.Fatalf("%d batches", copies)
		}
		d.stop()
		came := c.came
		for i := range copies {
			second := &receiver{stored: map[string]bool{}}
			got := len(came) - copies + i + 1 // the batches that were stored up to this crash
			for _, rep := range came[len(came)-copies : got] {
				second.stored[rep.BatchID] = true
			}
			again := startCarrier(t, second, filepath.Join(dir, fmt.Sprint("copy", i)), nil)
			time.Sleep(time.Minute)
			again.stop()
			var want []string
			for _, rep := range came[got:] {
				for _, f := range rep.Flows {
					if f.EndedAt != nil {
						want = append(want, f.ID)
					}
				}
			}
			wantFlows(t, second, want)
			if names := filesIn(t, filepath.Join(dir, fmt.Sprint("copy", i))); len(names) != 0 {
				t.Errorf("crash %d: left behind: %v", i, names)
			}
		}
	})
}

func TestTheEndLeavesToTheSpoolWhatCannotBeSent(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{slow: time.Hour}
		d := startCarrier(t, c, dir, nil)
		d.flowsFor(3*time.Second, 7)
		d.out.refused(1, *aRefusal("R"))
		begun := time.Now()
		d.stop()
		if took := time.Since(begun); took > flushTimeout {
			t.Errorf("the end took %v", took)
		}
		if len(filesIn(t, dir)) == 0 || d.logged("the last reports could not be sent") != 1 {
			t.Errorf("in the spool: %v", filesIn(t, dir))
		}
		d.flow() // too late, and no harm
		made := d.made[:len(d.made)-1]
		c.change(func() { c.slow = 0 })
		next := startCarrier(t, c, dir, nil)
		defer next.stop()
		next.flow()
		time.Sleep(time.Second)
		wantFlows(t, c, append(made, next.made...))
		c.change(func() {
			if c.refused != 1 {
				t.Errorf("%d refusals", c.refused)
			}
		})
	})
}

func TestTheEndSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{}
		d := startCarrier(t, c, "", nil)
		for range 3*mostInBatch + 1 {
			d.flow()
		}
		d.stop()
		wantFlows(t, c, d.made)
	})
}

// A process that hands over still sends; once it has ended, the other sends what it left.
func TestTheLeftoversOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		older, newer := &receiver{away: true}, &receiver{}
		d := startCarrier(t, older, dir, nil)
		d.flowsFor(2*time.Second, 1)
		next := startCarrier(t, newer, dir, nil)
		defer next.stop()
		time.Sleep(2 * adoptEvery)
		wantFlows(t, newer, nil) // they are another's
		d.stop()
		time.Sleep(2 * adoptEvery)
		wantFlows(t, newer, d.made)
	})
}

func TestADiskThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{away: true}
		d := startCarrier(t, c, filepath.Join(file, "spool"), nil)
		defer d.stop()
		d.logged("")
		d.flowsFor(time.Minute, 10)
		if n := d.logged("reports cannot be spooled"); n != 1 {
			t.Errorf("said %d times", n)
		}
		d.mu.Lock()
		held := len(d.held[recordLane])
		d.mu.Unlock()
		if held > spoolAtOnce {
			t.Errorf("%d batches are held", held)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		d.flowsFor(time.Second, 1)
		if n := d.logged("reports can be spooled again"); n != 1 || d.spooled() == 0 {
			t.Errorf("said %d times; %d bytes on disk", n, d.spooled())
		}
		c.change(func() { c.away = false })
		time.Sleep(time.Minute)
		wantFlows(t, c, d.made)
	})
}

func TestSpooledRecordsAreBoundedAndTheLossIsSaid(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{away: true}
		d := startCarrier(t, c, dir, func(cfg *deliveryConfig) { cfg.SpoolSize = 1 << 20 })
		defer d.stop()
		d.flowsFor(time.Minute, 20)
		if d.spooled() > 1<<20 || d.lost() == 0 {
			t.Errorf("%d bytes on disk, %d lost", d.spooled(), d.lost())
		}
		if n := d.logged("records were lost"); n < 1 || n > 6 {
			t.Errorf("said %d times in a minute", n)
		}
		c.change(func() { c.away = false })
		time.Sleep(time.Minute)
		var gone int
		c.change(func() { gone = len(d.made) - len(c.flows) })
		wantFlows(t, c, d.made[gone:]) // the oldest are gone
		if lost := int(d.lost()); gone > lost || gone == 0 {
			t.Errorf("%d flows are gone, %d records said to be lost", gone, lost)
		}
	})
}

func TestAReportThatIsRefusedIsDropped(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{}
		d := startCarrier(t, c, dir, func(cfg *deliveryConfig) {
			send := cfg.Send
			first := true
			cfg.Send = func(ctx context.Context, rep api.GatewayReport) error {
				if first {
					first = false
					return &api.Error{Status: http.StatusBadRequest}
				}
				return send(ctx, rep)
			}
		})
		defer d.stop()
		d.flow()
		time.Sleep(time.Second)
		d.flow()
		time.Sleep(time.Second)
		wantFlows(t, c, d.made[1:])
		if d.lost() != 1 || d.logged("a report was refused") != 1 {
			t.Errorf("%d lost", d.lost())
		}
	})
}

// Refusals and news of backends add up in memory: a flood of them must not push the records of flows out of the spool.
func TestAFloodOfRefusalsDoesNotFillTheSpool(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &receiver{away: true}
		d := startCarrier(t, c, dir, nil)
		defer d.stop()
		const times = 600
		for range times {
			for i := range 100 {
				k := *aRefusal("R")
				k.name = fmt.Sprint("name", i)
				d.out.refused(0, k)
			}
			d.out.backend(link.BackendHealth{ClusterID: acmeID, Backend: "a:1"})
			d.flowsFor(100*time.Millisecond, 1)
		}
		if d.spooled() > 2<<20 {
			t.Errorf("%d bytes on disk", d.spooled())
		}
		c.change(func() { c.away = false })
		time.Sleep(time.Minute)
		wantFlows(t, c, d.made)
		c.change(func() {
			if c.refused != times*100 {
				t.Errorf("%d refusals, want %d", c.refused, times*100)
			}
		})
	})
}

// Over HTTP, with answers that are lost.
func TestDeliveryOverHTTP(t *testing.T) {
	control := newFakeControl(t)
	control.change(func() { control.failing = 2 })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := api.New(control.srv.URL, testToken, api.WithHTTPClient(&http.Client{Transport: transport}))
	d := startCarrier(t, &receiver{}, t.TempDir(), func(cfg *deliveryConfig) { cfg.Send, cfg.Every = client.Report, time.Millisecond })
	t.Cleanup(d.stop)
	for range 10 {
		d.flow()
	}
	control.await("the flows", func() bool { return len(control.flows) == len(d.made) && control.failing == 0 })
	d.stop()
	if d.spooled() != 0 || d.lost() != 0 {
		t.Errorf("%d bytes on disk, %d lost", d.spooled(), d.lost())
	}
}
