// Package plan decides what is to be done about a service or an endpoint. It takes what people asked for, what the cloud
// shows and the time, and returns an action, the state and the conditions with their reasons, the lines of history and
// when to look again. It does nothing itself, and called twice with the same facts it says the same.
package plan

import (
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// Cadence says how often to look at a cloud.
type Cadence struct {
	Fast time.Duration // while something is under way
	Slow time.Duration // while nothing is
}

// patience is how long something under way is looked at fast. After it the looks become slow: whatever it waits for is
// in somebody's hands who has gone to lunch.
const patience = 10 * time.Minute

func (c Cadence) waiting(since, now time.Time) time.Duration {
	if now.Sub(since) > patience {
		return c.Slow
	}
	return c.Fast
}

// Note is a line for an object's history.
type Note struct {
	Type     string // stable, upper snake case
	State    string // that the object came to; empty when the note is not about its state
	Reason   string
	Message  string
	NextStep string // empty when nobody has to act
}

// The types of notes.
const (
	NoteStateChanged = link.EventStateChanged
	NoteAccepted     = "ACCEPTED"
	NoteNotAccepted  = link.EventNotAccepted
	NoteProvisioned  = "PROVISIONED"
	NoteDrift        = link.EventDrift
)

// Refusal is a cloud's final no to an action, in its own words.
type Refusal struct {
	Code    string
	Message string
}

func stateNote[S ~string](before, after S, because link.Condition) []Note {
	if before == after {
		return nil
	}
	n := noteOf(NoteStateChanged, because)
	n.State, n.Message = string(after), fmt.Sprintf("%s → %s: %s", before, after, because.Message)
	return []Note{n}
}

// noteOf is a note that says what a condition says.
func noteOf(typ string, c link.Condition) Note {
	return Note{Type: typ, Reason: c.Reason, Message: c.Message, NextStep: c.NextStep}
}
