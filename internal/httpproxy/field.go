package httpproxy

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// field is one line of a head or of trailers. Its kind is known once the head was looked through.
type field struct {
	name, value string
	kind        kind
}

// kind is what a proxy has to know of a field by its name.
type kind uint8

const (
	plain      kind = iota // goes through
	forged                 // tells what only a proxy can know: a client's own never passes
	framing                // says where the body ends
	connection             // names what concerns this connection alone
	hop                    // concerns this connection alone
	host
	upgrade
	expect
	accept
	authorization
	apiKey
	teaser // TE
	trailer
	location
	links     // Link
	challenge // WWW-Authenticate
	cookie    // Set-Cookie
	transport // Strict-Transport-Security
)

// kinds of the names in lower case.
var kinds = func() map[string]kind {
	m := map[string]kind{
		"content-length": framing, "transfer-encoding": framing, "connection": connection, "keep-alive": hop,
		"proxy-connection": hop, "proxy-authenticate": hop, "proxy-authorization": hop, "http2-settings": hop,
		"alt-svc": hop, // of an answer it would lead clients off their path
		"upgrade": upgrade, "host": host, "expect": expect, "accept": accept, "authorization": authorization,
		"x-jfrog-art-api": apiKey, "te": teaser,
		"trailer": trailer, "location": location, "link": links, "www-authenticate": challenge, "set-cookie": cookie,
		"strict-transport-security": transport,
	}
	for _, names := range [][]string{link.ForwardedHeaders, link.CertificateHeaders} {
		for _, name := range names {
			m[strings.ToLower(name)] = forged
		}
	}
	return m
}()

// longestKind is the longest name that kinds has.
var longestKind = func() (n int) {
	for name := range kinds {
		n = max(n, len(name))
	}
	return n
}()

// spelling is a name as those compare it that make a variable's name of it: in lower case, and whatever is neither a
// letter nor a digit as '-'. It reports whether anything else than capitals had to be changed for that.
func spelling(b *[64]byte, name string) (spelt []byte, bent bool) {
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-':
		default:
			c, bent = '-', true
		}
		b[i] = c
	}
	return b[:len(name)], bent
}

// kindOf returns the kind of a field by its name. A name that means one of the others only to those who take '_' for '-'
// is forged.
func kindOf(name string) kind {
	if len(name) > longestKind {
		return plain
	}
	var b [64]byte
	spelt, bent := spelling(&b, name)
	k := kinds[string(spelt)]
	if bent && k != plain {
		return forged
	}
	return k
}

// spells reports whether name is a spelling of like, which is in lower case with '-' for whatever is no letter or digit.
func spells(name, like string) bool {
	if len(name) != len(like) || len(name) > 64 {
		return false
	}
	var b [64]byte
	spelt, _ := spelling(&b, name)
	return string(spelt) == like
}

// notInTrailers are fields that mean nothing, or harm, behind a body (RFC 9110 section 6.5.1).
var notInTrailers = map[string]bool{
	"cache-control": true, "content-encoding": true, "content-type": true, "content-range": true, "range": true, "cookie": true,
	"max-forwards": true, "pragma": true, "age": true, "date": true, "expires": true, "retry-after": true, "vary": true, "warning": true,
}

// passableTrailers are the trailers that pass, in place. certificate is the header that tells the application a certificate.
func passableTrailers(fields []field, certificate string) []field {
	kept := fields[:0]
	for _, f := range fields {
		if kindOf(f.name) == plain && !spells(f.name, certificate) && !notInTrailers[strings.ToLower(f.name)] {
			kept = append(kept, f)
		}
	}
	return kept
}

// hasToken reports whether a comma-separated list has a token, whatever its case.
func hasToken(list, token string) bool {
	for list != "" {
		var one string
		one, list, _ = strings.Cut(list, ",")
		if strings.EqualFold(strings.Trim(one, " \t"), token) {
			return true
		}
	}
	return false
}
