package revocation

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
)

// opensslCA is a CA as `openssl ca` keeps it, in a folder.
type opensslCA struct {
	t   *testing.T
	dir string
}

// newOpensslCA makes a CA whose clients' certificates name a responder, and which has certified that.
func newOpensslCA(t *testing.T, at netip.AddrPort) opensslCA {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl (Debian package openssl)")
	}
	ca := opensslCA{t, t.TempDir()}
	for name, text := range map[string]string{
		"index.txt": "", "serial": "1000", "crlnumber": "01",
		"ca.cnf": fmt.Sprintf(`[ca]
default_ca = d
[d]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = p
unique_subject = no
[p]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
authorityInfoAccess = OCSP;URI:http://%s/
[responder]
extendedKeyUsage = OCSPSigning
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
`, at),
	} {
		if err := os.WriteFile(filepath.Join(ca.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root", "-days", "30",
		"-config", "ca.cnf", "-extensions", "root")
	ca.issue("responder", "responder")
	return ca
}

func (ca opensslCA) run(args ...string) {
	ca.t.Helper()
	cmd := exec.CommandContext(ca.t.Context(), "openssl", args...)
	cmd.Dir = ca.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		ca.t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

// issue makes a certificate NAME.pem with the extensions of a section.
func (ca opensslCA) issue(name, section string) {
	ca.t.Helper()
	ca.run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", name+".key", "-out", name+".csr", "-subj", "/CN="+name, "-config", "ca.cnf")
	ca.run("ca", "-batch", "-notext", "-config", "ca.cnf", "-extensions", section, "-in", name+".csr", "-out", name+".pem")
}

func (ca opensslCA) revoke(name string) {
	ca.t.Helper()
	ca.run("ca", "-batch", "-config", "ca.cnf", "-revoke", name+".pem")
}

func (ca opensslCA) crl() []byte {
	ca.t.Helper()
	ca.run("ca", "-gencrl", "-config", "ca.cnf", "-out", "crl.pem")
	return ca.read("crl.pem")
}

func (ca opensslCA) read(name string) []byte {
	ca.t.Helper()
	b, err := os.ReadFile(filepath.Join(ca.dir, name))
	if err != nil {
		ca.t.Fatal(err)
	}
	return b
}

func (ca opensslCA) cert(name string) *x509.Certificate {
	ca.t.Helper()
	cert, err := clientcert.ReadCertificate(ca.read(name + ".pem"))
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

// TestOpenSSL: a certificate that openssl revokes stops working at the responder's next answer, and at the next list,
// with nothing but the settings of a cluster.
func TestOpenSSL(t *testing.T) {
	at := servertest.Addr(t)
	ca := newOpensslCA(t, at)
	ca.issue("alice", "client")
	ca.issue("bob", "client")
	openssl, _ := exec.LookPath("openssl")
	file := func(name string) string { return filepath.Join(ca.dir, name) }
	servertest.RunSaying(t, servertest.Account{}, "waiting for OCSP client connections", openssl, "ocsp", "-index", file("index.txt"), "-port", strconv.Itoa(int(at.Port())), "-CA", file("ca.pem"),
		"-rsigner", file("responder.pem"), "-rkey", file("responder.key"), "-nmin", "30")

	c := newClock(time.Now())
	k := keeper(t, Config{Now: c.now, Every: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	k.Start()
	settings := link.ClientCertificates{
		Mode: link.CertificatesRequired, OCSP: true, Responders: []string{at.String()},
		Trusted: []link.TrustedCertificate{{ID: "root", Name: "root", Kind: link.TrustCA, DER: ca.cert("ca").Raw}},
	}
	compile := func() *clientcert.Trust {
		trust, err := clientcert.Compile(settings)
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	// decide is a request of a flow whose certificate was verified when it was opened.
	decide := func(trust *clientcert.Trust, v *clientcert.Verified) clientcert.Decision {
		answer := clientcert.Unknown
		if v.Question != nil {
			answer = k.Await(t.Context(), *v.Question)
		}
		return clientcert.Decide(trust.Facts(v, c.now(), answer, clientcert.Credentials{}))
	}
	trust := compile()
	alice, bob := trust.Verify(ca.cert("alice"), nil, c.now()), trust.Verify(ca.cert("bob"), nil, c.now())
	for name, v := range map[string]*clientcert.Verified{"alice": alice, "bob": bob} {
		if d := decide(trust, v); d.User != name || d.Outcome != clientcert.ByCertificate {
			t.Fatalf("%s: %+v", name, d)
		}
	}
	before := ca.crl()
	ca.revoke("alice")
	eventually(t, "openssl, which looks at its index between two connections, says so", func() bool {
		return keeper(t, Config{}).Await(t.Context(), *alice.Question) == clientcert.Revoked
	})
	if d := decide(trust, alice); d.User != "alice" {
		t.Errorf("while the answer is not due to be renewed: %+v", d)
	}
	c.advance(time.Minute)
	eventually(t, "alice's flow gets no further", func() bool { return decide(trust, alice).Reason == clientcert.ReasonCertificateRevoked })
	if d := decide(trust, bob); d.User != "bob" {
		t.Errorf("bob: %+v", d)
	}

	settings.OCSP = false
	accept := func(old, data []byte) (clientcert.CRL, error) {
		return clientcert.AcceptCRL(ca.cert("ca"), old, data, time.Now())
	}
	first, err := accept(nil, before)
	if err != nil {
		t.Fatal(err)
	}
	settings.Trusted[0].CRL = first.DER
	trust = compile()
	if d := decide(trust, trust.Verify(ca.cert("alice"), nil, c.now())); d.User != "alice" {
		t.Errorf("alice, by the list before: %+v", d)
	}
	second, err := accept(first.DER, ca.crl())
	if err != nil || second.Revoked != 1 {
		t.Fatalf("%+v, %v", second, err)
	}
	settings.Trusted[0].CRL = second.DER
	trust = compile()
	for name, want := range map[string]string{"alice": clientcert.ReasonCertificateRevoked, "bob": ""} {
		if d := decide(trust, trust.Verify(ca.cert(name), nil, c.now())); d.Reason != want {
			t.Errorf("%s, by the list after: %+v", name, d)
		}
	}
	_, err = accept(second.DER, before)
	if e, ok := errors.AsType[*link.Error](err); !ok || e.Reason != clientcert.ReasonNumberLower {
		t.Errorf("the list before, after the one after: %v", err)
	}
}
