package clientcert

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Format is how a proxy writes a client's certificate into a header. A listener expects exactly one.
type Format string

// The formats, by who writes them.
const (
	// NGINX is $ssl_client_escaped_cert: PEM, every byte percent-encoded that is not unreserved in a URI.
	NGINX Format = "nginx"
	// ApacheEscaped is %{escape:%{SSL_CLIENT_CERT}}: PEM, percent-encoded but for '+', '/' and '='.
	ApacheEscaped Format = "apache-escaped"
	// ApachePEM is %{SSL_CLIENT_CERT}s: PEM with spaces for newlines.
	ApachePEM Format = "apache-pem"
	// RFC9440 is Client-Cert of RFC 9440: base64 of the DER between colons, which HAProxy and Caddy can be made to write.
	RFC9440 Format = "rfc9440"
	// Traefik is passTLSClientCert with pem: base64 of the DER, the chain after it separated by commas.
	Traefik Format = "traefik"
	// Envoy is x-forwarded-client-cert: pairs of key and value, of which Cert and Chain are percent-encoded PEM.
	Envoy Format = "envoy"
	// ALB is X-Amzn-Mtls-Clientcert of AWS load balancers that pass certificates through: the chain as PEM,
	// percent-encoded but for '+', '/' and '='.
	ALB Format = "aws-alb"
)

// Formats are all formats.
var Formats = []Format{NGINX, ApacheEscaped, ApachePEM, RFC9440, Traefik, Envoy, ALB}

// Header is the header by which the format comes, unless it is configured otherwise. It is empty for what is no format.
func (f Format) Header() string {
	switch f {
	case NGINX, ApacheEscaped, ApachePEM:
		return "X-Jfrog-Client-Cert"
	case RFC9440:
		return "Client-Cert"
	case Traefik:
		return "X-Forwarded-Tls-Client-Cert"
	case Envoy:
		return "X-Forwarded-Client-Cert"
	case ALB:
		return "X-Amzn-Mtls-Clientcert"
	}
	return ""
}

// ChainHeader is the header by which RFC 9440 tells the certificates above the client's.
const ChainHeader = "Client-Cert-Chain"

// The limits of what is read.
const (
	MaxHeader = 16 << 10 // bytes of a header's value
	MaxChain  = 8        // certificates above the client's
)

const (
	pemBegin = "-----BEGIN CERTIFICATE-----"
	pemEnd   = "-----END CERTIFICATE-----"
)

// Parse reads the certificate that a proxy wrote into a header, of which values are the lines: nil and no error when there
// is none. The formats with a chain return it, without the leaf, in the order in which it came. Nothing is verified here.
// The error, a *link.Error of kind Invalid with reason CLIENT_CERTIFICATE_MALFORMED, repeats nothing of the values.
func Parse(f Format, values []string) (leaf *x509.Certificate, chain []*x509.Certificate, err error) {
	text, err := sole(values)
	if err != nil || text == "" {
		return nil, nil, err
	}
	var found []*x509.Certificate
	switch f {
	case NGINX:
		found, err = parseEscaped(text, &unreserved)
	case ApacheEscaped, ALB:
		found, err = parseEscaped(text, &mostlyRaw)
	case ApachePEM:
		if text == "(null)" { // which mod_headers writes of a variable that is not set
			return nil, nil, nil
		}
		found, err = parsePEM(text)
	case RFC9440:
		found, err = parseByteSequence(text)
	case Traefik:
		for item := range strings.SplitSeq(text, ",") {
			if found, err = parseBase64(found, item); err != nil {
				break
			}
		}
	case Envoy:
		found, err = parseEnvoy(text)
	default:
		return nil, nil, malformed("there is no such format of a certificate's header", nil)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case len(found) == 0:
		return nil, nil, nil
	case len(found) > 1 && f != Traefik && f != Envoy && f != ALB:
		return nil, nil, malformed("there is more than one certificate", nil)
	case len(found)-1 > MaxChain:
		return nil, nil, malformed(fmt.Sprintf("there are more than %d certificates above the client's", MaxChain), nil)
	}
	return found[0], found[1:], nil
}

// ParseChain reads Client-Cert-Chain, of which values are the lines: certificates in the order in which they came, as
// RFC 9440, section 2.3, has it. Several lines are one list.
func ParseChain(values []string) ([]*x509.Certificate, error) {
	list := strings.Join(values, ",")
	if len(list) > MaxHeader {
		return nil, tooLong()
	}
	if strings.Trim(list, " \t") == "" {
		return nil, nil
	}
	var chain []*x509.Certificate
	for item := range strings.SplitSeq(list, ",") {
		one, err := parseByteSequence(strings.Trim(item, " \t"))
		if err != nil {
			return nil, err
		}
		if len(one) == 0 {
			return nil, malformed("an item of the chain is empty", nil)
		}
		if chain = append(chain, one...); len(chain) > MaxChain {
			return nil, malformed(fmt.Sprintf("there are more than %d certificates above the client's", MaxChain), nil)
		}
	}
	return chain, nil
}

// Encode writes a certificate as the proxy of a format does; as the empty format it is NGINX. Of Envoy it writes Cert
// alone.
func Encode(f Format, cert *x509.Certificate) string {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	switch f {
	case ApacheEscaped, ALB:
		return escape(text, &mostlyRaw)
	case ApachePEM:
		return strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", " ")
	case RFC9440:
		return ":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":"
	case Traefik:
		return base64.StdEncoding.EncodeToString(cert.Raw)
	case Envoy:
		return `Cert="` + escape(text, &unreserved) + `"`
	default:
		return escape(text, &unreserved)
	}
}

// sole returns the value of a header that may come once.
func sole(values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", malformed("the header comes more than once", nil)
	case len(values[0]) > MaxHeader:
		return "", tooLong()
	}
	return strings.Trim(values[0], " \t"), nil
}

// byteSet holds the bytes that stand for themselves where others are percent-encoded.
type byteSet [256]bool

func bytesOf(s string) (set byteSet) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}

// letters are the bytes that no proxy encodes in a URI: the unreserved of RFC 3986, section 2.3.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

var (
	unreserved = bytesOf(letters)
	mostlyRaw  = bytesOf(letters + "+/=") // as Apache and AWS leave them
)

// parseEscaped reads percent-encoded PEM in which nothing but the bytes of plain stands for itself. A '+' is itself and
// never a space, as it would be in a form.
func parseEscaped(text string, plain *byteSet) ([]*x509.Certificate, error) {
	for i := range len(text) {
		if text[i] != '%' && !plain[text[i]] {
			return nil, malformed("the header has bytes that are not percent-encoded", nil)
		}
	}
	decoded, err := url.PathUnescape(text)
	if err != nil {
		return nil, malformed("the header is not percent-encoded", nil)
	}
	return parsePEM(decoded)
}

func escape(text string, plain *byteSet) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/8)
	for i := range len(text) {
		if plain[text[i]] {
			b.WriteByte(text[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", text[i])
		}
	}
	return b.String()
}

// parsePEM reads certificates in PEM with nothing between them but white space. Package pem is not strict enough for
// this: it skips what it cannot read, and takes the next block that it can.
func parsePEM(text string) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for rest := strings.Trim(text, pemSpace); rest != ""; rest = strings.TrimLeft(rest, pemSpace) {
		body, ok := strings.CutPrefix(rest, pemBegin)
		if !ok {
			return nil, malformed("there is something else than a certificate in PEM", nil)
		}
		body, rest, ok = strings.Cut(body, pemEnd)
		if !ok {
			return nil, malformed("a certificate in PEM has no end", nil)
		}
		var err error
		if found, err = parseBase64(found, withoutSpace.Replace(body)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

const pemSpace = " \t\r\n"

var withoutSpace = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")

// caddyNone is what Caddy writes of ":{…}:" where there is no certificate: a placeholder that is not set stays as it is.
const caddyNone = ":{http.request.tls.client.certificate_der_base64}:"

// parseByteSequence reads a byte sequence of RFC 8941; an empty one is no certificate.
func parseByteSequence(text string) ([]*x509.Certificate, error) {
	if len(text) < 2 || text[0] != ':' || text[len(text)-1] != ':' {
		return nil, malformed("the header is not base64 between colons", nil)
	}
	if text == "::" || text == caddyNone {
		return nil, nil
	}
	return parseBase64(nil, text[1:len(text)-1])
}

// parseBase64 adds the certificate in text to those found.
func parseBase64(found []*x509.Certificate, text string) ([]*x509.Certificate, error) {
	// The decoder skips newlines, which no format has here.
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, malformed("the certificate is not base64", nil)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("this is not one certificate in DER", err)
	}
	return append(found, cert), nil
}

func malformed(message string, err error) *link.Error {
	return &link.Error{
		Kind: link.Invalid, Reason: ReasonCertificateMalformed, Message: message, Err: err,
		Hint: "see which format the proxy in front writes the client's certificate in, and that it replaces the client's own header",
	}
}

func tooLong() *link.Error {
	return malformed(fmt.Sprintf("the header is longer than %d bytes", MaxHeader), nil)
}

// parseEnvoy reads x-forwarded-client-cert as the proxy nearest to us writes it: one element, since a list would be what
// the client or another proxy had sent before it. Its Chain begins with the client's certificate.
func parseEnvoy(text string) ([]*x509.Certificate, error) {
	pairs, err := envoyPairs(text)
	if err != nil {
		return nil, err
	}
	var leaf, chain []*x509.Certificate
	seen := map[string]bool{}
	for _, p := range pairs {
		switch p.key {
		case "cert", "chain":
			if seen[p.key] {
				return nil, malformed("there is more than one certificate", nil)
			}
			seen[p.key] = true
			certs, err := parseEscaped(p.value, &unreserved)
			if err != nil {
				return nil, err
			}
			if p.key == "chain" {
				chain = certs
			} else if leaf = certs; len(leaf) != 1 {
				return nil, malformed("Cert is not one certificate", nil)
			}
		case "hash", "subject", "uri", "dns", "by", "issuer":
		default:
			return nil, malformed("there is a key that Envoy does not write", nil)
		}
	}
	switch {
	case len(leaf) == 0 && len(chain) == 0:
		return nil, malformed("there is neither Cert nor Chain: have Envoy set them", nil)
	case len(leaf) == 0:
		return chain, nil
	case len(chain) == 0:
		return leaf, nil
	case !bytes.Equal(leaf[0].Raw, chain[0].Raw):
		return nil, malformed("Chain does not begin with Cert", nil)
	}
	return chain, nil
}

type envoyPair struct{ key, value string } // the key in lower case

// envoyPairs splits one element of x-forwarded-client-cert: key=value with ';' between, a value with ',', ';' or '=' in
// double quotes, in which '\' stands before a '"' that is part of it.
func envoyPairs(text string) ([]envoyPair, error) {
	var pairs []envoyPair
	for rest, more := text, true; more; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, `",;`) {
			return nil, malformed("this is not a list of keys and values", nil)
		}
		value, tail := after, ""
		if strings.HasPrefix(after, `"`) {
			end := 1
			for end < len(after) && after[end] != '"' {
				if after[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(after) {
				return nil, malformed("a quoted value has no end", nil)
			}
			value, tail = strings.ReplaceAll(after[1:end], `\"`, `"`), after[end+1:]
		} else if i := strings.IndexAny(after, `;,"`); i >= 0 {
			value, tail = after[:i], after[i:]
		}
		if tail != "" && tail[0] != ';' {
			return nil, malformed("there is more than one element", nil)
		}
		pairs = append(pairs, envoyPair{strings.ToLower(key), value})
		rest, more = strings.CutPrefix(tail, ";")
	}
	return pairs, nil
}
