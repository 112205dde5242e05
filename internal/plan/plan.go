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
	Type    string // stable, upper snake case
	Reason  string
	Message string
}

// The types of notes.
const (
	NoteStateChanged = "STATE_CHANGED"
	NoteAccepted     = "ACCEPTED"
	NoteNotAccepted  = "NOT_ACCEPTED"
	NoteProvisioned  = "PROVISIONED"
	NoteDrift        = "DRIFT"    // the cloud was changed past Postern
	NoteExpiring     = "EXPIRING" // it ends soon unless somebody acts
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
	return []Note{{Type: NoteStateChanged, Reason: because.Reason, Message: fmt.Sprintf("%s → %s: %s", before, after, because.Message)}}
}
