package clientcert

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// mostRSABits bounds the keys of certificates that clients bring: verifying with a key as long as a message permits takes
// so long that one handshake would be an attack.
const mostRSABits = 8192

// Trust is whose certificates a cluster's clients may show, ready to be asked. It does not change. A nil Trust requires a
// certificate and trusts nobody.
type Trust struct {
	mode       link.CertificateMode
	authority  map[[sha256.Size]byte]*entry // by the certificate
	pinned     map[[sha256.Size]byte]*entry
	roots      *x509.CertPool
	ocsp       bool
	responders []string
	identity   identifier
}

// entry is a trusted certificate, and what it is known to have revoked.
type entry struct {
	id      link.ID
	name    string
	serials map[string]bool // revoked by settings, as Serial has them
	lists   []*revocationList
}

// Compile makes a Trust of settings. The error joins a *link.Error for every mistake that keeps them from being acted by;
// Check finds more.
func Compile(c link.ClientCertificates) (*Trust, error) {
	t := &Trust{
		mode: c.Mode, authority: map[[sha256.Size]byte]*entry{}, pinned: map[[sha256.Size]byte]*entry{}, roots: x509.NewCertPool(),
		ocsp: c.OCSP, responders: c.Responders,
	}
	var wrong []error
	var err error
	if t.identity, err = newIdentifier(c); err != nil {
		wrong = append(wrong, err)
	}
	byID := map[link.ID]*entry{}
	for i, given := range c.Trusted {
		field := fmt.Sprintf("trusted[%d]", i)
		cert, err := x509.ParseCertificate(given.DER)
		if err != nil {
			wrong = append(wrong, invalid(field, "this is not a certificate", "give one certificate", err))
			continue
		}
		if mistake := CheckTrusted(given.Kind, cert); mistake != nil {
			mistake.Field = field
			wrong = append(wrong, mistake)
			continue
		}
		sum := sha256.Sum256(cert.Raw)
		entries := t.authority
		if given.Kind == link.TrustLeaf {
			entries = t.pinned
		} else {
			t.roots.AddCert(cert)
		}
		if entries[sum] == nil { // what is there twice counts once, with the revocations of both
			entries[sum] = &entry{id: given.ID, name: given.Name, serials: map[string]bool{}}
		}
		byID[given.ID] = entries[sum]
		if given.CRL == nil {
			continue
		}
		list, err := readList(cert, given.CRL)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		entries[sum].lists = append(entries[sum].lists, list)
	}
	for _, r := range c.Revoked {
		if e := byID[r.TrustedID]; e != nil {
			e.serials[r.Serial] = true
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return t, nil
}

// Mode is whether clients show certificates.
func (t *Trust) Mode() link.CertificateMode {
	switch {
	case t == nil:
		return link.CertificatesRequired
	case t.mode == "":
		return link.CertificatesOff
	}
	return t.mode
}

// Verified is what a Trust found out about a certificate: all that stays the same from one request of a flow to the next.
// The zero value is of a client that showed none. Who asks a header for the certificate says itself when that is
// Malformed.
type Verified struct {
	Standing Standing
	Leaf     *x509.Certificate // nil of Absent and Malformed
	Detail   string            // for the operator: what is wrong, or through whom it is trusted

	// Of a trusted certificate alone.
	TrustedID   link.ID // the entry that vouches for it
	TrustedName string
	From, Until time.Time // when what vouches for it and it itself are valid
	Identity    Identity
	User        string // that it names; of UnknownUser and KnownUser
	// Question is what has to be asked of a responder, nil when nobody has to be: OCSP is off, or it is pinned.
	Question *Question

	by      *Trust
	watched []watched
}

// Question is what is asked of a responder: whether the issuer revoked the leaf.
type Question struct {
	Leaf, Issuer *x509.Certificate
	URL          string // of the responder; empty when the certificate names none that may be asked, so that nothing is known

	key [sha256.Size]byte
}

// Key tells questions apart.
func (q Question) Key() [sha256.Size]byte {
	if q.key != [sha256.Size]byte{} {
		return q.key
	}
	leaf, issuer := sha256.Sum256(q.Leaf.Raw), sha256.Sum256(q.Issuer.Raw)
	return sha256.Sum256(slices.Concat(leaf[:], issuer[:], []byte(q.URL)))
}

// Fingerprint is the SHA-256 of a certificate in lower hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Verify says what a certificate is worth at a time, with the certificates that the client sent above it; a nil leaf is
// Absent. The result holds while the Trust does, and is kept for as long as the flow is open.
func (t *Trust) Verify(leaf *x509.Certificate, chain []*x509.Certificate, now time.Time) *Verified {
	if leaf == nil {
		return &Verified{}
	}
	v := &Verified{Standing: Untrusted, Leaf: leaf}
	if t == nil {
		v.Detail = "there is no trust to verify it against"
		return v
	}
	if len(chain) > MaxChain {
		v.Detail = fmt.Sprintf("it came with more than %d certificates above it", MaxChain)
		return v
	}
	for _, c := range append([]*x509.Certificate{leaf}, chain...) {
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > mostRSABits {
			v.Detail = fmt.Sprintf("it came with an RSA key of more than %d bits", mostRSABits)
			return v
		}
	}
	pinned := t.pinned[sha256.Sum256(leaf.Raw)]
	chains, err := t.chains(leaf, chain, now)
	switch {
	case pinned != nil:
		v.Standing, v.Detail = standingOfPinned(leaf, now)
		v.TrustedID, v.TrustedName = pinned.id, pinned.name
		v.From, v.Until = leaf.NotBefore, leaf.NotAfter
	case err != nil:
		v.Standing, v.Detail = standingOf(err)
	default:
		v.Standing = Trusted
		best := slices.MaxFunc(chains, func(a, b []*x509.Certificate) int {
			_, x := window(a)
			_, y := window(b)
			return x.Compare(y)
		})
		v.From, v.Until = window(best)
		by := t.entryOf(best[len(best)-1])
		v.TrustedID, v.TrustedName = by.id, by.name
		if t.ocsp && len(best) > 1 {
			q := Question{Leaf: leaf, Issuer: best[1], URL: t.responder(leaf)}
			q.key = q.Key()
			v.Question = &q
		}
	}
	if v.Standing != Trusted {
		return v
	}
	v.Detail = fmt.Sprintf("trusted through %q", v.TrustedName)
	v.by, v.watched = t, t.watch(leaf, pinned, chains)
	v.Identity, v.User = t.identity.of(leaf)
	return v
}

// chains returns the ways from a certificate to an entry that is a CA, also those that lead on from there to another one: what
// a root says of an intermediate counts where both are entries, whether the client sends the intermediate or not.
func (t *Trust) chains(leaf *x509.Certificate, chain []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	between := t.roots.Clone()
	for _, c := range chain {
		between.AddCert(c)
	}
	return leaf.Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// entryOf returns the entry that a CA's certificate is, nil when it is none.
func (t *Trust) entryOf(cert *x509.Certificate) *entry { return t.authority[sha256.Sum256(cert.Raw)] }

// standingOf tells the standings apart that no chain leads out of.
func standingOf(err error) (Standing, string) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			return Expired, err.Error()
		case x509.IncompatibleUsage:
			return Unusable, err.Error()
		}
	}
	return Untrusted, err.Error()
}

// standingOfPinned looks at what a chain's verification would look at in the leaf itself.
func standingOfPinned(leaf *x509.Certificate, now time.Time) (Standing, string) {
	switch {
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return Expired, "the pinned certificate is not valid now"
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return Untrusted, "the pinned certificate has a critical extension that is not understood"
	case !forClients(leaf):
		return Unusable, "the pinned certificate's extended key usages have no clientAuth"
	}
	return Trusted, ""
}

// forClients: a certificate without extended key usages is for all of them (RFC 5280, section 4.2.1.12).
func forClients(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// window is when all certificates of a chain are valid.
func window(chain []*x509.Certificate) (from, until time.Time) {
	from, until = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from, until
}

// responder returns the first responder that a certificate names and that may be asked. What a certificate says comes
// from the client's CA, so that without the list anybody who runs one could have the gateway call any address.
func (t *Trust) responder(leaf *x509.Certificate) string {
	for _, s := range leaf.OCSPServer {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
			continue
		}
		if slices.Contains(t.responders, responderHost(u)) {
			return s
		}
	}
	return ""
}

// responderHost is what the list of responders has of an address: its host in lower case, and the port when that is not
// the scheme's.
func responderHost(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		return host
	}
	return host + ":" + port
}

// Facts adds to a certificate what may differ from one request to the next: the time, what the responder last answered,
// which counts when v has a Question, and the request's other credentials. A nil v is of a client that showed none.
func (t *Trust) Facts(v *Verified, now time.Time, answer Revocation, c Credentials) Facts {
	f := Facts{Mode: t.Mode(), Credentials: c}
	if v == nil {
		return f
	}
	f.Certificate, f.Identity, f.User = v.Standing, v.Identity, v.User
	if v.Standing != Trusted {
		return f
	}
	switch {
	case v.by != t || t == nil: // another Trust's word is not this one's
		f.Certificate = Untrusted
	case now.Before(v.From) || now.After(v.Until):
		f.Certificate = Expired
	default:
		f.Revocation = v.revocation(now, answer)
	}
	return f
}
