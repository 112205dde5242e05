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
	Fast time.Duration // while something has just begun
	Slow time.Duration // while nothing is under way
}

// LongestLook bounds the wait for the next look at what is under way.
const LongestLook = 5 * time.Minute

// waiting is when to look again at what has been under way since a time: after an eighth of the time that it took so far.
// So what is done is noticed late by no more than that part, and the looks grow with the logarithm of the wait: a hundred
// thousand endpoints that nobody creates must not be asked for twice a second.
func (c Cadence) waiting(since, now time.Time) time.Duration {
	const part = 8
	return min(max(c.Fast, now.Sub(since)/part), max(c.Fast, min(part*c.Slow, LongestLook)), LongestLook)
}

// What one page of a service's endpoints holds, and how often a longer list is asked for.
const (
	onePage    = 1000
	fullEvery  = 10 * time.Minute
	fullForAll = 10 * onePage // endpoints listed in fullEvery: those of larger services take their time in proportion
)

// Whole tells whether a service has so few endpoints that to list them all costs no more than to list some.
func Whole(endpoints int) bool { return endpoints < onePage }

// FullList is how long after a full list of a service's endpoints the next one is due. That an endpoint was deleted or
// rejected past Postern is noticed at the latest then. While one page holds them all it is every slow look; beyond, full
// lists cost no more than a page a minute, and what arrives is found by lists of that alone.
func (c Cadence) FullList(endpoints int) time.Duration {
	if Whole(endpoints) {
		return c.Slow
	}
	return max(c.Slow, fullEvery*time.Duration((endpoints+fullForAll-1)/fullForAll))
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
	NoteDrift        = link.EventDrift // the cloud was changed past Postern
	NoteDeleted      = "DELETED"
	NoteExpiring     = link.EventExpiring // it ends soon unless somebody acts
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
