package clientcert

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Reasons of mistakes in settings.
const (
	ReasonInvalid     = "INVALID_CLIENT_CERTIFICATES"
	ReasonPrivateKey  = "PRIVATE_KEY_GIVEN"
	ReasonNumberLower = "CRL_NUMBER_LOWER"
)

func invalid(field, message, hint string, cause error) *link.Error {
	return &link.Error{Kind: link.Invalid, Reason: ReasonInvalid, Field: field, Message: message, Hint: hint, Err: cause}
}

// The limits of settings.
const (
	MaxSamples    = 32
	MaxResponders = 32
	MaxUsers      = 100_000 // of each list
)

// Check returns everything that is wrong with settings but for their trusted and revoked certificates, which are entries
// of their own (see CheckTrusted and AcceptCRL); nil when they are good. Fields are in the words of the REST API. The
// samples are tried.
func Check(c link.ClientCertificates) []*link.Error {
	var wrong []*link.Error
	add := func(field, message, hint string) { wrong = append(wrong, invalid(field, message, hint, nil)) }
	modes := []link.CertificateMode{"", link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired}
	if !slices.Contains(modes, c.Mode) {
		add("mode", fmt.Sprintf("%q is not a mode", c.Mode), "it is OFF, OPTIONAL or REQUIRED")
	}
	for i, s := range c.Identity {
		if field := fmt.Sprintf("identity[%d]", i); !slices.Contains(sources, s) {
			add(field, fmt.Sprintf("%q is not a part of a certificate that names a user", s), "it is subject.cn, san.email, san.uri or san.dns")
		} else if slices.Index(c.Identity, s) < i {
			add(field, fmt.Sprintf("%s is there twice", s), "name each part once, in the order in which they count")
		}
	}
	wrong = append(wrong, checkSamples(c)...)
	wrong = append(wrong, checkUsers("users.names", c.Users.Names)...)
	wrong = append(wrong, checkUsers("users.disabled", c.Users.Disabled)...)
	if len(c.Users.Names) > 0 && !c.Users.Listed {
		add("users.names", "there are names, though every user is known", "set users.listed, or leave the names out")
	}
	if c.OCSP && len(c.Responders) == 0 {
		add("responders", "nobody may be asked", "name the hosts of the CA's responders, or turn ocsp off")
	}
	if len(c.Responders) > MaxResponders {
		add("responders", fmt.Sprintf("there are more than %d responders", MaxResponders), "name the hosts alone")
	}
	for i, r := range c.Responders {
		if !isResponder(r) {
			add(fmt.Sprintf("responders[%d]", i), fmt.Sprintf("%q is not a host", r),
				"give the exact name or address, in lower case, with :PORT when it is neither 80 for http nor 443 for https")
		}
	}
	return wrong
}

func checkSamples(c link.ClientCertificates) []*link.Error {
	expression, err := CompileExpression(c.Expression)
	if err != nil {
		return []*link.Error{err}
	}
	var wrong []*link.Error
	if len(c.Samples) > MaxSamples {
		wrong = append(wrong, invalid("samples", fmt.Sprintf("there are more than %d samples", MaxSamples), "leave some out", nil))
	}
	for i, s := range c.Samples[:min(len(c.Samples), MaxSamples)] {
		field := fmt.Sprintf("samples[%d]", i)
		got, err := expression.User(s.Text)
		switch {
		case err != nil:
			wrong = append(wrong, invalid(field+".text", "the expression takes too long for this text", "write it without nested repetition", nil))
		case got != s.Want && got == "":
			wrong = append(wrong, invalid(field+".want", "the expression finds no user in this text", "correct the expression or the sample", nil))
		case got != s.Want:
			wrong = append(wrong, invalid(field+".want", fmt.Sprintf("the expression finds %q in this text", got), "correct the expression or the sample", nil))
		}
	}
	return wrong
}

func checkUsers(field string, names []string) []*link.Error {
	if len(names) > MaxUsers {
		return []*link.Error{invalid(field, fmt.Sprintf("there are more than %d users", MaxUsers), "leave the list out and let the application say whom it knows", nil)}
	}
	var wrong []*link.Error
	for i, n := range names {
		if !isUser(n) {
			wrong = append(wrong, invalid(fmt.Sprintf("%s[%d]", field, i), "this is not a user's name",
				fmt.Sprintf("a name has 1 to %d bytes, no control characters and no space around it", MaxName), nil))
		}
	}
	return wrong
}

// isResponder reports whether s is a host, in lower case, or one with a port.
func isResponder(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 || s[i+1] == '0' {
			return false
		}
		host = s[:i]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && strings.HasSuffix(inner, "]")
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// ReadCertificate reads the one certificate in PEM or DER that somebody gives to be trusted. The error is a *link.Error
// with the field certificate; a private key beside it is refused and not repeated.
func ReadCertificate(data []byte) (*x509.Certificate, error) {
	const hint = "give one certificate, in PEM or DER"
	der, err := derOf(data, "CERTIFICATE")
	if err != nil {
		err.Field = "certificate"
		return nil, err
	}
	cert, parseErr := x509.ParseCertificate(der)
	if parseErr != nil {
		return nil, invalid("certificate", "this is not a certificate", hint, parseErr)
	}
	return cert, nil
}

// derOf returns the one block of a kind in PEM, or data itself when it is no PEM.
func derOf(data []byte, kind string) ([]byte, *link.Error) {
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: ReasonPrivateKey, Message: "there is a private key in it, which nobody but its owner may have",
			Hint: "give the certificate alone, and have a new key made if this one has left its owner's hands; it was not stored",
		}
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		return data, nil
	}
	block, _ := pem.Decode(data)
	switch {
	case block == nil || block.Type != kind:
		return nil, invalid("", "this is not "+strings.ToLower(kind)+" in PEM", "see whether the whole of it was copied", nil)
	case bytes.Count(data, []byte("-----BEGIN ")) > 1:
		return nil, invalid("", "there is more than one block in it", "give one; of a chain, the CA that is to be trusted", nil)
	}
	return block.Bytes, nil
}

// CheckTrusted says what keeps a certificate from being trusted as the kind, nil when nothing does. That it has run out is
// no mistake here: it vouches for nobody then. The field is certificate or kind.
func CheckTrusted(kind link.TrustKind, cert *x509.Certificate) *link.Error {
	switch {
	case kind != link.TrustCA && kind != link.TrustLeaf:
		return invalid("kind", fmt.Sprintf("%q is not a kind of trust", kind), "it is CA or LEAF", nil)
	case len(cert.UnhandledCriticalExtensions) > 0:
		return invalid("certificate", fmt.Sprintf("it has the critical extension %s, which is not understood", cert.UnhandledCriticalExtensions[0]),
			"whatever it forbids could not be kept; give another certificate", nil)
	case kind == link.TrustLeaf:
		return nil
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return invalid("certificate", "it is not a CA's", "give the CA's certificate, or trust this one alone with the kind LEAF", nil)
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return invalid("certificate", "its key may not sign certificates", "give the CA that issues the clients' certificates", nil)
	case cert.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm:
		return invalid("certificate", "its key is of an unknown kind", "RSA, ECDSA and Ed25519 are known", nil)
	}
	return nil
}
