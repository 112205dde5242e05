package clientcert

import (
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

// watched is a certificate between a client's and an entry, with those who may revoke it.
type watched struct {
	serial string
	above  []*entry // whose serial numbers are about everything under them
	issuer *entry   // whose lists are about what it issued itself; nil when the issuer is no entry
}

// watch finds what has to be looked at to say whether a certificate was revoked, so that it need not be found for every
// request.
func (t *Trust) watch(leaf *x509.Certificate, pinned *entry, chains [][]*x509.Certificate) []watched {
	var out []watched
	if pinned != nil {
		out = append(out, watched{serial: Serial(leaf.SerialNumber), above: []*entry{pinned}})
	}
	for _, chain := range chains {
		for i, cert := range chain[:len(chain)-1] {
			w := watched{serial: Serial(cert.SerialNumber), issuer: t.entryOf(chain[i+1])}
			for _, ca := range chain[i+1:] {
				if e := t.entryOf(ca); e != nil {
					w.above = append(w.above, e)
				}
			}
			out = append(out, w)
		}
	}
	return out
}

// revocation puts together what the lists, the CAs and a responder say of a trusted certificate and of those above it.
// That it was revoked outweighs everything; that something ought to be known and is not outweighs that all else is good.
// Where nothing is set up that could say anything, it is good.
func (v *Verified) revocation(now time.Time, answer Revocation) Revocation {
	result := Good
	if v.Question != nil {
		result = answer
	}
	for _, w := range v.watched {
		for _, e := range w.above {
			if e.serials[w.serial] {
				return Revoked
			}
		}
		if w.issuer == nil {
			continue
		}
		for _, list := range w.issuer.lists {
			switch {
			case list.serials[w.serial]: // also when it is out of date: time brings nothing back
				return Revoked
			case now.After(list.next) && result == Good:
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
