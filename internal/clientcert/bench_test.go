package clientcert

import (
	"testing"

	"github.com/postern/postern/internal/link"
)

// BenchmarkRequest is what a request of a flow costs whose certificate was verified when it was opened.
func BenchmarkRequest(b *testing.B) {
	root := newAuthority(b, "root", nil)
	entry := trusts(link.TrustCA, "root", root.cert)
	entry.CRL = root.list(b, 1, root.issue(b, "bob"))
	trust := compile(b, link.ClientCertificates{OCSP: true, Responders: []string{"ocsp.example.com"}, Trusted: []link.TrustedCertificate{entry}})
	v := trust.Verify(root.issue(b, "alice@example.com"), nil, now)
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(trust.Facts(v, now, Good, ReadCredentials(nil, nil))); d.User != "alice@example.com" {
			b.Fatalf("%+v", d)
		}
	}
}

// BenchmarkVerify is what a new flow costs, beside its handshake.
func BenchmarkVerify(b *testing.B) {
	root := newAuthority(b, "root", nil)
	trust := compile(b, link.ClientCertificates{Expression: documented, Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)}})
	leaf := root.issue(b, "alice@example.com")
	b.ReportAllocs()
	for b.Loop() {
		if v := trust.Verify(leaf, nil, now); v.User != "alice" {
			b.Fatalf("%+v", v)
		}
	}
}

// BenchmarkParse is what a header with a certificate costs.
func BenchmarkParse(b *testing.B) {
	values := []string{Encode(NGINX, newAuthority(b, "root", nil).cert)}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(NGINX, values); err != nil {
			b.Fatal(err)
		}
	}
}
