package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/postern/postern/internal/link"
)

// revocationList is a CA's list, read.
type revocationList struct {
	next    time.Time // when there is to be a newer one
	serials map[string]bool
}

// revocation puts together what the lists, the CAs and a responder say of a trusted certificate and of those above it.
// That it was revoked outweighs everything; that something ought to be known and is not outweighs that all else is good.
// Where nothing is set up that could say anything, it is good.
func (t *Trust) revocation(v *Verified, now time.Time, answer Revocation) Revocation {
	if t == nil {
		return Unknown
	}
	result := Good
	if v.Question != nil {
		if answer == Revoked {
			return Revoked
		}
		result = answer
	}
	if v.pinned != nil && t.serials[serialKey{sha256.Sum256(v.Leaf.Raw), Serial(v.Leaf.SerialNumber)}] {
		return Revoked
	}
	for _, chain := range v.chains {
		for i, cert := range chain {
			switch t.listed(cert, chain[i+1:], now) {
			case Revoked:
				return Revoked
			case Unknown:
				result = Unknown
			}
		}
	}
	return result
}

// listed puts together what is said of a certificate by those above it in a chain, the nearest first: each one's list of
// serial numbers is about everything under it, and a CA's own list about what it issued itself.
func (t *Trust) listed(cert *x509.Certificate, above []*x509.Certificate, now time.Time) Revocation {
	result, serial := Good, Serial(cert.SerialNumber)
	for i, ca := range above {
		sum := sha256.Sum256(ca.Raw)
		by := t.authority[sum]
		if by == nil {
			continue
		}
		if t.serials[serialKey{sum, serial}] {
			return Revoked
		}
		if i > 0 {
			continue
		}
		for _, list := range by.lists {
			if list.serials[serial] { // also when it is out of date: time brings nothing back
				return Revoked
			}
			if now.After(list.next) {
				result = Unknown
			}
		}
	}
	return result
}

// Serial is a serial number as link.RevokedCertificate has it: lower hexadecimal without leading zeros.
func Serial(n *big.Int) string { return n.Text(16) }

// CRL is a revocation list that was accepted.
type CRL struct {
	DER     []byte
	Number  string    // decimal
	Next    time.Time // when there is to be a newer one; from then on nothing is known that it does not revoke
	Revoked int       // how many certificates it revokes
}

// crlSkew is how far a CA's clock may be ahead of ours.
const crlSkew = 5 * time.Minute

// AcceptCRL reads a revocation list of a CA, DER or PEM, that is to take the place of old (DER; nil when there is none):
// signed by the CA, complete, for now, and with a number that is not lower than the old one's. The error is a *link.Error
// with the field crl.
func AcceptCRL(ca *x509.Certificate, old, data []byte, now time.Time) (CRL, error) {
	der, mistake := derOf(data, "X509 CRL")
	if mistake != nil {
		mistake.Field = "crl"
		return CRL{}, mistake
	}
	list, err := parseList(ca, der)
	if err != nil {
		return CRL{}, err
	}
	switch {
	case list.ThisUpdate.After(now.Add(crlSkew)):
		return CRL{}, invalid("crl", "the list is of "+list.ThisUpdate.UTC().Format(time.RFC3339)+", which is not yet",
			"see whether the CA's clock is right", nil)
	case !list.NextUpdate.After(now):
		return CRL{}, invalid("crl", "the list ran out at "+list.NextUpdate.UTC().Format(time.RFC3339), "have the CA make a new one", nil)
	}
	if old != nil {
		before, err := x509.ParseRevocationList(old)
		if err != nil {
			return CRL{}, fmt.Errorf("read the list that is in force: %w", err)
		}
		if before.Number != nil && list.Number.Cmp(before.Number) < 0 {
			return CRL{}, &link.Error{
				Kind: link.Conflict, Reason: ReasonNumberLower, Field: "crl",
				Message: fmt.Sprintf("the list has number %s, and the one in force has %s", list.Number, before.Number),
				Hint:    "an older list could bring a revoked certificate back; give the CA's newest",
			}
		}
	}
	return CRL{DER: der, Number: list.Number.String(), Next: list.NextUpdate, Revoked: len(list.RevokedCertificateEntries)}, nil
}

// readList reads a list that was accepted before.
func readList(ca *x509.Certificate, der []byte) (*revocationList, error) {
	list, err := parseList(ca, der)
	if err != nil {
		return nil, err
	}
	out := &revocationList{next: list.NextUpdate, serials: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		out.serials[Serial(e.SerialNumber)] = true
	}
	return out, nil
}

// parseList reads a complete list that a CA signed. One of a part of its certificates, or of changes to another list,
// says so by a critical extension (RFC 5280, sections 5.2.4 and 5.2.5), and one of other CAs' certificates in its entries.
func parseList(ca *x509.Certificate, der []byte) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err == nil && len(list.Raw) != len(der) {
		err = errors.New("something stands behind it")
	}
	if err != nil {
		return nil, invalid("crl", "this is not a revocation list", "give the CA's list, version 2, in PEM or DER", err)
	}
	if err := list.CheckSignatureFrom(ca); err != nil {
		return nil, invalid("crl", "the CA did not sign this list", "give the list of this very CA", err)
	}
	const whole = "give the CA's complete list of its own certificates"
	for _, x := range list.Extensions {
		if x.Critical {
			return nil, invalid("crl", "the list has the critical extension "+x.Id.String()+": it is not complete", whole, nil)
		}
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, invalid("crl", "an entry has the critical extension "+x.Id.String()+": it may be another CA's", whole, nil)
			}
		}
	}
	if list.NextUpdate.IsZero() {
		return nil, invalid("crl", "the list does not say when there is to be a newer one", "have the CA set nextUpdate", nil)
	}
	if list.Number == nil {
		return nil, invalid("crl", "the list has no number, so that an older one could not be told from it", "have the CA number its lists", nil)
	}
	return list, nil
}
