package httpproxy

import "net/http"

// failure is an answer of the gateway's own. Its code is stable, and the message is all that the peer is told.
type failure struct {
	status  int
	code    string
	message string
	docker  string // the code for a Docker client
	close   bool   // no other request is taken from the connection
	err     error  // for the operator
}

// because adds what the operator is told.
func (f *failure) because(err error) *failure {
	with := *f
	with.err = err
	return &with
}

// What the gateway says by itself.
var (
	badRequest   = &failure{status: 400, code: "bad_request", message: "the request is malformed", docker: "UNSUPPORTED", close: true}
	badPath      = &failure{status: 400, code: "bad_path", message: "the path has dot segments", docker: "NAME_INVALID"}
	badMethod    = &failure{status: 405, code: "method_not_allowed", message: "the method is not allowed", docker: "UNSUPPORTED", close: true}
	noRepository = &failure{status: 404, code: "not_found", message: "there is no such repository", docker: "NAME_UNKNOWN"}
	misdirected  = &failure{status: 421, code: "misdirected_request", message: "this host is not served here", docker: "UNSUPPORTED"}
	tooSlow      = &failure{status: 408, code: "request_timeout", message: "the request did not arrive in time", docker: "UNKNOWN", close: true}
	tooLong      = &failure{
		status: 431, code: "request_header_too_large", message: "the request's header is too large", docker: "UNSUPPORTED", close: true,
	}
	tooMany     = &failure{status: 429, code: "too_many_requests", message: "too many requests: try again in a moment", docker: "TOOMANYREQUESTS"}
	noNode      = &failure{status: 503, code: "no_backend", message: "no backend can answer", docker: "UNAVAILABLE"}
	brokenNode  = &failure{status: 502, code: "bad_gateway", message: "the backend did not answer as it should", docker: "UNAVAILABLE"}
	slowNode    = &failure{status: 504, code: "gateway_timeout", message: "the backend did not answer in time", docker: "UNAVAILABLE"}
	leaves      = &failure{status: 502, code: "REDIRECT_LEAVES_PRIVATE_PATH", message: "the answer leads out of the private path", docker: "DENIED"}
	notFollowed = &failure{status: 502, code: "redirect_failed", message: "what the answer leads to cannot be had", docker: "UNAVAILABLE"}
	badTicket   = &failure{status: 404, code: "not_found", message: "there is nothing here, or not any more", docker: "UNKNOWN"}
)

// gone is the failure of a client that has left: nobody is told.
var gone = &failure{status: 499, code: "client_gone"}

// body is what a peer is told. All texts are the gateway's own, without anything that JSON would need escaped.
func (f *failure) body(docker bool) []byte {
	if docker {
		code := f.docker
		if code == "" {
			code = "DENIED"
			if f.status == http.StatusUnauthorized {
				code = "UNAUTHORIZED"
			}
		}
		return []byte(`{"errors":[{"code":"` + code + `","message":"` + f.message + `","detail":{"code":"` + f.code + `"}}]}` + "\n")
	}
	return []byte(`{"code":"` + f.code + `","message":"` + f.message + `"}` + "\n")
}

// fields are the head of the answer.
func (f *failure) fields(docker bool) []field {
	fields := []field{
		{name: "Content-Type", value: "application/json"},
		{name: "Cache-Control", value: "no-store"},
		{name: "X-Content-Type-Options", value: "nosniff"},
	}
	if f == tooMany {
		fields = append(fields, field{name: "Retry-After", value: "1"}) // limits are of a second
	}
	if docker {
		fields = append(fields, field{name: "Docker-Distribution-Api-Version", value: "registry/2.0"})
	}
	return fields
}
