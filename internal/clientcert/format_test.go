package clientcert

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

func armour(certs ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	root := newAuthority(t, "root", nil)
	leaf, other := root.issue(t, "Jürgen Müller+1@example.com/x=y"), root.issue(t, "other")
	text := armour(leaf)
	b64 := base64.StdEncoding.EncodeToString(leaf.Raw)
	otherB64 := base64.StdEncoding.EncodeToString(other.Raw)
	// apache writes lower hexadecimal, and leaves '+', '/' and '=' as they are.
	apache := strings.NewReplacer(" ", "%20", "\n", "%0a").Replace(text)
	nginx := strings.NewReplacer(" ", "%20", "\n", "%0A", "+", "%2B", "/", "%2F", "=", "%3D").Replace(text)
	var tooMany []string
	for range MaxChain + 2 {
		tooMany = append(tooMany, otherB64)
	}
	tests := []struct {
		name   string
		format Format
		values []string
		chain  int    // certificates above it
		says   string // empty: parsed, or none
		none   bool
	}{
		{name: "nginx", format: NGINX, values: []string{nginx}},
		{name: "nginx, as our encoder", format: NGINX, values: []string{Encode(NGINX, leaf)}},
		{name: "nginx, with space around", format: NGINX, values: []string{" " + nginx + "\t"}},
		{name: "nginx, none", format: NGINX, values: []string{""}, none: true},
		{name: "nginx, no header", format: NGINX, none: true},
		{name: "nginx, twice", format: NGINX, values: []string{nginx, nginx}, says: "more than once"},
		{name: "nginx, twice, of which one is empty", format: NGINX, values: []string{"", nginx}, says: "more than once"},
		{name: "nginx, by a list", format: NGINX, values: []string{nginx + ", " + nginx}, says: "not percent-encoded"},
		{name: "nginx, two certificates", format: NGINX, values: []string{nginx + Encode(NGINX, other)}, says: "more than one"},
		{name: "nginx, something behind", format: NGINX, values: []string{nginx + "x"}, says: "something else"},
		{name: "nginx, something before", format: NGINX, values: []string{"x%0A" + nginx}, says: "something else"},
		{name: "nginx, as a form has it", format: NGINX, values: []string{url.QueryEscape(text)}, says: "not percent-encoded"},
		{name: "nginx, as apache has it", format: NGINX, values: []string{apache}, says: "not percent-encoded"},
		{name: "nginx, half an escape", format: NGINX, values: []string{nginx + "%2"}, says: "percent-encoded"},
		{name: "nginx, a null in it", format: NGINX, values: []string{nginx + "%00"}, says: "something else"},
		{name: "nginx, too long", format: NGINX, values: []string{nginx + strings.Repeat("%0A", MaxHeader/3)}, says: "longer than"},
		{name: "nginx, not in PEM", format: NGINX, values: []string{"abc"}, says: "something else"},
		{name: "nginx, without an end", format: NGINX, values: []string{strings.Split(nginx, "-----END")[0]}, says: "no end"},
		{name: "nginx, a key", format: NGINX, values: []string{strings.ReplaceAll(nginx, "CERTIFICATE", "PRIVATE%20KEY")}, says: "something else"},
		{name: "nginx, with headers in PEM", format: NGINX, values: []string{strings.Replace(nginx, "-----%0A", "-----%0Aa%3A%20b%0A%0A", 1)}, says: "not base64"},
		{name: "nginx, broken before a whole one", format: NGINX, values: []string{"-----BEGIN%20CERTIFICATE-----%0Ax%0A-----END%20CERTIFICATE-----%0A" + nginx}, says: "not base64"},
		{name: "nginx, no DER", format: NGINX, values: []string{escape("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", &unreserved)}, says: "not one certificate"},
		{name: "nginx, DER with something behind", format: NGINX, values: []string{
			escape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(leaf.Raw[:len(leaf.Raw):len(leaf.Raw)], 0)})), &unreserved),
		}, says: "not one certificate"},

		{name: "apache", format: ApacheEscaped, values: []string{apache}},
		{name: "apache, as our encoder", format: ApacheEscaped, values: []string{Encode(ApacheEscaped, leaf)}},
		{name: "apache, none", format: ApacheEscaped, values: []string{""}, none: true},
		{name: "apache, not escaped", format: ApacheEscaped, values: []string{strings.ReplaceAll(text, "\n", " ")}, says: "not percent-encoded"},

		{name: "apache in PEM", format: ApachePEM, values: []string{strings.ReplaceAll(text, "\n", " ")}},
		{name: "apache in PEM, as our encoder", format: ApachePEM, values: []string{Encode(ApachePEM, leaf)}},
		{name: "apache in PEM, none", format: ApachePEM, values: []string{"(null)"}, none: true},
		{name: "apache in PEM, two", format: ApachePEM, values: []string{strings.ReplaceAll(text+text, "\n", " ")}, says: "more than one"},
		{name: "apache in PEM, escaped", format: ApachePEM, values: []string{apache}, says: "something else"},

		{name: "RFC 9440", format: RFC9440, values: []string{":" + b64 + ":"}},
		{name: "RFC 9440, as our encoder", format: RFC9440, values: []string{Encode(RFC9440, leaf)}},
		{name: "RFC 9440, none", format: RFC9440, values: []string{"::"}, none: true},
		{name: "RFC 9440, none, by Caddy", format: RFC9440, values: []string{caddyNone}, none: true},
		{name: "RFC 9440, another placeholder", format: RFC9440, values: []string{":{http.request.uri}:"}, says: "not base64"},
		{name: "RFC 9440, no header", format: RFC9440, none: true},
		{name: "RFC 9440, without colons", format: RFC9440, values: []string{b64}, says: "between colons"},
		{name: "RFC 9440, one colon", format: RFC9440, values: []string{":"}, says: "between colons"},
		{name: "RFC 9440, as a list", format: RFC9440, values: []string{":" + b64 + ":, :" + otherB64 + ":"}, says: "not base64"},
		{name: "RFC 9440, with a parameter", format: RFC9440, values: []string{":" + b64 + ":;a=1"}, says: "between colons"},
		{name: "RFC 9440, twice", format: RFC9440, values: []string{":" + b64 + ":", ":" + b64 + ":"}, says: "more than once"},
		{name: "RFC 9440, two in one", format: RFC9440, values: []string{":" + base64.StdEncoding.EncodeToString(append(leaf.Raw[:len(leaf.Raw):len(leaf.Raw)], other.Raw...)) + ":"}, says: "not one certificate"},

		{name: "traefik", format: Traefik, values: []string{b64}},
		{name: "traefik, as our encoder", format: Traefik, values: []string{Encode(Traefik, leaf)}},
		{name: "traefik, with a chain", format: Traefik, values: []string{b64 + "," + otherB64}, chain: 1},
		{name: "traefik, none", format: Traefik, values: []string{""}, none: true},
		{name: "traefik, an empty item", format: Traefik, values: []string{b64 + ","}, says: "not one certificate"},
		{name: "traefik, a newline", format: Traefik, values: []string{b64[:64] + "\n" + b64[64:]}, says: "not base64"},
		{name: "traefik, too long a chain", format: Traefik, values: []string{strings.Join(tooMany, ",")}, says: "more than 8"},

		{name: "envoy", format: Envoy, values: []string{`By=spiffe://x;Hash=00;Cert="` + nginx + `";Subject="CN=a,O=\"b;c\"";URI=;DNS=a;DNS=b`}},
		{name: "envoy, as our encoder", format: Envoy, values: []string{Encode(Envoy, leaf)}},
		{name: "envoy, keys in any case", format: Envoy, values: []string{`CERT="` + nginx + `"`}},
		{name: "envoy, not quoted", format: Envoy, values: []string{`Cert=` + nginx}},
		{name: "envoy, with a chain", format: Envoy, values: []string{`Cert="` + nginx + `";Chain="` + nginx + escape(armour(other), &unreserved) + `"`}, chain: 1},
		{name: "envoy, a chain alone", format: Envoy, values: []string{`Hash=00;Chain="` + nginx + escape(armour(other, root.cert), &unreserved) + `"`}, chain: 2},
		{name: "envoy, a chain of another", format: Envoy, values: []string{`Cert="` + nginx + `";Chain="` + escape(armour(other), &unreserved) + `"`}, says: "does not begin"},
		{name: "envoy, none", format: Envoy, values: []string{""}, none: true},
		{name: "envoy, a hash alone", format: Envoy, values: []string{`Hash=00`}, says: "neither Cert nor Chain"},
		{name: "envoy, empty", format: Envoy, values: []string{`Cert=""`}, says: "not one certificate"},
		{name: "envoy, two certificates", format: Envoy, values: []string{`Cert="` + nginx + `";Cert="` + nginx + `"`}, says: "more than one"},
		{name: "envoy, two in Cert", format: Envoy, values: []string{`Cert="` + nginx + nginx + `"`}, says: "not one certificate"},
		{name: "envoy, two elements", format: Envoy, values: []string{`Hash=00,Cert="` + nginx + `"`}, says: "more than one element"},
		{name: "envoy, the client's element first", format: Envoy, values: []string{`Cert="` + nginx + `",By=x`}, says: "more than one element"},
		{name: "envoy, a certificate within a subject", format: Envoy, values: []string{`Subject="x\";Cert=` + nginx + `"`}, says: "neither Cert nor Chain"},
		{name: "envoy, a quote that does not end", format: Envoy, values: []string{`Cert="` + nginx}, says: "no end"},
		{name: "envoy, an escape at the end", format: Envoy, values: []string{`Subject="x\`}, says: "no end"},
		{name: "envoy, a quote in a value", format: Envoy, values: []string{`Subject=a"b;Cert=` + nginx}, says: "more than one element"},
		{name: "envoy, an unknown key", format: Envoy, values: []string{`Cert=` + nginx + `;X=1`}, says: "does not write"},
		{name: "envoy, no keys", format: Envoy, values: []string{nginx}, says: "keys and values"},
		{name: "envoy, a separator at the end", format: Envoy, values: []string{`Cert=` + nginx + `;`}, says: "keys and values"},

		{name: "ALB", format: ALB, values: []string{apache}},
		{name: "ALB, with a chain", format: ALB, values: []string{Encode(ALB, leaf) + escape(armour(other), &mostlyRaw)}, chain: 1},
		{name: "ALB, none", format: ALB, values: nil, none: true},

		{name: "no format", format: "", values: []string{nginx}, says: "no such format"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, chain, err := Parse(tt.format, tt.values)
			switch {
			case tt.says != "":
				e, ok := errors.AsType[*link.Error](err)
				if !ok || got != nil || chain != nil || e.Kind != link.Invalid || e.Reason != "CLIENT_CERTIFICATE_MALFORMED" || !strings.Contains(e.Message, tt.says) {
					t.Errorf("%v, %v, %v; want it to say %q", got != nil, len(chain), err, tt.says)
				}
			case tt.none:
				if got != nil || chain != nil || err != nil {
					t.Errorf("%v, %v, %v", got != nil, len(chain), err)
				}
			case err != nil || !leaf.Equal(got) || len(chain) != tt.chain:
				t.Errorf("%v, %d above it, %v", leaf.Equal(got), len(chain), err)
			}
		})
	}
}

func TestParseChain(t *testing.T) {
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	m, r := Encode(RFC9440, middle.cert), Encode(RFC9440, root.cert)
	for name, tt := range map[string]struct {
		values []string
		want   int
		wrong  bool
	}{
		"none":               {nil, 0, false},
		"empty":              {[]string{" "}, 0, false},
		"one":                {[]string{m}, 1, false},
		"two":                {[]string{m + ", " + r}, 2, false},
		"two lines":          {[]string{m, r}, 2, false},
		"an empty item":      {[]string{m + ",,"}, 0, true},
		"an empty sequence":  {[]string{"::"}, 0, true},
		"no sequence":        {[]string{"abc"}, 0, true},
		"too many":           {[]string{strings.Repeat(m+",", MaxChain) + m}, 0, true},
		"as many as may be":  {[]string{strings.Repeat(m+",", MaxChain-1) + m}, MaxChain, false},
		"too long":           {[]string{m + strings.Repeat(" ", MaxHeader)}, 0, true},
		"too long, by lines": {[]string{m, strings.Repeat(" ", MaxHeader)}, 0, true},
	} {
		if chain, err := ParseChain(tt.values); len(chain) != tt.want || (err != nil) != tt.wrong {
			t.Errorf("%s: %d certificates, %v", name, len(chain), err)
		}
	}
}

func TestHeaderOfFormat(t *testing.T) {
	for _, f := range Formats {
		if f.Header() == "" {
			t.Errorf("%s has no header", f)
		}
		known := false
		for _, h := range link.CertificateHeaders {
			known = known || strings.EqualFold(h, f.Header())
		}
		if !known {
			t.Errorf("%s, of %s, is not among those that a client's own are dropped of", f.Header(), f)
		}
	}
	if Format("").Header() != "" {
		t.Error("no format has a header")
	}
}

// FuzzParse: what is parsed of a format comes out the same when it is written and parsed again, and no error repeats what
// was sent.
func FuzzParse(f *testing.F) {
	root := newAuthority(f, "root", nil)
	leaf := root.issue(f, "alice@example.com")
	for i, format := range Formats {
		f.Add(uint8(i), Encode(format, leaf))
		f.Add(uint8(i), "")
	}
	f.Add(uint8(2), "(null)")
	f.Add(uint8(3), "::")
	f.Add(uint8(4), Encode(Traefik, leaf)+","+Encode(Traefik, root.cert))
	f.Add(uint8(5), `By=x;Hash=0a;Subject="CN=\"a\",O=b";`+Encode(Envoy, leaf)+`;Chain="`+escape(armour(leaf, root.cert), &unreserved)+`"`)
	f.Add(uint8(6), escape(armour(leaf, root.cert), &mostlyRaw))
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		format := Formats[int(which)%len(Formats)]
		got, chain, err := Parse(format, []string{value})
		switch {
		case err != nil:
			if got != nil || chain != nil {
				t.Fatal("an error with a certificate")
			}
		case got == nil:
			if len(chain) > 0 {
				t.Fatal("a chain of nothing")
			}
		default:
			again, _, err := Parse(format, []string{Encode(format, got)})
			if err != nil || !got.Equal(again) || len(chain) > MaxChain {
				t.Fatalf("%v, %v", err, got.Equal(again))
			}
		}
		_, _ = ParseChain([]string{value})
	})
}
