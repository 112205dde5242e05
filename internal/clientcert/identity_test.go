package clientcert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestIdentity(t *testing.T) {
	root := newAuthority(t, "root", nil)
	const cn, email, uri, dns = link.IdentitySubjectCN, link.IdentityEmail, link.IdentityURI, link.IdentityDNS
	full := root.issue(t, "cn@example.com", func(c *x509.Certificate) {
		c.EmailAddresses = []string{"first@example.com", "second@example.com"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/alice"}}
		c.DNSNames = []string{"host.example.com"}
	})
	nameless := root.issue(t, "", func(c *x509.Certificate) { c.DNSNames = []string{"host.example.com"} })
	twice := root.issue(t, "", func(c *x509.Certificate) {
		for _, v := range []string{"mallory", "alice"} {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: v})
		}
	})
	odd := root.issue(t, "a\r\nX-Admin: yes")
	slow := root.issue(t, strings.Repeat("a", 64))
	users := func(listed bool, names, disabled string) link.Users {
		return link.Users{Listed: listed, Names: strings.Fields(names), Disabled: strings.Fields(disabled)}
	}
	tests := []struct {
		name       string
		cert       *x509.Certificate
		sources    []link.IdentitySource
		expression string
		users      link.Users
		want       Identity
		user       string
	}{
		{"as it comes", full, nil, "", link.Users{}, KnownUser, "cn@example.com"},
		{"as it is documented", full, nil, documented, link.Users{}, KnownUser, "cn"},
		{"the first e-mail address", full, []link.IdentitySource{email}, documented, link.Users{}, KnownUser, "first"},
		{"a URI", full, []link.IdentitySource{uri}, `[^/]+$`, link.Users{}, KnownUser, "alice"},
		{"a name", full, []link.IdentitySource{dns}, `^[^.]+`, link.Users{}, KnownUser, "host"},
		{"the first that there is", nameless, []link.IdentitySource{email, cn, dns}, "", link.Users{}, KnownUser, "host.example.com"},
		{"the first that there is, though it names nobody", full, []link.IdentitySource{dns, email}, documented, link.Users{}, NoIdentity, ""},
		{"nothing there", nameless, []link.IdentitySource{email, cn}, "", link.Users{}, NoIdentity, ""},
		{"two common names", twice, nil, "", link.Users{}, NoIdentity, ""},
		{"two common names, then another source", twice, []link.IdentitySource{cn, dns}, "", link.Users{}, NoIdentity, ""},
		{"a name that would be a header", odd, nil, "", link.Users{}, NoIdentity, ""},
		{"a name of which a part would be good", odd, nil, `^a`, link.Users{}, NoIdentity, ""},
		{"listed", full, nil, documented, users(true, "bob cn", ""), KnownUser, "cn"},
		{"not listed", full, nil, documented, users(true, "bob", ""), UnknownUser, "cn"},
		{"an empty list", full, nil, documented, users(true, "", ""), UnknownUser, "cn"},
		{"disabled", full, nil, documented, users(false, "", "cn"), UnknownUser, "cn"},
		{"listed and disabled", full, nil, documented, users(true, "cn", "cn"), UnknownUser, "cn"},
		{"of another case", full, nil, documented, users(true, "CN", ""), UnknownUser, "cn"},
		{"an expression that takes too long", slow, nil, `^(a+)+(?=@)`, link.Users{}, IdentityTimedOut, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			trust := compile(t, link.ClientCertificates{
				Identity: tt.sources, Expression: tt.expression, Users: tt.users,
				Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)},
			})
			if v := trust.Verify(tt.cert, nil, now); v.Standing != Trusted || v.Identity != tt.want || v.User != tt.user {
				t.Errorf("%v (%s): %v, %q; want %v, %q", v.Standing, v.Detail, v.Identity, v.User, tt.want, tt.user)
			}
		})
	}
}
