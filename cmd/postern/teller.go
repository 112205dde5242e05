package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// teller tells steps to a person: one ticked line per step, and on a terminal a live line for the step under way.
// A nil teller says nothing. It is safe for concurrent use.
type teller struct {
	w     io.Writer
	live  bool
	color bool

	mu      sync.Mutex
	current string
	since   time.Time
	stop    chan struct{}
	stopped chan struct{}
}

// newTeller tells to w. The live line is only drawn on a terminal.
func newTeller(w io.Writer) *teller {
	tty := colourful(w)
	return &teller{w: w, live: tty, color: tty}
}

// begin says what is under way until the next end, fail or begin.
func (t *teller) begin(format string, args ...any) {
	if t == nil {
		return
	}
	t.clear()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current, t.since = fmt.Sprintf(format, args...), time.Now()
	if !t.live {
		return
	}
	t.stop, t.stopped = make(chan struct{}), make(chan struct{})
	go t.spin(t.stop, t.stopped)
}

// now changes the live line's text without ending the step.
func (t *teller) now(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.current = fmt.Sprintf(format, args...)
	t.mu.Unlock()
}

func (t *teller) spin(stop, stopped chan struct{}) {
	defer close(stopped)
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			fmt.Fprint(t.w, "\r\033[K")
			return
		case <-tick.C:
			t.mu.Lock()
			line := fmt.Sprintf("\r\033[K%s %s \033[2m%.1fs\033[0m", string(frames[i%len(frames)]), t.current, time.Since(t.since).Seconds())
			t.mu.Unlock()
			fmt.Fprint(t.w, line)
		}
	}
}

// clear takes the live line away.
func (t *teller) clear() {
	t.mu.Lock()
	stop, stopped := t.stop, t.stopped
	t.stop, t.stopped = nil, nil
	t.mu.Unlock()
	if stop != nil {
		close(stop)
		<-stopped
	}
}

// say writes a line of its own.
func (t *teller) say(format string, args ...any) {
	if t == nil {
		return
	}
	t.clear()
	fmt.Fprintf(t.w, format+"\n", args...)
}

// mark ends the step under way with a line that begins with a mark, and details indented below it.
func (t *teller) mark(mark, colour, text string, took time.Duration, details ...string) {
	if t == nil {
		return
	}
	t.clear()
	end := ""
	if took >= 50*time.Millisecond {
		end = fmt.Sprintf(" (%.1fs)", took.Seconds())
	}
	if t.color {
		fmt.Fprintf(t.w, "\033[%sm%s\033[0m %s\033[2m%s\033[0m\n", colour, mark, text, end)
	} else {
		fmt.Fprintf(t.w, "%s %s%s\n", mark, text, end)
	}
	for _, d := range details {
		for line := range strings.SplitSeq(strings.TrimRight(d, "\n"), "\n") {
			if t.color {
				fmt.Fprintf(t.w, "    \033[2m%s\033[0m\n", line)
			} else {
				fmt.Fprintf(t.w, "    %s\n", line)
			}
		}
	}
}

func (t *teller) held(text string, took time.Duration, details ...string) {
	t.mark("✔", "32", text, took, details...)
}

func (t *teller) failed(text string, took time.Duration, details ...string) {
	t.mark("✘", "31", text, took, details...)
}
