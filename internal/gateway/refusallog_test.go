package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/internal/link"
)

// lines is a log that can be looked at.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// line is what the tests look at in a line.
type line struct {
	Level, Msg, Reason, Name, Endpoint, Source string
	Count                                      int64
}

// take returns the lines since the last call.
func (l *lines) take(t testing.TB) (out []line) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for dec := json.NewDecoder(&l.text); dec.More(); {
		var one line
		if err := dec.Decode(&one); err != nil {
			t.Fatal(err)
		}
		out = append(out, one)
	}
	l.text.Reset()
	return out
}

// withRefusalLog runs a test with a log of refusals in virtual time.
func withRefusalLog(t *testing.T, test func(t *testing.T, l *refusalLog, seen *lines, end func())) {
	synctest.Test(t, func(t *testing.T) {
		seen := &lines{}
		l := newRefusalLog(2, seen.logger())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.run(ctx) })
		end := func() {
			cancel()
			running.Wait()
		}
		defer end()
		test(t, l, seen, end)
	})
}

func aRefusal(reason string) *refusal {
	return &refusal{
		cluster: acmeID, listener: link.PrivateListener, endpoint: endpointB, name: acmePrivate,
		source: netip.MustParseAddr("10.1.2.3"), reason: reason,
	}
}

func TestRefusalsAreLoggedBySamples(t *testing.T) {
	withRefusalLog(t, func(t *testing.T, l *refusalLog, seen *lines, _ func()) {
		l.refused(0, aRefusal("R"))
		synctest.Wait()
		got := seen.take(t)
		want := line{Level: "INFO", Msg: "flow refused", Reason: "R", Name: acmePrivate, Endpoint: endpointB, Source: "10.1.2.3"}
		if len(got) != 1 || got[0] != want {
			t.Fatalf("the first of a kind: %+v, want %+v", got, want)
		}
		for i := range 1000 { // others of the kind, by other names and from elsewhere, at both loops
			k := aRefusal("R")
			k.name, k.source = fmt.Sprint("name", i), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			l.refused(i%2, k)
		}
		synctest.Wait()
		if got := seen.take(t); len(got) != 0 {
			t.Errorf("within a minute: %+v", got)
		}
		l.refused(1, aRefusal("ANOTHER"))
		synctest.Wait()
		if got := seen.take(t); len(got) != 1 || got[0].Reason != "ANOTHER" {
			t.Errorf("another kind: %+v", got)
		}
		time.Sleep(refusalWindow)
		synctest.Wait()
		if got := seen.take(t); len(got) != 1 || got[0].Msg != "more flows refused" || got[0].Reason != "R" || got[0].Count != 1000 {
			t.Errorf("after a minute: %+v", got)
		}
		l.refused(0, aRefusal("R"))
		synctest.Wait()
		if got := seen.take(t); len(got) != 0 {
			t.Errorf("a kind that goes on has no first: %+v", got)
		}
		time.Sleep(refusalWindow)
		synctest.Wait()
		if got := seen.take(t); len(got) != 1 || got[0].Count != 1 {
			t.Errorf("after another minute: %+v", got)
		}
		time.Sleep(refusalWindow)
		synctest.Wait()
		l.refused(0, aRefusal("R"))
		synctest.Wait()
		if got := seen.take(t); len(got) != 1 || got[0].Msg != "flow refused" {
			t.Errorf("after a minute of peace: %+v", got)
		}
	})
}

func TestAFloodOfRefusalsDoesNotFillTheLog(t *testing.T) {
	withRefusalLog(t, func(t *testing.T, l *refusalLog, seen *lines, end func()) {
		const kinds = 3 * mostLoggedKinds
		for i := range kinds {
			k := aRefusal("R")
			k.endpoint = link.EndpointID(fmt.Sprintf("vpce-%017x", i))
			l.refused(i%2, k)
		}
		synctest.Wait()
		got := seen.take(t)
		if len(got) != mostLogLines {
			t.Errorf("%d lines at once", len(got))
		}
		time.Sleep(refusalWindow)
		synctest.Wait()
		told := int64(len(got))
		got = seen.take(t)
		for _, g := range got {
			told += g.Count
		}
		if len(got) != mostLogLines+1 || told != kinds {
			t.Errorf("%d lines after a minute; %d refusals told of %d", len(got), told, kinds)
		}
		time.Sleep(refusalWindow) // of peace
		synctest.Wait()
		l.refused(0, aRefusal("LAST"))
		end()
		if got := seen.take(t); len(got) != 1 || got[0].Reason != "LAST" {
			t.Errorf("at the end: %+v", got)
		}
	})
}

func TestKindsOfRefusalsAreBounded(t *testing.T) {
	withRefusalLog(t, func(t *testing.T, l *refusalLog, _ *lines, end func()) {
		for i := range 3 * mostLoggedKinds {
			k := aRefusal("R")
			k.endpoint = link.EndpointID(fmt.Sprintf("vpce-%017x", i))
			l.refused(i%2, k)
		}
		for i := range l.shards {
			s := &l.shards[i]
			s.mu.Lock()
			if len(s.kinds) != mostLoggedKinds {
				t.Errorf("a loop tells %d kinds apart", len(s.kinds))
			}
			s.mu.Unlock()
		}
		end()
		if len(l.before) != mostLoggedKinds {
			t.Errorf("%d kinds are told apart", len(l.before))
		}
	})
}

func TestNoClaimCodeIsLogged(t *testing.T) {
	withRefusalLog(t, func(t *testing.T, l *refusalLog, seen *lines, _ func()) {
		r := newRecorder(2, "gw-1", time.Now, l)
		k := *aRefusal("CLAIM_EXPIRED")
		k.name = "secretcode.claim.us-east-1.pe.postern.test"
		r.refused(0, k)
		synctest.Wait()
		if got := seen.take(t); len(got) != 1 || strings.Contains(got[0].Name, "secretcode") || !strings.HasPrefix(got[0].Name, "*.claim.") {
			t.Errorf("%+v", got)
		}
	})
}
