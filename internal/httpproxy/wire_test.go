package httpproxy

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
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
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &ledger{}
			c.do(&wire{Conn: l})
			if !slices.Equal(l.calls, c.want) {
				t.Errorf("%.100q, want %.100q", l.calls, c.want)
			}
		})
	}
}

func say(w *wire, all ...string) {
	for _, s := range all {
		_, _ = w.Write(bytes.Clone([]byte(s)))
	}
}
