package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Error is every answer of the API that is not a success. Code is a number of google.rpc.Code. Status is the HTTP
// status and does not travel in the body.
type Error struct {
	Status  int           `json:"-"`
	Code    int           `json:"code" doc:"google.rpc.Code number"`
	Message string        `json:"message" doc:"What is wrong, for a person"`
	Details []ErrorDetail `json:"details" doc:"What exactly is wrong and what to do about it"`
	// RequestID names the request in the server's log; empty when the answer named none. It does not travel in the body.
	RequestID string `json:"-"`
	// RetryAfter is how long to wait before another attempt, 0 when the answer did not say. It does not travel in the body.
	RetryAfter time.Duration `json:"-"`
}

// ErrorDetail is one thing that is wrong.
type ErrorDetail struct {
	Reason string `json:"reason" doc:"Stable name of the cause, upper snake case"`
	Field  string `json:"field,omitempty" doc:"The input at fault; absent when none is"`
	Hint   string `json:"hint,omitempty" doc:"What to do next"`
	// Message is told where several things are wrong at once; the error's own is the first of them.
	Message string `json:"message,omitempty" doc:"What is wrong there, where several things are"`
}

// Error returns the message, with the hints when there are any.
func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = fmt.Sprintf("the API answered %d %s", e.Status, http.StatusText(e.Status))
	}
	for i, d := range e.Details {
		if i > 0 && d.Message != "" {
			s += "; " + d.Message
		}
		if d.Hint != "" {
			s += ": " + d.Hint
		}
	}
	return s
}

// Reason returns the reason of the first *Error in err's chain: its first detail's, empty when there is none.
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && len(e.Details) > 0 {
		return e.Details[0].Reason
	}
	return ""
}

// IsNotFound reports whether err says that the object does not exist, or that the caller may not see it.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}
