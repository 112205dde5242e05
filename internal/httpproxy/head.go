package httpproxy

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Lengths of bodies that are not known beforehand.
const (
	chunkedLength = -1 // in chunks
	endlessLength = -2 // to the end of the connection; of answers alone
)

// request is a request's head, as a client sent it.
type request struct {
	method string
	target string // path and query as they came; "*" for OPTIONS
	host   string // of Host, or of :authority, as it came
	old    bool   // HTTP/1.0
	two    bool   // HTTP/2
	fields []field
	length int64 // of the body: bytes, 0 when there is none, chunkedLength

	// What the fields of the connection say, which are not among fields any more.
	close    bool     // no other request follows
	upgrade  string   // what the client would like to change to; empty when nothing
	expect   bool     // the client waits for 100 before it sends the body
	trailers bool     // it takes trailers
	drop     []string // fields that Connection names
}

// protocol names the version by which the request came.
func (r *request) protocol() string {
	if r.two {
		return "HTTP/2.0"
	}
	return "HTTP/1.1"
}

// Errors in a head. Their words are for the operator.
var (
	errStartLine = errors.New("malformed start line")
	errVersion   = errors.New("neither HTTP/1.1 nor HTTP/1.0")
	errTarget    = errors.New("malformed target")
	errHost      = errors.New("no host, or more than one")
	errField     = errors.New("malformed field")
	errFields    = errors.New("too many fields")
	errLength    = errors.New("malformed or contradictory Content-Length")
	errEncoding  = errors.New("a Transfer-Encoding other than chunked, or one that is not alone")
	errBoth      = errors.New("both Content-Length and Transfer-Encoding")
	errExpect    = errors.New("an expectation other than 100-continue")
	errStatus    = errors.New("malformed status line")
)

// isTarget reports whether a target has neither blanks nor control characters nor a fragment.
func isTarget(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return s != ""
}

// cutFields cuts the lines of a head, behind the first and with the empty one at the end, into fields, which it appends.
// A line that goes on the one before it (obs-fold) is malformed.
func cutFields(into []field, text string, most int) ([]field, error) {
	for {
		line, rest, ok := strings.Cut(text, "\r\n")
		if !ok {
			return nil, errField
		}
		if line == "" {
			return into, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) {
			return nil, errField
		}
		value = trim(value)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, errField
		}
		if len(into) >= most {
			return nil, errFields
		}
		into = append(into, field{name: name, value: value})
		text = rest
	}
}

// trim takes blanks and tabulators from both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// parseRequest reads the head of an HTTP/1 request (RFC 9112) into r, whose fields' array it uses. It is strict wherever
// two readers could differ over where the request ends. The head ends with its empty line.
func parseRequest(r *request, head string, most int) error {
	*r = request{fields: r.fields[:0], drop: r.drop[:0]}
	line, rest, ok := strings.Cut(head, "\r\n")
	if !ok {
		return errStartLine
	}
	var version string
	r.method, line, ok = strings.Cut(line, " ")
	if !ok || !httpguts.ValidHeaderFieldName(r.method) {
		return errStartLine
	}
	r.target, version, ok = strings.Cut(line, " ")
	if !ok {
		return errStartLine
	}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.old, r.close = true, true
	default:
		return errVersion
	}
	var err error
	if r.fields, err = cutFields(r.fields, rest, most); err != nil {
		return err
	}
	if err := r.connect(); err != nil {
		return err
	}
	return r.aim()
}

// connect takes the fields that concern the connection out of the others.
func (r *request) connect() error {
	kept := r.fields[:0]
	hosts, lengths, encodings := 0, 0, 0
	asked := false // for an upgrade, in Connection
	for _, f := range r.fields {
		f.kind = kindOf(f.name)
		switch f.kind {
		case host:
			hosts++
			r.host = f.value
		case framing:
			if len(f.name) == len("Content-Length") {
				lengths++
				n, ok := parseLength(f.value)
				if !ok {
					return errLength
				}
				r.length = n
			} else {
				encodings++
				if !strings.EqualFold(f.value, "chunked") {
					return errEncoding
				}
			}
		case connection:
			asked = asked || hasToken(f.value, "upgrade")
			r.close = r.close || hasToken(f.value, "close")
			r.dropNamed(f.value)
		case hop:
		case upgrade:
			r.upgrade = f.value
		case expect:
			if !strings.EqualFold(f.value, "100-continue") {
				return errExpect
			}
			r.expect = true
		case teaser:
			r.trailers = r.trailers || hasToken(f.value, "trailers")
		default:
			kept = append(kept, f)
		}
	}
	r.fields = kept
	switch {
	case hosts != 1:
		return errHost
	case lengths > 0 && encodings > 0:
		return errBoth
	case lengths > 1:
		return errLength
	case encodings > 1 || encodings == 1 && r.old:
		return errEncoding
	case encodings == 1:
		r.length = chunkedLength
	}
	if !asked || r.old {
		r.upgrade = ""
	}
	if r.old || r.length == 0 {
		r.expect = false
	}
	return nil
}

// dropNamed notes the fields that a Connection field names and that are not known to concern the connection anyway.
func (r *request) dropNamed(list string) {
	for list != "" {
		var name string
		name, list, _ = strings.Cut(list, ",")
		if name = trim(name); name != "" && kindOf(name) == plain && !strings.EqualFold(name, "close") {
			r.drop = append(r.drop, name)
		}
	}
}

// dropped reports whether Connection names a field.
func (r *request) dropped(name string) bool {
	for _, d := range r.drop {
		if strings.EqualFold(d, name) {
			return true
		}
	}
	return false
}

// aim checks the target and brings the absolute form (RFC 9112 section 3.2.2) into the usual one.
func (r *request) aim() error {
	if !isTarget(r.target) {
		return errTarget
	}
	if r.target[0] == '/' {
		return nil
	}
	if r.target == "*" && r.method == "OPTIONS" {
		return nil
	}
	if r.method == "CONNECT" {
		return nil // it is refused as a method
	}
	scheme, rest, ok := strings.Cut(r.target, "://")
	if !ok || !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return errTarget
	}
	authority, path := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if !strings.EqualFold(authority, r.host) {
		return errHost
	}
	if path[0] != '/' {
		path = "/" + path
	}
	r.target = path
	return nil
}

// parseLength reads a Content-Length: digits alone, and no more than an int64 holds for certain.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// response is an answer's head, as a node sent it.
type response struct {
	status int
	reason string
	fields []field
	length int64 // of the body: bytes, chunkedLength or endlessLength; what Content-Length says where there is no body
	sized  bool  // there was a Content-Length
	empty  bool  // it has no body whatever its fields say

	close   bool   // the node closes the connection behind it
	upgrade string // of 101
	drop    []string
}

// parseResponse reads the head of an HTTP/1 answer into r, whose fields' array it uses.
func parseResponse(r *response, head string, most int) error {
	*r = response{fields: r.fields[:0], drop: r.drop[:0], length: endlessLength}
	line, rest, ok := strings.Cut(head, "\r\n")
	if !ok {
		return errStatus
	}
	version, line, _ := strings.Cut(line, " ")
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.close = true
	default:
		return errVersion
	}
	code, reason, _ := strings.Cut(line, " ")
	n, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || n < 100 || !httpguts.ValidHeaderFieldValue(reason) {
		return errStatus
	}
	r.status, r.reason = n, reason
	if r.fields, err = cutFields(r.fields, rest, most); err != nil {
		return err
	}
	return r.connect()
}

// connect takes the fields that concern the connection out of the others.
func (r *response) connect() error {
	kept := r.fields[:0]
	encodings := 0
	asked, keep := false, false
	for _, f := range r.fields {
		f.kind = kindOf(f.name)
		switch f.kind {
		case framing:
			if len(f.name) == len("Content-Length") {
				n, ok := parseLength(f.value)
				if !ok || r.sized && n != r.length {
					return errLength
				}
				r.sized, r.length = true, n
			} else {
				encodings++
				if !strings.EqualFold(f.value, "chunked") {
					return errEncoding
				}
			}
		case connection:
			asked = asked || hasToken(f.value, "upgrade")
			keep = keep || hasToken(f.value, "keep-alive")
			r.close = r.close || hasToken(f.value, "close")
			for name := range strings.SplitSeq(f.value, ",") {
				if name = trim(name); name != "" && kindOf(name) == plain && !strings.EqualFold(name, "close") {
					r.drop = append(r.drop, name)
				}
			}
		case hop:
		case upgrade:
			r.upgrade = f.value
		default:
			kept = append(kept, f)
		}
	}
	r.fields = kept
	switch {
	case encodings > 0 && r.sized:
		return errBoth
	case encodings > 1:
		return errEncoding
	case encodings == 1:
		r.length = chunkedLength
	}
	if !asked {
		r.upgrade = ""
	}
	return nil
}

// dropped reports whether Connection names a field.
func (r *response) dropped(name string) bool {
	for _, d := range r.drop {
		if strings.EqualFold(d, name) {
			return true
		}
	}
	return false
}

// bodiless reports whether an answer has no body whatever its fields say (RFC 9112 section 6.3).
func bodiless(method string, status int) bool {
	return method == "HEAD" || status < 200 || status == 204 || status == 304
}
