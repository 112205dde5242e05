package clientcert

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/internal/link"
)

// sources are the parts of a certificate that may name its user.
var sources = []link.IdentitySource{link.IdentitySubjectCN, link.IdentityEmail, link.IdentityURI, link.IdentityDNS}

// MaxName is how many bytes a name may have that is looked at.
const MaxName = 256

// identifier finds out whose a certificate is.
type identifier struct {
	sources         []link.IdentitySource
	expression      *Expression
	listed          bool
	names, disabled map[string]bool
}

// newIdentifier: without sources it is the subject's common name that counts, as with the documented setting.
func newIdentifier(c link.ClientCertificates) (identifier, error) {
	id := identifier{sources: c.Identity, listed: c.Users.Listed, names: set(c.Users.Names), disabled: set(c.Users.Disabled)}
	if len(id.sources) == 0 {
		id.sources = []link.IdentitySource{link.IdentitySubjectCN}
	}
	expression, err := CompileExpression(c.Expression)
	if err != nil {
		return identifier{}, err
	}
	id.expression = expression
	return id, nil
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// of returns what a certificate says of its user.
func (id identifier) of(cert *x509.Certificate) (Identity, string) {
	name := ""
	for _, s := range id.sources {
		if name = part(cert, s); name != "" {
			break
		}
	}
	user, err := id.expression.User(name)
	switch {
	case err != nil:
		return IdentityTimedOut, ""
	case user == "":
		return NoIdentity, ""
	case id.disabled[user], id.listed && !id.names[user]:
		return UnknownUser, user
	}
	return KnownUser, user
}

// part returns what a certificate has at a source: of several names of a kind the first, and nothing of a subject with
// several common names, of which programs differ in which one counts.
func part(cert *x509.Certificate, s link.IdentitySource) string {
	switch {
	case s == link.IdentitySubjectCN:
		names := 0
		for _, a := range cert.Subject.Names {
			if a.Type.Equal(commonName) {
				names++
			}
		}
		if names == 1 {
			return cert.Subject.CommonName
		}
	case s == link.IdentityEmail && len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0]
	case s == link.IdentityURI && len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case s == link.IdentityDNS && len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return ""
}

// commonName is id-at-commonName of X.520.
var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// isName reports whether an expression looks at a text: it is not empty, not longer than MaxName, UTF-8, and has neither
// control characters nor separators of lines, which could end the header in which a user's name goes on.
func isName(s string) bool {
	return s != "" && len(s) <= MaxName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) })
}

// isUser reports whether a text may be a user's name: a header's value loses the space around it.
func isUser(s string) bool {
	return isName(s) && strings.TrimFunc(s, unicode.IsSpace) == s
}

// sortedCategories keeps the scanner's list searchable.
var sortedCategories = slices.Sorted(slices.Values(strings.Fields(categories)))
