package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
)

// teller tells steps to a person: one ticked line per step, and on a terminal a live line for the step under way.
// A nil teller says nothing. It is safe for concurrent use.
type teller struct {
	w     io.Writer
	live  bool
	color bool
	width func() int // of the terminal, in columns; 0: not known

	mu      sync.Mutex
	current string
	since   time.Time
	stop    chan struct{}
	stopped chan struct{}
}

// newTeller tells to w. The live line is only drawn on a terminal.
func newTeller(w io.Writer) *teller {
	return &teller{w: w, live: onTerminal(w), color: colourful(w), width: func() int { return columns(w) }}
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
			line := t.line(frames[i%len(frames)], t.current, time.Since(t.since))
			t.mu.Unlock()
			fmt.Fprint(t.w, "\r\033[K"+line)
		}
	}
}

// line is the live line. It is cut to the terminal's width: a line that wraps cannot be taken away again. What is cut is
// the text, so that the time goes on being seen.
func (t *teller) line(frame rune, text string, took time.Duration) string {
	text = strings.Join(strings.Fields(text), " ")
	clock := fmt.Sprintf(" %.1fs", took.Seconds())
	if width := t.width(); width > 0 {
		// One column stays free: some terminals wrap when the last one is written.
		room := width - 1 - lipgloss.Width(string(frame)+" "+clock)
		if room < 1 {
			return ""
		}
		if lipgloss.Width(text) > room {
			text = lipgloss.NewStyle().MaxWidth(room-1).Render(text) + "…"
		}
	}
	if t.color {
		clock = "\033[2m" + clock + "\033[0m"
	}
	return string(frame) + " " + text + clock
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

// left is a step that neither held nor failed.
func (t *teller) left(text string, took time.Duration, details ...string) {
	t.mark("○", "2", text, took, details...)
}
