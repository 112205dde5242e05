package webserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode"
)

// DefaultTimeout bounds each run of a foreign program.
const DefaultTimeout = time.Minute

// mostOutput is how much of what a program says is kept, in bytes: its end, where the reason is.
const mostOutput = 16 << 10

// run runs a program to its end, or to that of its time, and returns what it said on both outputs. env is added to the
// environment.
func run(ctx context.Context, limit time.Duration, env []string, argv ...string) (string, error) {
	if limit <= 0 {
		limit = DefaultTimeout
	}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(timed, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Env = append(cmd.Env, env...)
	// What a program started may hold its outputs open after it.
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		err = nil
	case err != nil && ctx.Err() == nil && timed.Err() != nil:
		err = fmt.Errorf("it did not end in %v", limit)
	}
	return out.text(), err
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - mostOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// text is what a person can read of it: terminals are told nothing.
func (t *tail) text() string {
	s := strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(bytes.ToValidUTF8(t.b, []byte("?"))))
	return strings.TrimSpace(s)
}
