package clientcert

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

func TestVerify(t *testing.T) {
	root := newAuthority(t, "root", nil)
	other := newAuthority(t, "root", nil) // of the same name
	middle := newAuthority(t, "middle", root)
	stale := newAuthority(t, "stale", nil, valid(-2*time.Hour, -time.Hour))
	narrow := newAuthority(t, "narrow", root, func(c *x509.Certificate) {
		c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
	})
	short := newAuthority(t, "short", root, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	below := newAuthority(t, "below", short)
	email := func(a string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.EmailAddresses = []string{a} }
	}
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}
	self := newAuthority(t, "self", nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = false, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}).cert
	client := newAuthority(t, "client", root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	pinned := other.issue(t, "pinned")
	pinnedStale, pinnedServer := other.issue(t, "x", valid(-2*time.Hour, -time.Hour)), other.issue(t, "x", usage(x509.ExtKeyUsageServerAuth))
	pinnedByRoot := root.issue(t, "both")
	trust := compile(t, link.ClientCertificates{Trusted: []link.TrustedCertificate{
		trusts(link.TrustCA, "root", root.cert), trusts(link.TrustCA, "stale", stale.cert),
		trusts(link.TrustLeaf, "pinned", pinned), trusts(link.TrustLeaf, "self", self), trusts(link.TrustLeaf, "pinned stale", pinnedStale),
		trusts(link.TrustLeaf, "pinned server", pinnedServer), trusts(link.TrustLeaf, "pinned by root", pinnedByRoot),
	}})
	chain := func(a ...*authority) []*x509.Certificate {
		var out []*x509.Certificate
		for _, c := range a {
			out = append(out, c.cert)
		}
		return out
	}
	tests := []struct {
		name  string
		leaf  *x509.Certificate
		chain []*x509.Certificate
		want  Standing
		by    string
	}{
		{"none", nil, nil, Absent, ""},
		{"of the CA", root.issue(t, "a"), nil, Trusted, "root"},
		{"of the CA, which it brings along", root.issue(t, "a"), chain(root), Trusted, "root"},
		{"of an intermediate", middle.issue(t, "a"), chain(middle), Trusted, "root"},
		{"of an intermediate, with certificates of others beside it", middle.issue(t, "a"), chain(other, middle), Trusted, "root"},
		{"of an intermediate that it does not bring", middle.issue(t, "a"), nil, Untrusted, ""},
		{"of a CA of the same name", other.issue(t, "a"), chain(other), Untrusted, ""},
		{"of itself", newAuthority(t, "root", nil).cert, nil, Untrusted, ""},
		{"of another client", client.issue(t, "a"), chain(client), Untrusted, ""},
		{"too long a chain", root.issue(t, "a"), chain(other, other, other, other, other, other, other, other, other), Untrusted, ""},
		{"a path longer than the CA allows", below.issue(t, "a"), chain(below, short), Untrusted, ""},

		{"run out", root.issue(t, "a", valid(-2*time.Hour, -time.Second)), nil, Expired, ""},
		{"not yet valid", root.issue(t, "a", valid(time.Second, time.Hour)), nil, Expired, ""},
		{"in its last second", root.issue(t, "a", valid(-time.Hour, 0)), nil, Trusted, "root"},
		{"of a CA that has run out", stale.issue(t, "a"), nil, Expired, ""},

		{"for servers", root.issue(t, "a", usage(x509.ExtKeyUsageServerAuth)), nil, Unusable, ""},
		{"for servers and clients", root.issue(t, "a", usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)), nil, Trusted, "root"},
		{"for anything", root.issue(t, "a", usage(x509.ExtKeyUsageAny)), nil, Trusted, "root"},
		{"that does not say what for", root.issue(t, "a", usage()), nil, Trusted, "root"},
		{"of an intermediate for servers", newAuthority(t, "m", root, usage(x509.ExtKeyUsageServerAuth)).issue(t, "a"), nil, Untrusted, ""},

		{"within the CA's names", narrow.issue(t, "a", email("a@example.com")), chain(narrow), Trusted, "root"},
		{"outside the CA's names", narrow.issue(t, "a", email("a@example.net")), chain(narrow), Untrusted, ""},
		{"a critical extension", root.issue(t, "a", critical), nil, Untrusted, ""},

		{"pinned", pinned, nil, Trusted, "pinned"},
		{"pinned, with a chain that nobody trusts", pinned, chain(other), Trusted, "pinned"},
		{"pinned, signed by itself", self, nil, Trusted, "self"},
		{"of the issuer of a pinned one", other.issue(t, "pinned"), chain(other), Untrusted, ""},
		{"pinned, run out", pinnedStale, nil, Expired, ""},
		{"pinned, for servers", pinnedServer, nil, Unusable, ""},
		{"pinned, and of the CA", pinnedByRoot, nil, Trusted, "pinned by root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := trust.Verify(tt.leaf, tt.chain, now)
			if v.Standing != tt.want || tt.want == Trusted && v.TrustedName != tt.by {
				t.Errorf("%v by %q (%s), want %v by %q", v.Standing, v.TrustedName, v.Detail, tt.want, tt.by)
			}
			if v.Standing == Trusted && (v.TrustedID != link.ID("id of "+tt.by) || v.Identity != KnownUser || v.User == "") {
				t.Errorf("trusted as %+v", v)
			}
			if v.Standing != Trusted && (v.Identity != NoIdentity || v.User != "" || v.Question != nil) {
				t.Errorf("who is not trusted is somebody: %+v", v)
			}
			if (v.Detail == "") != (tt.want == Absent) {
				t.Errorf("the operator is told %q", v.Detail)
			}
			if nobody := (*Trust)(nil).Verify(tt.leaf, tt.chain, now); nobody.Standing != Untrusted && tt.leaf != nil {
				t.Errorf("without a Trust: %+v", nobody)
			}
		})
	}
}

// TestVerifyBoundsKeys: a client's own CA cannot have us compute with a key as long as it likes.
func TestVerifyBoundsKeys(t *testing.T) {
	root := newAuthority(t, "root", nil)
	huge := *root.issue(t, "huge")
	huge.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8192), E: 65537}
	v := compile(t, link.ClientCertificates{Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)}}).
		Verify(root.issue(t, "a"), []*x509.Certificate{&huge}, now)
	if v.Standing != Untrusted || !strings.Contains(v.Detail, "8192") {
		t.Errorf("%v: %s", v.Standing, v.Detail)
	}
}

// TestVerifiedWhile: what was verified once holds while everything that vouches for it is valid, and a removed entry
// takes everything under it along.
func TestVerifiedWhile(t *testing.T) {
	root := newAuthority(t, "root", nil, valid(-time.Hour, 3*time.Hour))
	leaf := root.issue(t, "alice", valid(-time.Minute, 5*time.Hour))
	with := link.ClientCertificates{Mode: link.CertificatesOptional, Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)}}
	trust := compile(t, with)
	v := trust.Verify(leaf, nil, now)
	if !v.From.Equal(now.Add(-time.Minute)) || !v.Until.Equal(now.Add(3*time.Hour)) {
		t.Errorf("valid from %v until %v", v.From, v.Until)
	}
	alice := Facts{Mode: link.CertificatesOptional, Certificate: Trusted, Revocation: Good, Identity: KnownUser, User: "alice"}
	if f := trust.Facts(v, v.Until, Unknown, Credentials{}); f != alice {
		t.Errorf("in the last second: %+v", f)
	}
	if f := trust.Facts(v, v.Until.Add(time.Second), Unknown, Credentials{}); f.Certificate != Expired {
		t.Errorf("after it: %+v", f)
	}
	with.Trusted = nil
	if f := compile(t, with).Facts(v, now, Good, Credentials{}); f.Certificate != Untrusted {
		t.Errorf("verified by what was in force before: %+v", f)
	}
	if v := compile(t, with).Verify(leaf, []*x509.Certificate{root.cert}, now); v.Standing != Untrusted {
		t.Errorf("without the entry: %+v", v)
	}
	if f := trust.Facts(nil, now, Good, Credentials{}); f != (Facts{Mode: link.CertificatesOptional}) {
		t.Errorf("no certificate: %+v", f)
	}
	if d := Decide((*Trust)(nil).Facts(v, now, Good, Credentials{})); d.Outcome != Refuse {
		t.Errorf("without a Trust: %+v", d)
	}
	if d := Decide((*Trust)(nil).Facts(nil, now, Good, Credentials{})); d.Code != CodeRequired {
		t.Errorf("without a Trust, without a certificate: %+v", d)
	}
}

func TestCompileRefuses(t *testing.T) {
	root, leaf := newAuthority(t, "root", nil), newAuthority(t, "root", nil).issue(t, "leaf")
	entry := func(k link.TrustKind, der []byte) link.TrustedCertificate {
		return link.TrustedCertificate{Kind: k, DER: der}
	}
	_, err := Compile(link.ClientCertificates{Expression: "(", Trusted: []link.TrustedCertificate{
		entry(link.TrustCA, root.cert.Raw), entry(link.TrustCA, leaf.Raw), entry("", root.cert.Raw), entry(link.TrustLeaf, append(leaf.Raw, 0)),
		{Kind: link.TrustCA, DER: root.cert.Raw, CRL: newAuthority(t, "root", nil).list(t, 1)},
	}})
	if err == nil {
		t.Fatal("taken")
	}
	for _, says := range []string{"( has no )", "not a CA's", "not a kind of trust", "not a certificate", "did not sign"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v: does not say %q", err, says)
		}
	}
}

func TestModeOf(t *testing.T) {
	for mode, want := range map[link.CertificateMode]link.CertificateMode{
		"": link.CertificatesOff, link.CertificatesOff: link.CertificatesOff, link.CertificatesOptional: link.CertificatesOptional,
		link.CertificatesRequired: link.CertificatesRequired,
	} {
		trust, err := Compile(link.ClientCertificates{Mode: mode})
		if err != nil || trust.Mode() != want {
			t.Errorf("%q: %v, %v", mode, trust.Mode(), err)
		}
	}
	if got := (*Trust)(nil).Mode(); got != link.CertificatesRequired {
		t.Errorf("nil: %v", got)
	}
}

// TestResponder: of the responders that a certificate names only those are asked that the settings have, by exact host.
func TestResponder(t *testing.T) {
	root := newAuthority(t, "root", nil)
	trust := compile(t, link.ClientCertificates{
		OCSP: true, Responders: []string{"ocsp.example.com", "other.example.com:8080", "192.0.2.1", "[2001:db8::1]"},
		Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)},
	})
	for named, want := range map[string]string{
		"http://ocsp.example.com":                                      "http://ocsp.example.com",
		"http://OCSP.example.com:80/x?y":                               "http://OCSP.example.com:80/x?y",
		"https://ocsp.example.com:443/":                                "https://ocsp.example.com:443/",
		"https://ocsp.example.com:80/":                                 "",
		"http://ocsp.example.com:8080/":                                "",
		"http://other.example.com:8080/":                               "http://other.example.com:8080/",
		"http://other.example.com/":                                    "",
		"http://192.0.2.1/":                                            "http://192.0.2.1/",
		"http://[2001:db8::1]/":                                        "http://[2001:db8::1]/",
		"http://x.ocsp.example.com/":                                   "",
		"http://ocsp.example.com.evil.example/":                        "",
		"http://ocsp.example.com@evil.example/":                        "",
		"http://user@ocsp.example.com/":                                "",
		"ldap://ocsp.example.com/":                                     "",
		"file:///ocsp.example.com":                                     "",
		"http://169.254.169.254/latest/meta-data/":                     "",
		"//ocsp.example.com/":                                          "",
		"http://evil.example/ http://ocsp.example.com/":                "",
		"http://evil.example/|http://ocsp.example.com/a":               "",
		"http://evil.example/," + "http://ocsp.example.com/not/a/list": "",
		"": "",
	} {
		v := trust.Verify(root.issue(t, "a", func(c *x509.Certificate) {
			if named != "" {
				c.OCSPServer = []string{"http://first.example/", named}
			}
		}), nil, now)
		if v.Question == nil || v.Question.URL != want || !v.Question.Issuer.Equal(root.cert) {
			t.Errorf("%s: %+v, want %q", named, v.Question, want)
		}
		if again := (Question{Leaf: v.Question.Leaf, Issuer: v.Question.Issuer, URL: v.Question.URL}); again.Key() != v.Question.Key() {
			t.Errorf("%s: one question has two keys", named)
		}
	}
	pinned := root.issue(t, "a")
	alone := compile(t, link.ClientCertificates{OCSP: true, Trusted: []link.TrustedCertificate{trusts(link.TrustLeaf, "pinned", pinned)}})
	if v := alone.Verify(pinned, nil, now); v.Standing != Trusted || v.Question != nil {
		t.Errorf("a pinned certificate: %+v", v)
	}
}

func TestRSA(t *testing.T) { // the other tests' keys are ECDSA
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	root := newAuthority(t, "root", nil)
	leaf := root.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, key.Public())
	if v := compile(t, link.ClientCertificates{Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "root", root.cert)}}).Verify(leaf, nil, now); v.Standing != Trusted {
		t.Errorf("%+v", v)
	}
}
