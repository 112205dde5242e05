package httpproxy

import (
	"net/http"
	"strconv"
)

// onward is what a request becomes for the application.
type onward struct {
	target    string
	host      string // as the client named it
	forwarded string // whole lines about the client
	base      string // of the application's addresses; empty to say nothing
	cert      string // the value of the certificate's header; empty when none was verified
	user      string // that the certificate named; empty when none did
	site      *Site
}

// appendTo appends the head of the request to b. What a client says of itself in fields that only a proxy may set is left
// out, whatever its spelling; what is set here cannot be taken away by a Connection field.
func (o *onward) appendTo(b []byte, r *request) []byte {
	b = append(b, r.method...)
	b = append(b, ' ')
	b = append(b, o.target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, o.host...)
	b = append(b, "\r\n"...)
	accepts := 0
	for i := range r.fields {
		f := &r.fields[i]
		switch {
		case f.kind == forged || spells(f.name, o.site.spelling) || len(r.drop) > 0 && r.dropped(f.name):
			continue
		case f.kind == accept:
			accepts++
			continue
		}
		b = appendField(b, f.name, f.value)
	}
	if accepts > 0 {
		// Docker clients send one line for each kind of manifest, and some servers read the first alone.
		b = append(b, "Accept: "...)
		for i := range r.fields {
			if f := &r.fields[i]; f.kind == accept {
				b = append(b, f.value...)
				if accepts--; accepts > 0 {
					b = append(b, ", "...)
				}
			}
		}
		b = append(b, "\r\n"...)
	}
	b = append(b, o.forwarded...)
	b = appendField(b, "X-Forwarded-Host", o.host)
	if o.base != "" {
		b = append(b, "X-JFrog-Override-Base-Url: "...)
		b = append(b, o.base...)
		b = append(b, "\r\n"...)
	}
	if o.cert != "" {
		b = appendField(b, o.site.certificate, o.cert)
	}
	if o.user != "" {
		b = appendField(b, "X-Postern-User", o.user)
	}
	switch {
	case r.upgrade != "":
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, r.upgrade...)
		b = append(b, "\r\n"...)
	case r.trailers:
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	if r.expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case r.length == chunkedLength:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.length > 0 || hasBody(r.method):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// hasBody reports whether a request of a method is expected to say that its body is empty (RFC 9110 section 8.6).
func hasBody(method string) bool { return method == "POST" || method == "PUT" || method == "PATCH" }

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// strictTransport is Mozilla's two years.
var strictTransport = field{name: "Strict-Transport-Security", value: "max-age=63072000", kind: transport}

// turnFields turns the fields of an answer into the client's, in place, and says where its Location leads.
func (v *view) turnFields(r *response) whither {
	where := inside
	kept := r.fields[:0]
	for _, f := range r.fields {
		switch f.kind {
		case forged, transport:
			continue
		case location:
			f.value, where = v.turn(f.value)
		case links:
			f.value = v.turnLinks(f.value)
		case challenge:
			f.value = v.turnChallenge(f.value)
		case cookie:
			f.value = v.turnCookie(f.value)
		}
		if len(r.drop) > 0 && r.dropped(f.name) {
			continue
		}
		kept = append(kept, f)
	}
	if v.scheme == "https" {
		kept = append(kept, strictTransport)
	}
	r.fields = kept
	return where
}

// isRedirect reports whether a status has the client go to Location.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
