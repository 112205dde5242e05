package clientcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// now is the time of the tests.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var lastSerial atomic.Int64

// authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes a root, or with a parent an intermediate.
func newAuthority(t testing.TB, name string, parent *authority, with ...func(*x509.Certificate)) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{key: key}
	if parent == nil {
		parent = a
	}
	a.cert = parent.sign(t, template, key.Public(), with...)
	return a
}

// issue makes a client's certificate.
func (a *authority) issue(t testing.TB, name string, with ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return a.sign(t, template, newKey(t).Public(), with...)
}

func (a *authority) sign(t testing.TB, template *x509.Certificate, key crypto.PublicKey, with ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(0x1000 + lastSerial.Add(1))
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
	for _, change := range with {
		change(template)
	}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// list makes a revocation list with a number.
func (a *authority) list(t testing.TB, number int64, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return a.listWith(t, &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}, revoked...)
}

func (a *authority) listWith(t testing.TB, template *x509.RevocationList, revoked ...*x509.Certificate) []byte {
	t.Helper()
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now.Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func valid(from, until time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(until) }
}

func usage(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

func trusts(kind link.TrustKind, name string, cert *x509.Certificate) link.TrustedCertificate {
	return link.TrustedCertificate{ID: link.ID("id of " + name), Name: name, Kind: kind, DER: cert.Raw}
}

func compile(t testing.TB, c link.ClientCertificates) *Trust {
	t.Helper()
	if c.Mode == "" {
		c.Mode = link.CertificatesRequired
	}
	trust, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}
