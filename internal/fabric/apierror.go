package fabric

import (
	"fmt"
	"net/http"
)

// apiError is an error answer of one of the services. It goes to the client as it is.
type apiError struct {
	Status  int
	Code    string
	Message string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// fail is a client error with the status that nearly all of them have, 400.
func fail(code, format string, args ...any) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

// failWith is an error with a status of its own.
func failWith(status int, code, format string, args ...any) *apiError {
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// errDryRun ends a call with DryRun set that would have succeeded, so that its transition is thrown away.
var errDryRun = &apiError{Status: http.StatusPreconditionFailed, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
