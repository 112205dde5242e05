package link

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of thing went wrong, so that every edge can translate it into its own terms (an HTTP status, an
// exit code). The zero value is Internal.
type Kind uint8

// The kinds of error. The REST API's numbers for them are gRPC's (google.rpc.Code).
const (
	Internal        Kind = iota // a defect or an outage of ours; the message must not reach a peer
	Invalid                     // the input is wrong whatever the state; gRPC 3
	NotFound                    // no such object, or the caller may not see it; gRPC 5
	Conflict                    // the object exists, or was changed meanwhile; gRPC 6
	Denied                      // the caller is known and may not; gRPC 7
	Precondition                // right input at the wrong time; gRPC 9
	Unavailable                 // try again; gRPC 14
	Unauthenticated             // the caller is not known; gRPC 16
	Exhausted                   // too much was asked, or too often; gRPC 8
	Gone                        // it was there and is not kept any more; gRPC 11
)

// Error is what a person or a program is told when something was refused. Message says what is wrong, Hint what to do
// next, Reason is stable and upper snake case, Field names the input at fault (empty when none is). Err is the cause
// for our own logs and is never shown to a peer.
type Error struct {
	Kind    Kind
	Reason  string
	Field   string
	Message string
	Hint    string
	After   time.Duration // when to try again, of kinds Exhausted and Unavailable; 0 says nothing
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
