package httpproxy

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ledger notes what is written in one call.
type ledger struct {
	net.Conn
	calls []string
}

func (l *ledger) Write(p []byte) (int, error) {
	l.calls = append(l.calls, string(p))
	return len(p), nil
}

func TestWritesAreGathered(t *testing.T) {
	big := strings.Repeat("x", wireSize)
	for _, c := range []struct {
		name string
		do   func(w *wire)
		want []string
	}{
		{"as they come", func(w *wire) { say(w, "a", "b") }, []string{"a", "b"}},
		{"corked", func(w *wire) {
			w.cork()
			say(w, "a", "b")
			_ = w.uncork()
			say(w, "c")
		}, []string{"ab", "c"}},
		{"corked, more than fits", func(w *wire) {
			w.cork()
			say(w, "a", big, "b")
			_ = w.uncork()
		}, []string{"a", big, "b"}},
		{"joined", func(w *wire) {
			w.join()
			say(w, "a", "b", "c")
		}, []string{"ab", "c"}},
		{"joined, but nothing follows", func(w *wire) {
			w.join()
			say(w, "a")
			synctest.Wait()
		}, nil},
		{"joined to what does not fit", func(w *wire) {
			w.join()
			say(w, "a", big)
		}, []string{"a", big}},
		{"joined before what is too long to wait", func(w *wire) {
			w.join()
			say(w, big, "a")
		}, []string{big}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{}
				w := newWire(l, nil)
				c.do(w)
				if !slices.Equal(l.calls, c.want) {
					t.Errorf("%.100q, want %.100q", l.calls, c.want)
				}
			})
		})
	}
	t.Run("what nothing follows leaves in the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &ledger{}
			w := newWire(l, nil)
			w.join()
			say(w, "a")
			<-time.After(longestHold)
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Equal(l.calls, []string{"a"}) {
				t.Errorf("%q", l.calls)
			}
		})
	})
}

func say(w *wire, all ...string) {
	for _, s := range all {
		_, _ = w.Write(bytes.Clone([]byte(s)))
	}
}
