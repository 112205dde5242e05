package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
)

func TestTheLiveLineFitsTheTerminal(t *testing.T) {
	const text = "1. endpoint: vpce-0a1b2c3d4e5f60718 in subnet-0a1b2c3d4e5f60718,\nsubnet-1a1b2c3d4e5f60718"
	for _, tc := range []struct {
		name    string
		columns int
		color   bool
		text    string
		want    string
	}{
		{"there is room", 80, false, "2. zone", "⠋ 2. zone 1.5s"},
		{"the width is not known", 0, false, text, "⠋ " + strings.ReplaceAll(text, "\n", " ") + " 1.5s"},
		{"the text is cut, the clock stays", 30, false, text, "⠋ 1. endpoint: vpce-0a1… 1.5s"},
		{"colour takes no room", 30, true, text, "⠋ 1. endpoint: vpce-0a1…\x1b[2m 1.5s\x1b[0m"},
		{"wide letters count twice", 20, false, "東京東京東京東京東京", "⠋ 東京東京東… 1.5s"},
		{"nothing fits", 6, false, text, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tell := &teller{color: tc.color, width: func() int { return tc.columns }}
			got := tell.line('⠋', tc.text, 1500*time.Millisecond)
			if got != tc.want {
				t.Errorf("line is %q, want %q", got, tc.want)
			}
			if w := lipgloss.Width(got); tc.columns > 0 && w >= tc.columns {
				t.Errorf("it takes %d of %d columns", w, tc.columns)
			}
		})
	}
}

func TestStepsInAFileAreLinesOfTheirOwn(t *testing.T) {
	var out bytes.Buffer
	tell := newTeller(&out)
	tell.begin("%s", "endpoint")
	tell.now("%s", "endpoint: waiting")
	tell.held("endpoint: made", 1200*time.Millisecond, "one\ntwo")
	tell.failed("zone", 10*time.Millisecond)
	tell.left("trust", 0)
	tell.say("done")
	want := "✔ endpoint: made (1.2s)\n    one\n    two\n✘ zone\n○ trust\ndone\n"
	if out.String() != want {
		t.Errorf("told:\n%s\nwant:\n%s", out.String(), want)
	}
}

// What would be wrong here is a panic.
func TestATellerOfNobodySaysNothing(*testing.T) {
	var tell *teller
	tell.begin("a")
	tell.now("b")
	tell.held("c", 0)
	tell.failed("d", 0)
	tell.left("e", 0)
	tell.say("f")
}
