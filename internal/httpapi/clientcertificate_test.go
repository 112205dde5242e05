package httpapi_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func TestClientCertificates(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id := w.cluster.ID
	got, err := w.client.ClientCertificates(ctx, id)
	if diff := cmp.Diff(api.ClientCertificates{Mode: "OFF"}, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("before anything was said: %v\n%s", err, diff)
	}
	settings := api.ClientCertificates{
		Mode: "REQUIRED", Identity: []string{"subject.cn", "san.email"}, Expression: `[^@]+(?=\d{0,}@)`,
		Samples: []api.IdentitySample{{Text: "myuser@example.com", Want: "myuser"}, {Text: "myuser"}},
		Users:   api.CertificateUsers{Disabled: []string{"mallory", "eve"}}, OCSP: true, Responders: []string{"ocsp.example.com"},
	}
	if _, err = w.client.PutClientCertificates(ctx, id, settings); err != nil {
		t.Fatal(err)
	}
	settings.Users.Disabled = []string{"eve", "mallory"}
	got, err = w.client.ClientCertificates(ctx, id)
	if diff := cmp.Diff(settings, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("put and got: %v\n%s", err, diff)
	}

	before := w.state(t)
	_, err = w.client.PutClientCertificates(ctx, id, api.ClientCertificates{
		Mode: "OPTIONAL", Identity: []string{"subject.cn", "subject.cn"}, Expression: `([^@]+)@`,
		Samples: []api.IdentitySample{{Text: "a@b", Want: "b"}}, OCSP: true, Users: api.CertificateUsers{Names: []string{"x"}},
	})
	fields := map[string]bool{}
	for _, d := range apiError(t, err).Details {
		fields[d.Field] = true
	}
	for _, f := range []string{"identity[1]", "samples[0].want", "users.names", "responders"} {
		if !fields[f] {
			t.Errorf("nothing is said of %s: %v", f, err)
		}
	}
	same(t, before, w.state(t))
}

func TestTrustedCertificates(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id, pki := w.cluster.ID, authority()
	if _, err := w.client.PutReverseProxy(ctx, id, api.ReverseProxySettings{Server: "direct"}, false); err != nil {
		t.Fatal(err)
	}
	ca, err := w.client.AddTrustedCertificate(ctx, id, api.AddTrustedCertificateRequest{Name: "Clients", Certificate: "some words before it\n" + pki.pem})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pki.certificate.Raw)
	want := api.TrustedCertificate{
		ID: ca.ID, ClusterID: id, Name: "Clients", Kind: "CA", Fingerprint: hex.EncodeToString(sum[:]), Subject: "CN=Clients of ACME", Issuer: "CN=Clients of ACME",
		Serial: "1", NotBefore: pki.certificate.NotBefore, NotAfter: pki.certificate.NotAfter, Certificate: pki.pem, CreatedAt: ca.CreatedAt,
	}
	is := func(what string, got api.TrustedCertificate, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	is("added", ca, nil)
	got, err := w.client.AddTrustedCertificate(ctx, id, api.AddTrustedCertificateRequest{Name: "Clients", Certificate: pki.pem, Kind: "CA"})
	is("added again", got, err)
	leaf, err := w.client.AddTrustedCertificate(ctx, id, api.AddTrustedCertificateRequest{Name: "robot", Certificate: pki.leaf})
	if err != nil || leaf.Kind != "LEAF" || leaf.Serial != "a1b" || leaf.Subject != "CN=robot" {
		t.Errorf("a single one: %+v, %v", leaf, err)
	}
	if rules := w.proxyRules(t).Certificates.Trusted; len(rules) != 2 || !slices.Equal(rules[0].DER, pki.certificate.Raw) || rules[1].Kind != link.TrustLeaf {
		t.Errorf("the gateway gets %+v", rules)
	}

	// Lists of the CA, of which the number only grows.
	got, err = w.client.PutCRL(ctx, id, ca.ID, api.PutCRLRequest{CRL: pki.list})
	want.CRLNumber, want.CRLNextUpdate = "5", got.CRLNextUpdate
	is("with a list", got, err)
	block, _ := pem.Decode([]byte(pki.revoke(6, 0x0a1b, 0x0c)))
	lines := base64.StdEncoding.EncodeToString(block.Bytes)
	got, err = w.client.PutCRL(ctx, id, ca.ID, api.PutCRLRequest{CRL: lines[:64] + "\n" + lines[64:]})
	want.CRLNumber, want.CRLNextUpdate = "6", got.CRLNextUpdate
	is("with a newer list", got, err)
	got, err = w.client.TrustedCertificate(ctx, id, ca.ID)
	is("got", got, err)
	if rules := w.proxyRules(t).Certificates.Trusted; rules[0].CRLNumber != "6" || !slices.Equal(rules[0].CRL, block.Bytes) {
		t.Errorf("the gateway gets %+v", rules[0])
	}

	before := w.state(t)
	other := newAuthority("Another")
	for name, c := range map[string]struct {
		ask  func() error
		want string
	}{
		"an older list": {func() error { _, err := w.client.PutCRL(ctx, id, ca.ID, api.PutCRLRequest{CRL: pki.list}); return err }, "crl CRL_NUMBER_LOWER"},
		"another CA's list": {func() error {
			_, err := w.client.PutCRL(ctx, id, ca.ID, api.PutCRLRequest{CRL: other.revoke(9)})
			return err
		}, "crl INVALID_CLIENT_CERTIFICATES"},
		"no list": {func() error { _, err := w.client.PutCRL(ctx, id, ca.ID, api.PutCRLRequest{CRL: "%"}); return err }, "crl MALFORMED_CRL"},
		"a list of who signs none": {func() error {
			_, err := w.client.PutCRL(ctx, id, leaf.ID, api.PutCRLRequest{CRL: pki.list})
			return err
		}, "certificate_id NOT_A_CA"},
		"a list of nobody":          {func() error { _, err := w.client.PutCRL(ctx, id, nobody, api.PutCRLRequest{CRL: pki.list}); return err }, "certificate_id TRUSTED_CERTIFICATE_NOT_FOUND"},
		"a private key":             {func() error { return w.trust(t, "k", pki.keyPEM, "") }, "certificate PRIVATE_KEY_GIVEN"},
		"a certificate and its key": {func() error { return w.trust(t, "k", other.pem+pki.keyPEM, "") }, "certificate PRIVATE_KEY_GIVEN"},
		"two certificates":          {func() error { return w.trust(t, "k", other.pem+pki.leaf, "") }, "certificate INVALID_CLIENT_CERTIFICATES"},
		"no certificate": {func() error {
			return w.trust(t, "k", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "")
		}, "certificate INVALID_CLIENT_CERTIFICATES"},
		"a client's as a CA": {func() error {
			return w.trust(t, "k", asPEM("CERTIFICATE", other.issue("x", time.Now().Add(time.Hour)).Raw), "CA")
		}, "certificate INVALID_CLIENT_CERTIFICATES"},
		"one that is over": {func() error {
			return w.trust(t, "k", asPEM("CERTIFICATE", other.issue("x", time.Now().Add(-time.Hour)).Raw), "")
		}, "certificate CERTIFICATE_EXPIRED"},
		"one under another name": {func() error { return w.trust(t, "again", pki.pem, "") }, "certificate CERTIFICATE_TRUSTED"},
		"another of the name":    {func() error { return w.trust(t, "Clients", other.pem, "") }, "name NAME_TAKEN"},
		"a name of two lines":    {func() error { return w.trust(t, "a\nb", other.pem, "") }, "name MALFORMED_TEXT"},
		"no name":                {func() error { return w.trust(t, "", other.pem, "") }, "name MALFORMED_TEXT"},
	} {
		e := apiError(t, c.ask())
		if got := complaints(e); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
		if strings.Contains(e.Error(), "PRIVATE KEY") {
			t.Errorf("%s is repeated: %v", name, e)
		}
	}
	same(t, before, w.state(t))
	if log := w.log.String(); strings.Contains(log, pki.keyPEM[40:80]) {
		t.Error("the log has the private key")
	}

	// Without the CA nothing is left of what it issued, nor of what was revoked under it.
	if _, err := w.client.AddRevokedCertificate(ctx, id, api.AddRevokedCertificateRequest{TrustedID: ca.ID, Serial: "1F"}); err != nil {
		t.Fatal(err)
	}
	got, err = w.client.RemoveTrustedCertificate(ctx, id, ca.ID)
	is("removed", got, err)
	if rules := w.proxyRules(t).Certificates; len(rules.Trusted) != 1 || len(rules.Revoked) != 0 {
		t.Errorf("the gateway gets %+v", rules)
	}
	if _, err := w.client.RemoveTrustedCertificate(ctx, id, ca.ID); api.Reason(err) != "TRUSTED_CERTIFICATE_NOT_FOUND" {
		t.Errorf("removed again: %v", err)
	}

	// One that ends later is told to be over then.
	w.ahead(2 * time.Hour)
	list, err := w.client.TrustedCertificates(ctx, id)
	if err != nil || len(list) != 1 || !list[0].Expired {
		t.Errorf("two hours later: %+v, %v", list, err)
	}
	if cert, _ := pem.Decode([]byte(list[0].Certificate)); cert == nil {
		t.Error("it is not told in PEM")
	} else if _, err := x509.ParseCertificate(cert.Bytes); err != nil {
		t.Error(err)
	}
}

// trust has the world's cluster trust a certificate.
func (w *world) trust(t *testing.T, name, certificate, kind string) error {
	t.Helper()
	_, err := w.client.AddTrustedCertificate(t.Context(), w.cluster.ID, api.AddTrustedCertificateRequest{Name: name, Certificate: certificate, Kind: kind})
	return err
}

func TestRevokedCertificates(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id := w.cluster.ID
	if err := w.trust(t, "ca", authority().pem, ""); err != nil {
		t.Fatal(err)
	}
	list, err := w.client.TrustedCertificates(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	ca := list[0].ID
	revoke := func(serial, reason string) (api.RevokedCertificate, error) {
		return w.client.AddRevokedCertificate(ctx, id, api.AddRevokedCertificateRequest{TrustedID: ca, Serial: serial, Reason: reason})
	}
	first, err := revoke("00:0A:1b", "laptop lost")
	if err != nil || first.Serial != "a1b" || first.TrustedID != ca || first.Reason != "laptop lost" {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := revoke("0A1B", ""); err != nil || again != first {
		t.Errorf("again: %+v, %v", again, err)
	}
	second, err := revoke("ff", "")
	if err != nil {
		t.Fatal(err)
	}
	page, err := w.client.RevokedCertificates(ctx, id, api.Page{Limit: 1})
	if err != nil || !slices.Equal(page.RevokedCertificates, []api.RevokedCertificate{first}) || page.Pagination.NextPage == "" {
		t.Errorf("the first page: %+v, %v", page, err)
	}
	page, err = w.client.RevokedCertificates(ctx, id, api.Page{Token: page.Pagination.NextPage})
	if err != nil || !slices.Equal(page.RevokedCertificates, []api.RevokedCertificate{second}) || page.Pagination.NextPage != "" {
		t.Errorf("the second page: %+v, %v", page, err)
	}
	if got, err := w.client.RevokedCertificate(ctx, id, second.ID); err != nil || got != second {
		t.Errorf("one: %+v, %v", got, err)
	}
	before := w.state(t)
	for serial, want := range map[string]string{
		"": "serial MALFORMED_SERIAL", "0": "serial MALFORMED_SERIAL", "12 34": "serial MALFORMED_SERIAL", "0x1f": "serial MALFORMED_SERIAL", strings.Repeat("1", 65): "serial MALFORMED_SERIAL",
	} {
		if _, err := revoke(serial, ""); err == nil || !slices.Equal(complaints(apiError(t, err)), []string{want}) {
			t.Errorf("serial %q: %v", serial, err)
		}
	}
	if _, err := revoke("1", strings.Repeat("é", 201)); api.Reason(err) != "MALFORMED_TEXT" {
		t.Errorf("a long reason: %v", err)
	}
	_, err = w.client.AddRevokedCertificate(ctx, id, api.AddRevokedCertificateRequest{TrustedID: nobody, Serial: "1"})
	if e := apiError(t, err); e.Status != http.StatusBadRequest || !slices.Equal(complaints(e), []string{"trusted_id TRUSTED_CERTIFICATE_NOT_FOUND"}) {
		t.Errorf("of no CA: %v", err)
	}
	same(t, before, w.state(t))
	if got, err := w.client.RemoveRevokedCertificate(ctx, id, second.ID); err != nil || got != second {
		t.Errorf("removed: %+v, %v", got, err)
	}
	if _, err := w.client.RevokedCertificate(ctx, id, second.ID); api.Reason(err) != "REVOKED_CERTIFICATE_NOT_FOUND" {
		t.Errorf("after it was removed: %v", err)
	}
}
