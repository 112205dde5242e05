package clientcert

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

func TestCheck(t *testing.T) {
	good := func() link.ClientCertificates {
		return link.ClientCertificates{
			Mode: link.CertificatesRequired, Identity: []link.IdentitySource{link.IdentityEmail, link.IdentitySubjectCN}, Expression: documented,
			Samples: []link.IdentitySample{{Text: "myuser@example.com", Want: "myuser"}, {Text: "a@b@c", Want: "a"}, {Text: "üser@x", Want: "üser"}, {Text: "myuser", Want: ""}},
			Users:   link.Users{Listed: true, Names: []string{"alice"}, Disabled: []string{"bob"}},
			OCSP:    true, Responders: []string{"ocsp.example.com", "ocsp.example.com:8080", "192.0.2.1", "[2001:db8::1]:80", "localhost"},
		}
	}
	tests := []struct {
		name   string
		change func(*link.ClientCertificates)
		fields string
	}{
		{"good", func(*link.ClientCertificates) {}, ""},
		{"nothing", func(c *link.ClientCertificates) { *c = link.ClientCertificates{} }, ""},
		{"a mode", func(c *link.ClientCertificates) { c.Mode = "required" }, "mode"},
		{"a source", func(c *link.ClientCertificates) { c.Identity[1] = "subject.o" }, "identity[1]"},
		{"a source twice", func(c *link.ClientCertificates) { c.Identity[1] = link.IdentityEmail }, "identity[1]"},
		{"an expression", func(c *link.ClientCertificates) { c.Expression = "(" }, "expression"},
		{"a sample", func(c *link.ClientCertificates) { c.Samples[1].Want = "a@b" }, "samples[1].want"},
		{"a sample that ought to find", func(c *link.ClientCertificates) { c.Samples[3].Want = "myuser" }, "samples[3].want"},
		{"a sample that ought not", func(c *link.ClientCertificates) { c.Samples[0].Want = "" }, "samples[0].want"},
		{"a sample that takes too long", func(c *link.ClientCertificates) {
			c.Expression, c.Samples = `^(a+)+(?=@)`, []link.IdentitySample{{Text: strings.Repeat("a", 100)}}
		}, "samples[0].text"},
		{"samples", func(c *link.ClientCertificates) { c.Samples = make([]link.IdentitySample, MaxSamples+1) }, "samples"},
		{"a user", func(c *link.ClientCertificates) { c.Users.Names[0] = "alice\n" }, "users.names[0]"},
		{"a disabled user", func(c *link.ClientCertificates) { c.Users.Disabled[0] = "" }, "users.disabled[0]"},
		{"names without a list", func(c *link.ClientCertificates) { c.Users.Listed = false }, "users.names"},
		{"users", func(c *link.ClientCertificates) { c.Users.Disabled = make([]string, MaxUsers+1) }, "users.disabled"},
		{"no responders", func(c *link.ClientCertificates) { c.Responders = nil }, "responders"},
		{"many responders", func(c *link.ClientCertificates) {
			c.Responders = nil
			for range MaxResponders + 1 {
				c.Responders = append(c.Responders, "a")
			}
		}, "responders"},
		{"responders that are none", func(c *link.ClientCertificates) {
			c.Responders = []string{
				"", "http://a", "A.example", "a.example.", "a:0", "a:080", "a:65536", "a:", ":80", "*.example", "a..b", "[192.0.2.1]",
				"[::1", "2001:db8::1", "[fe80::1%eth0]", "a/b", "user@a", strings.Repeat("a", 64),
			}
		}, strings.TrimSpace(strings.Repeat("responders[#] ", 18))},
		{"everything", func(c *link.ClientCertificates) {
			c.Mode, c.Identity[0], c.Samples[0].Want, c.Users.Names[0], c.Responders[0] = "x", "x", "x", "", ""
		}, "mode identity[0] samples[0].want users.names[0] responders[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(&c)
			var fields []string
			for i, e := range Check(c) {
				if e.Kind != link.Invalid || e.Reason == "" || e.Message == "" || e.Hint == "" {
					t.Errorf("%+v", e)
				}
				f := e.Field
				if tt.fields != "" && strings.Contains(tt.fields, "#") {
					if want := "responders[" + strconv.Itoa(i) + "]"; f != want {
						t.Errorf("%s, want %s", f, want)
					}
					f = "responders[#]"
				}
				fields = append(fields, f)
			}
			if diff := cmp.Diff(tt.fields, strings.Join(fields, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadCertificate(t *testing.T) {
	root := newAuthority(t, "root", nil)
	armoured := armour(root.cert)
	key, err := x509.MarshalPKCS8PrivateKey(root.key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	for name, tt := range map[string]struct{ data, says string }{
		"DER":                            {string(root.cert.Raw), ""},
		"PEM":                            {armoured, ""},
		"PEM, with openssl's text first": {"Certificate:\n    Data:\n" + armoured, ""},
		"two":                            {armoured + armoured, "more than one"},
		"with its key":                   {armoured + private, "private key"},
		"a key":                          {private, "private key"},
		"an encrypted key":               {strings.ReplaceAll(private, "PRIVATE", "ENCRYPTED PRIVATE"), "private key"},
		"a request":                      {strings.ReplaceAll(armoured, "CERTIFICATE", "CERTIFICATE REQUEST"), "not certificate in PEM"},
		"cut":                            {armoured[:len(armoured)/2], "not certificate in PEM"},
		"nothing":                        {"", "not a certificate"},
		"DER with something behind":      {string(root.cert.Raw) + "x", "not a certificate"},
	} {
		got, err := ReadCertificate([]byte(tt.data))
		if tt.says == "" {
			if err != nil || !root.cert.Equal(got) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		e, ok := errors.AsType[*link.Error](err)
		if !ok || got != nil || e.Field != "certificate" || !strings.Contains(e.Message, tt.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, tt.says)
		}
		if strings.Contains(tt.data, "PRIVATE KEY") && e.Reason != "PRIVATE_KEY_GIVEN" {
			t.Errorf("%s: %s", name, e.Reason)
		}
	}
}

func TestCheckTrusted(t *testing.T) {
	root := newAuthority(t, "root", nil)
	leaf := root.issue(t, "leaf")
	mute := newAuthority(t, "mute", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	for _, tt := range []struct {
		kind  link.TrustKind
		cert  *x509.Certificate
		field string
	}{
		{link.TrustCA, root.cert, ""},
		{link.TrustCA, newAuthority(t, "middle", root).cert, ""},
		{link.TrustCA, newAuthority(t, "x", nil, func(c *x509.Certificate) { c.KeyUsage = 0 }).cert, ""},
		{link.TrustLeaf, leaf, ""},
		{link.TrustCA, leaf, "certificate"},
		{link.TrustCA, mute.cert, "certificate"},
		{"", leaf, "kind"},
		{"ca", root.cert, "kind"},
	} {
		err := CheckTrusted(tt.kind, tt.cert)
		if (err == nil) != (tt.field == "") || err != nil && (err.Field != tt.field || err.Hint == "") {
			t.Errorf("%q, %s: %+v", tt.kind, tt.cert.Subject, err)
		}
	}
}
