package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"time"
)

// testAuthority is a CA of clients' certificates.
type testAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string // its certificate
	keyPEM      string
	leaf        string // a client's certificate, PEM
	list        string // its revocation list number 5, PEM
}

// authority is the one that the tests share.
var authority = sync.OnceValue(func() *testAuthority { return newAuthority("Clients of ACME") })

func newAuthority(name string) *testAuthority {
	a := &testAuthority{key: newKey()}
	a.certificate = sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name), NotAfter: time.Now().Add(24 * time.Hour),
	}, nil, a.key, a.key)
	a.pem = asPEM("CERTIFICATE", a.certificate.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		panic(err)
	}
	a.keyPEM = asPEM("PRIVATE KEY", der)
	a.leaf = asPEM("CERTIFICATE", a.issue("robot", time.Now().Add(time.Hour)).Raw)
	a.list = a.revoke(5, 0x0a1b)
	return a
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func sign(c, parent *x509.Certificate, of, by *ecdsa.PrivateKey) *x509.Certificate {
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, of.Public(), by)
	if err != nil {
		panic(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return out
}

// issue makes a client's certificate.
func (a *testAuthority) issue(name string, notAfter time.Time) *x509.Certificate {
	return sign(&x509.Certificate{
		SerialNumber: big.NewInt(0x0a1b), Subject: pkix.Name{CommonName: name}, NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.certificate, newKey(), a.key)
}

// revoke makes a revocation list, PEM.
func (a *testAuthority) revoke(number int64, serials ...int64) string {
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.certificate, a.key)
	if err != nil {
		panic(err)
	}
	return asPEM("X509 CRL", der)
}

func asPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// inJSON is a text as it stands between the quotes of a JSON string.
func inJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(b), `"`)
}
