package backend

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// Why a backend is not healthy. The words are stable.
const (
	ConnectionRefused = "CONNECTION_REFUSED"
	ConnectTimeout    = "CONNECT_TIMEOUT"
	ConnectFailed     = "CONNECT_FAILED"    // any other failure to connect
	NoSuchHost        = "NO_SUCH_HOST"      // its name does not exist
	LookupFailed      = "LOOKUP_FAILED"     // no resolver answered for its name
	MalformedAddress  = "MALFORMED_ADDRESS" // not host:port
	ClosesUnanswered  = "CLOSES_UNANSWERED" // it takes flows, and closes them before it has said anything

	// Of active checks, which connected.
	CheckTimeout     = "CHECK_TIMEOUT"      // no answer in time
	CheckTLSFailed   = "CHECK_TLS_FAILED"   // no TLS handshake
	CheckBadStatus   = "CHECK_BAD_STATUS"   // another HTTP status than expected
	CheckNotPostgres = "CHECK_NOT_POSTGRES" // another answer to SSLRequest than S or N
	CheckFailed      = "CHECK_FAILED"       // it closed, or its answer could not be read
)

// connectReason says why a backend was not reached; empty when that tells nothing of the backend, since it was the
// gateway that had no descriptor, port or memory left, or that gave up.
func connectReason(err error) string {
	for _, local := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, context.Canceled,
	} {
		if errors.Is(err, local) {
			return ""
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case timedOut(err):
		return ConnectTimeout
	}
	return ConnectFailed
}

func lookupReason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return NoSuchHost
	}
	return LookupFailed
}

func timedOut(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
