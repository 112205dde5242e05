package gateway

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

var recordTime = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

func testRecorder(t testing.TB, loops int) *recorder {
	return newRecorder(loops, "gw-1", func() time.Time { return recordTime }, newRefusalLog(loops, testLog(t)))
}

func aRecord() flowRecord {
	return flowRecord{
		cluster: acmeID, listener: link.PrivateListener, endpoint: endpointA, source: netip.MustParseAddrPort("10.1.2.3:40000"),
		name: acmePrivate, port: 443, backend: "10.9.0.1:443", started: recordTime,
	}
}

func (rec flowRecord) end(after time.Duration) flowRecord {
	rec.ended, rec.in, rec.out, rec.reason = rec.started.Add(after), 11, 22, "CLIENT_CLOSED"
	return rec
}

// drained takes batches until nothing waits.
func drained(t testing.TB, r *recorder) (all api.GatewayReport) {
	t.Helper()
	for {
		b, some := r.batch(true)
		if !some {
			return all
		}
		if len(b.Flows) > mostInBatch || len(b.Refused) > mostInBatch || len(b.Backends) > mostInBatch {
			t.Fatalf("a batch of %d flows, %d refusals and %d backends", len(b.Flows), len(b.Refused), len(b.Backends))
		}
		if body, err := json.Marshal(b); err != nil || len(body) > 1<<20 {
			t.Fatalf("a batch of %d bytes, %v", len(body), err)
		}
		all.Flows = append(all.Flows, b.Flows...)
		all.Refused = append(all.Refused, b.Refused...)
		all.Backends = append(all.Backends, b.Backends...)
	}
}

func TestRecordsOfAFlow(t *testing.T) {
	rec := aRecord()
	t.Run("a flow that ends before its start was sent is one record", func(t *testing.T) {
		r, rec := testRecorder(t, 2), rec
		ticket := r.started(1, &rec)
		end := rec.end(time.Second)
		r.ended(1, ticket, &end)
		got := drained(t, r).Flows
		ended := recordTime.Add(time.Second)
		if len(got) != 1 || got[0].EndedAt == nil || !got[0].EndedAt.Equal(ended) {
			t.Fatalf("%+v", got)
		}
		want := api.GatewayFlow{
			ID: got[0].ID, ClusterID: acmeID, Listener: "private", EndpointID: endpointA, Source: "10.1.2.3:40000", Name: acmePrivate,
			Port: 443, Backend: "10.9.0.1:443", StartedAt: recordTime, EndedAt: got[0].EndedAt, BytesIn: 11, BytesOut: 22,
			CloseReason: "CLIENT_CLOSED",
		}
		if got[0] != want {
			t.Errorf("recorded %+v\nwant     %+v", got[0], want)
		}
		if _, err := link.ParseID("id", got[0].ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("a long one is two", func(t *testing.T) {
		r, rec := testRecorder(t, 2), rec
		ticket := r.started(0, &rec)
		start := drained(t, r).Flows
		end := rec.end(time.Hour)
		r.ended(0, ticket, &end)
		got := drained(t, r).Flows
		if len(start) != 1 || len(got) != 1 || start[0].EndedAt != nil || got[0].EndedAt == nil || start[0].ID != got[0].ID {
			t.Errorf("start %+v\nend %+v", start, got)
		}
	})
	t.Run("no flow ends before it started", func(t *testing.T) {
		r, rec := testRecorder(t, 1), rec
		end := rec.end(-time.Hour) // the wall clock was set back
		r.ended(0, r.started(0, &rec), &end)
		if got := drained(t, r).Flows; !got[0].EndedAt.Equal(recordTime) {
			t.Errorf("ended at %v", got[0].EndedAt)
		}
	})
	t.Run("what is not known is left out", func(t *testing.T) {
		r, rec := testRecorder(t, 1), flowRecord{cluster: acmeID, listener: link.PublicListener, started: recordTime}
		r.started(0, &rec)
		if got := drained(t, r).Flows[0]; got.Source != "" || got.Port != 0 || got.Backend != "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nobody to report to", func(t *testing.T) {
		r, rec := testRecorder(t, 1), rec
		old := r.started(0, &rec)
		r.stop()
		end := rec.end(time.Second)
		r.ended(0, old, &end)
		r.ended(0, r.started(0, &rec), &end)
		r.refused(0, refusal{reason: "R"})
		r.backend(link.BackendHealth{ClusterID: acmeID})
		r.claimed(api.GatewayClaim{ClaimID: "c"})
		if n := r.waiting(); n != 0 {
			t.Errorf("%d records wait", n)
		}
	})
}

func TestRefusalsAreCountedByKind(t *testing.T) {
	r := testRecorder(t, 1)
	now := recordTime
	r.now = func() time.Time { return now }
	kind := refusal{
		cluster: acmeID, listener: link.PrivateListener, endpoint: endpointB, name: acmePrivate,
		source: netip.MustParseAddr("10.1.2.3"), reason: "ENDPOINT_NOT_AUTHORISED",
	}
	other := kind
	other.would = true
	for range 3 {
		r.refused(0, kind)
		now = now.Add(time.Second)
	}
	r.refused(0, other)
	got := drained(t, r).Refused
	want := []api.GatewayRefusal{{
		ClusterID: acmeID, Listener: "private", EndpointID: endpointB, Name: acmePrivate, Source: "10.1.2.3",
		Reason: "ENDPOINT_NOT_AUTHORISED", Count: 3, FirstAt: recordTime, LastAt: recordTime.Add(2 * time.Second),
	}}
	second := want[0]
	second.WouldRefuse, second.Count, second.FirstAt, second.LastAt = true, 1, now, now
	if want = append(want, second); !slices.Equal(got, want) {
		t.Errorf("recorded %+v\nwant     %+v", got, want)
	}
	r.refused(0, kind)
	if got := drained(t, r).Refused; len(got) != 1 || got[0].Count != 1 {
		t.Errorf("after the batch %+v: a count is what came since the last one", got)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	const loops, more = 4, 10
	r := testRecorder(t, loops)
	mostKinds := mostKinds / loops * loops
	for i := range mostKinds + loops*more {
		r.refused(i%loops, refusal{reason: "R", source: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
	}
	tickets := make([]ticket, mostFlowRecords+loops*more)
	for i := range tickets {
		rec := aRecord()
		tickets[i] = r.started(i%loops, &rec)
	}
	if want := uint64(2 * loops * more); r.dropped.Load() != want {
		t.Errorf("dropped %d, want %d", r.dropped.Load(), want)
	}
	end := aRecord().end(time.Second)
	r.ended((len(tickets)-1)%loops, tickets[len(tickets)-1], &end) // takes the place of its start
	r.ended(0, tickets[0], &end)                                   // whose start is long gone
	got := drained(t, r)
	ends := 0
	for _, f := range got.Flows {
		if f.EndedAt != nil {
			ends++
		}
	}
	if len(got.Flows) != mostFlowRecords || len(got.Refused) != mostKinds || ends != 2 || r.waiting() != 0 {
		t.Errorf("flows %d, refused %d, ends %d, still waiting %d", len(got.Flows), len(got.Refused), ends, r.waiting())
	}
	for i := range r.shards {
		if n := len(r.shards[i].flows.buf); n > mostIdleRecords {
			t.Errorf("room for %d records is kept", n)
		}
	}
}

func TestNewsOfABackendReplacesOlder(t *testing.T) {
	r := testRecorder(t, 1)
	r.backend(link.BackendHealth{ClusterID: acmeID, Backend: "a:1", Healthy: true, At: recordTime})
	r.backend(link.BackendHealth{ClusterID: acmeID, Backend: "b:1", Healthy: true, At: recordTime})
	r.backend(link.BackendHealth{ClusterID: acmeID, Backend: "a:1", Reason: "CONNECT_TIMEOUT", At: recordTime})
	want := []api.GatewayBackend{
		{ClusterID: acmeID, Backend: "a:1", Reason: "CONNECT_TIMEOUT", At: recordTime},
		{ClusterID: acmeID, Backend: "b:1", Healthy: true, At: recordTime},
	}
	if got := drained(t, r).Backends; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestClaimsWaitApartAndOnce(t *testing.T) {
	r := testRecorder(t, 1)
	claim := api.GatewayClaim{ClaimID: "c1", EndpointID: endpointA}
	for range 3 {
		r.claimed(claim)
	}
	for i := range mostClaims {
		r.claimed(api.GatewayClaim{ClaimID: fmt.Sprint("other", i), EndpointID: endpointA})
	}
	if r.dropped.Load() != 1 {
		t.Errorf("dropped %d: the bound holds, and the first to come stay", r.dropped.Load())
	}
	if b, some := r.batch(true); some {
		t.Errorf("a claim waits among the records: %+v", b)
	}
	var got []api.GatewayClaim
	for {
		b, some := r.claimBatch()
		if !some {
			break
		}
		if len(b.Claims) > mostInBatch {
			t.Fatalf("a batch of %d claims", len(b.Claims))
		}
		got = append(got, b.Claims...)
	}
	if len(got) != mostClaims || got[0] != claim {
		t.Errorf("%d claims, the first %+v", len(got), got[0])
	}
}

func TestRefusalsStayInMemoryWhileFlowsAreSpooled(t *testing.T) {
	r := testRecorder(t, 1)
	rec := aRecord()
	r.started(0, &rec)
	r.refused(0, refusal{reason: "R"})
	if b, _ := r.batch(false); len(b.Flows) != 1 || len(b.Refused) != 0 {
		t.Errorf("%+v", b)
	}
	if b, some := r.batch(false); some {
		t.Errorf("%+v", b)
	}
	if b, _ := r.batch(true); len(b.Refused) != 1 {
		t.Errorf("%+v", b)
	}
}

func TestMaskName(t *testing.T) {
	for name, want := range map[string]string{
		"":                                   "",
		"localhost":                          "localhost",
		"acme.us-east-1.pe.postern.test":     "acme.us-east-1.pe.postern.test",
		"k7q2.claim.us-east-1.postern.test":  "*.claim.us-east-1.postern.test",
		"k7q2.CLAIM.postern.test":            "*.CLAIM.postern.test",
		"claim.postern.test":                 "claim.postern.test",
		"acme.claims.postern.test":           "acme.claims.postern.test",
		"acme.us-east-1.pe.claim.test":       "acme.us-east-1.pe.claim.test", // a vendor may have this domain
		".claim.postern.test":                "*.claim.postern.test",
		"k7q2.claim":                         "k7q2.claim", // under no domain: no claim can be for it
		"proof.acme.us-east-1.pe.vendor.com": "proof.acme.us-east-1.pe.vendor.com",
	} {
		if got := maskName(name); got != want {
			t.Errorf("maskName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestNoClaimCodeIsRecorded(t *testing.T) {
	r := testRecorder(t, 1)
	rec := aRecord()
	rec.name = "secretcode.claim.us-east-1.pe.postern.test"
	r.started(0, &rec)
	r.refused(0, refusal{name: rec.name, reason: "UNKNOWN_NAME"})
	text, err := json.Marshal(drained(t, r))
	if err != nil || !strings.Contains(string(text), "*.claim.us-east-1") || strings.Contains(string(text), "secretcode") {
		t.Errorf("%s, %v", text, err)
	}
}

// The ring does what a slice would do that drops from its front.
func TestRecordRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := recordRing{most: rapid.IntRange(1, 200).Draw(t, "most")}
		type entry struct {
			t   ticket
			rec flowRecord
		}
		var model []entry
		var gone []ticket
		n := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n++
				rec := flowRecord{in: n}
				tk, dropped := q.push(&rec)
				if full := len(model) == q.most; dropped != full {
					t.Fatalf("dropped %t with %d of %d", dropped, len(model), q.most)
				} else if full {
					gone = append(gone, model[0].t)
					model = model[1:]
				}
				model = append(model, entry{tk, rec})
			},
			"pop": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				if got := *q.pop(); got != model[0].rec {
					t.Fatalf("popped %v, want %v", got.in, model[0].rec.in)
				}
				gone = append(gone, model[0].t)
				model = model[1:]
			},
			"change": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				e := &model[rapid.IntRange(0, len(model)-1).Draw(t, "which")]
				e.rec.out++
				*q.at(e.t) = e.rec
			},
			"": func(t *rapid.T) {
				if q.len() != len(model) {
					t.Fatalf("%d wait, want %d", q.len(), len(model))
				}
				for _, e := range model {
					if at := q.at(e.t); at == nil || *at != e.rec {
						t.Fatalf("ticket %d: %v, want %v", e.t, at, e.rec)
					}
				}
				for _, tk := range append(gone, 0) {
					if q.at(tk) != nil {
						t.Fatalf("ticket %d is gone", tk)
					}
				}
			},
		})
	})
}

// Loops record at the same time while batches are taken: nothing is lost or doubled, and of each flow the start comes
// before the end.
func TestLoopsRecordAtTheSameTime(t *testing.T) {
	const loops, each = 4, 3000
	r := testRecorder(t, loops)
	var recording sync.WaitGroup
	for loop := range loops {
		recording.Go(func() {
			for i := range each {
				rec := aRecord()
				ticket := r.started(loop, &rec)
				if i%3 == 0 {
					r.refused(loop, refusal{reason: "R", source: netip.AddrFrom4([4]byte{10, 0, byte(loop), byte(i)})})
				}
				end := rec.end(time.Second)
				r.ended(loop, ticket, &end)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		recording.Wait()
		close(done)
	}()
	ended, refused := map[string]bool{}, int64(0)
	for over := false; ; {
		b, some := r.batch(true)
		for _, f := range b.Flows {
			if ended[f.ID] {
				t.Fatalf("flow %s after its end", f.ID)
			}
			if f.EndedAt != nil {
				ended[f.ID] = true
			}
		}
		for _, k := range b.Refused {
			refused += k.Count
		}
		if over && !some {
			break
		}
		select {
		case <-done:
			over = true
		default:
		}
	}
	if len(ended) != loops*each || refused != loops*each/3 || r.dropped.Load() != 0 {
		t.Errorf("%d flows and %d refusals, dropped %d", len(ended), refused, r.dropped.Load())
	}
}

func BenchmarkFlowRecord(b *testing.B) {
	r := testRecorder(b, 1)
	rec := aRecord()
	b.ReportAllocs()
	for b.Loop() {
		ticket := r.started(0, &rec)
		r.ended(0, ticket, &rec)
		if q := &r.shards[0].flows; q.len() == mostInBatch {
			q.head = q.tail // as if a batch had been taken
		}
	}
}

func BenchmarkRefused(b *testing.B) {
	r := testRecorder(b, 1)
	kinds := make([]refusal, 1000)
	for i := range kinds {
		kinds[i] = refusal{
			cluster: acmeID, listener: link.PrivateListener, endpoint: endpointB, name: acmePrivate,
			source: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), reason: "ENDPOINT_NOT_AUTHORISED",
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.refused(0, kinds[i%len(kinds)])
	}
}

func BenchmarkBatch(b *testing.B) {
	r := testRecorder(b, 1)
	rec := aRecord()
	b.ReportAllocs()
	for b.Loop() {
		for range mostInBatch {
			r.ended(0, r.started(0, &rec), &rec)
		}
		if rep, _ := r.batch(true); len(rep.Flows) != mostInBatch {
			b.Fatal(len(rep.Flows))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/mostInBatch, "ns/flow")
}
