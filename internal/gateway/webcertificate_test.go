package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
)

// clientCA issues client certificates.
type clientCA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newClientCA(t testing.TB, name string) *clientCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &clientCA{t: t, cert: cert, key: key, next: 16}
}

func (ca *clientCA) issue(user string) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.next), Subject: pkix.Name{CommonName: user}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// asks makes the proxied cluster ask for certificates.
func (w *webWorld) asks(mode string, trusted ...*clientCA) {
	w.t.Helper()
	w.change(func(r *api.GatewayClusterRules) {
		proxy := *r.Proxy
		proxy.ClientCertificates = &api.GatewayClientCertificates{Mode: mode, Identity: []string{"subject.cn"}}
		for i, ca := range trusted {
			proxy.ClientCertificates.Trusted = append(proxy.ClientCertificates.Trusted, api.GatewayTrustedCertificate{
				ID: trustID(i), Name: ca.cert.Subject.CommonName, Kind: "CA", Certificate: ca.cert.Raw,
			})
		}
		r.Proxy = &proxy
	})
}

func trustID(i int) string { return fmt.Sprintf("77777777-7777-4777-8777-%012d", i) }

// TestClientCertificatesAtTheGateway: the certificate decides, on every request and as of now.
func TestClientCertificatesAtTheGateway(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("HTTP/2 %t", two), func(t *testing.T) {
				w := newWebWorld(t, change)
				good, other := newClientCA(t, "good"), newClientCA(t, "other")
				ann, bob, eve := good.issue("ann"), good.issue("bob"), other.issue("eve")

				before := w.client(endpointA, two)
				w.gets(before, acmePrivate, "/", 200)
				w.asks("REQUIRED", good)
				w.gets(before, acmePrivate, "/", 403) // a flow from before does not get around it
				w.control.awaitRefusal("CLIENT_CERTIFICATE_ABSENT")
				c := w.client(endpointA, two, ann)
				if e := w.gets(c, acmePrivate, "/", 200); e.header.Get("X-Postern-User") != "ann" || e.header.Get("X-Jfrog-Client-Cert") == "" {
					t.Errorf("the application is told %v", e.header)
				}
				w.gets(w.client(endpointA, two, eve), acmePrivate, "/", 403)
				w.control.awaitRefusal("CLIENT_CERTIFICATE_UNTRUSTED")
				w.asks("OPTIONAL", good, other)
				w.gets(c, acmePrivate, "/", 200)
				evil := w.client(endpointA, two, eve)
				w.gets(evil, acmePrivate, "/", 200)
				if e := w.gets(w.client(endpointA, two), acmePrivate, "/", 200); e.header.Get("X-Postern-User") != "" {
					t.Errorf("nobody is told to be %s", e.header.Get("X-Postern-User"))
				}

				// A trust entry goes: what stands on it is closed at once, and comes in no more.
				flows := w.g.LiveFlows()
				w.asks("OPTIONAL", good)
				w.control.await("the end of the flow whose certificate is trusted no more", func() bool { return w.g.LiveFlows() < flows })
				w.getsAnew(evil, acmePrivate, "/", 403)
				w.gets(c, acmePrivate, "/", 200)

				// One certificate is revoked: it alone.
				w.gets(w.client(endpointA, two, bob), acmePrivate, "/", 200)
				w.change(func(r *api.GatewayClusterRules) {
					proxy, certs := *r.Proxy, *r.Proxy.ClientCertificates
					certs.Revoked = []api.GatewayRevokedCertificate{{
						ID: globexID, TrustedID: trustID(0), Serial: ann.Leaf.SerialNumber.Text(16), RevokedAt: time.Now(),
					}}
					proxy.ClientCertificates = &certs
					r.Proxy = &proxy
				})
				w.getsAnew(c, acmePrivate, "/", 403)
				w.control.awaitRefusal("CLIENT_CERTIFICATE_REVOKED")
				w.gets(w.client(endpointA, two, bob), acmePrivate, "/", 200)
				w.control.change(func() {
					if slices.ContainsFunc(w.control.refused, func(r api.GatewayRefusal) bool {
						return strings.HasPrefix(r.Reason, "CLIENT_") && (r.EndpointID != endpointA || r.ClusterID != acmeID || r.WouldRefuse)
					}) {
						t.Errorf("refusals: %+v", w.control.refused)
					}
				})
			})
		}
	})
}
