package control

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of what every gateway holds of a cluster's client certificates.
const (
	mostTrusted = 50
	mostRevoked = 1000     // one by one; whoever has more gives a revocation list
	mostCRL     = 4 << 20  // bytes of all revocation lists of a cluster
	mostName    = 100      // characters
	mostReason  = 200      // characters
	mostDER     = 32 << 10 // bytes of a trusted certificate
	mostSerial  = 64       // bytes of hexadecimal; RFC 5280 allows 20 bytes, of which each takes two
)

// TrustedCertificateView is a trusted certificate with what it says itself.
type TrustedCertificateView struct {
	link.TrustedCertificate
	Certificate *x509.Certificate
	Expired     bool // it vouches for nobody any more
}

func clientCertificatesRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectClientCertificates, ID: string(id)}
}

// ClientCertificates returns whether a cluster's clients show certificates, without the lists of those that are trusted and
// revoked.
func (p *Plane) ClientCertificates(ctx context.Context, c policy.Caller, clusterID link.ID) (out link.ClientCertificates, err error) {
	err = p.read(ctx, c, clientCertificatesRef(clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = clientCertificates(tx, clusterID)
		return err
	})
	return out, err
}

func clientCertificates(tx *store.Tx, clusterID link.ID) (link.ClientCertificates, error) {
	out, err := tx.ClientCertificates(clusterID)
	out.Mode = cmp.Or(out.Mode, link.CertificatesOff)
	return out, err
}

// PutClientCertificates makes that be as given; its lists of certificates are changed one by one and not by this. Of wrong
// settings every mistake is told at once.
func (p *Plane) PutClientCertificates(ctx context.Context, c policy.Caller, clusterID link.ID, s link.ClientCertificates) (link.ClientCertificates, error) {
	// Expressions may take their time: they are tried for who may set them, and while nobody waits for the database.
	err := p.change(ctx, c, clientCertificatesRef(clusterID), func(ch *change) error {
		_, err := cluster(ch.Tx, clusterID)
		return err
	})
	if err != nil {
		return s, err
	}
	if err := joined(clientcert.Check(s)); err != nil {
		return s, err
	}
	// Only their order on the wire differs from one client to the next.
	slices.Sort(s.Users.Names)
	slices.Sort(s.Users.Disabled)
	err = p.change(ctx, c, clientCertificatesRef(clusterID), func(ch *change) error {
		if _, err := cluster(ch.Tx, clusterID); err != nil {
			return err
		}
		before, err := clientCertificates(ch.Tx, clusterID)
		if err != nil || reflect.DeepEqual(before, s) {
			return err
		}
		return errors.Join(ch.PutClientCertificates(clusterID, s), ch.proxyChanged(clientCertificatesRef(clusterID), clusterID, eventChanged, "CLIENT_CERTIFICATES",
			before, s, "client certificates are now "+strings.ToLower(string(s.Mode))))
	})
	return s, err
}

// joined is several mistakes as one error, nil when there are none.
func joined(wrong []*link.Error) error {
	all := make([]error, len(wrong))
	for i, e := range wrong {
		all[i] = e
	}
	return errors.Join(all...)
}

// TrustedCertificates lists the certificates that a cluster trusts.
func (p *Plane) TrustedCertificates(ctx context.Context, c policy.Caller, clusterID link.ID) (out []TrustedCertificateView, err error) {
	err = p.read(ctx, c, part(link.ObjectTrustedCertificate, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		all, err := tx.TrustedCertificates(clusterID)
		if err != nil {
			return err
		}
		out = nil
		for _, t := range all {
			v, err := viewTrusted(t, tx.Now())
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

func viewTrusted(t link.TrustedCertificate, now time.Time) (TrustedCertificateView, error) {
	cert, err := x509.ParseCertificate(t.DER)
	if err != nil {
		return TrustedCertificateView{}, fmt.Errorf("trusted certificate %s is not kept as one: %w", t.ID, err)
	}
	return TrustedCertificateView{t, cert, now.After(cert.NotAfter)}, nil
}

// TrustedCertificate returns one of them.
func (p *Plane) TrustedCertificate(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out TrustedCertificateView, err error) {
	err = p.read(ctx, c, part(link.ObjectTrustedCertificate, clusterID, string(id)), func(tx *store.Tx) error {
		t, err := trustedCertificate(tx, clusterID, id)
		if err != nil {
			return err
		}
		out, err = viewTrusted(t, tx.Now())
		return err
	})
	return out, err
}

func trustedCertificate(tx *store.Tx, clusterID, id link.ID) (link.TrustedCertificate, error) {
	if _, err := cluster(tx, clusterID); err != nil {
		return link.TrustedCertificate{}, err
	}
	t, err := tx.TrustedCertificate(clusterID, id)
	return t, missing(err, "TRUSTED_CERTIFICATE_NOT_FOUND", "trusted certificate "+link.Quote(string(id))+" of this cluster", "list the cluster's trusted certificates to see their ids")
}

// AddTrustedCertificate trusts a certificate, PEM or DER, as a kind; an empty one is what the certificate says that it is.
// Trusting it again by the same name returns what there is.
func (p *Plane) AddTrustedCertificate(ctx context.Context, c policy.Caller, clusterID link.ID, name string, data []byte, kind link.TrustKind) (out TrustedCertificateView, err error) {
	err = p.change(ctx, c, part(link.ObjectTrustedCertificate, clusterID), func(ch *change) error {
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		if err := checkText("name", name, mostName); err != nil {
			return err
		}
		cert, err := clientcert.ReadCertificate(data)
		if err != nil {
			return err
		}
		if len(cert.Raw) > mostDER {
			return invalid("certificate", "TOO_LONG", fmt.Sprintf("the certificate is %d bytes", len(cert.Raw)), fmt.Sprintf("it may be %d", mostDER))
		}
		if kind == "" {
			if kind = link.TrustLeaf; cert.IsCA {
				kind = link.TrustCA
			}
		}
		if err := clientcert.CheckTrusted(kind, cert); err != nil {
			return err
		}
		if ch.Now().After(cert.NotAfter) {
			return invalid("certificate", "CERTIFICATE_EXPIRED", "the certificate was over at "+cert.NotAfter.Format(time.RFC3339), "give one that is in force: this one would vouch for nobody")
		}
		all, err := ch.TrustedCertificates(clusterID)
		if err != nil {
			return err
		}
		for _, t := range all {
			same := slices.Equal(t.DER, cert.Raw)
			switch {
			case same && t.Name == name && t.Kind == kind:
				out, err = viewTrusted(t, ch.Now())
				return err
			case same:
				return &link.Error{
					Kind: link.Conflict, Reason: "CERTIFICATE_TRUSTED", Field: "certificate", Message: "the certificate is trusted already, as " + string(t.Kind) + " " + link.Quote(t.Name),
					Hint: "remove that one first",
				}
			case t.Name == name:
				return &link.Error{Kind: link.Conflict, Reason: "NAME_TAKEN", Field: "name", Message: "another trusted certificate is named " + link.Quote(name), Hint: "choose another name"}
			}
		}
		if len(all) >= mostTrusted {
			return &link.Error{
				Kind: link.Precondition, Reason: "TOO_MANY_CERTIFICATES", Message: fmt.Sprintf("cluster %s trusts %d certificates", cl.Name, len(all)),
				Hint: "remove those that nobody needs, or trust the CA that issued them",
			}
		}
		t, err := ch.AddTrustedCertificate(link.TrustedCertificate{ID: link.NewID(), ClusterID: clusterID, Name: name, Kind: kind, DER: cert.Raw}, cert.NotAfter)
		if err != nil {
			return err
		}
		if out, err = viewTrusted(t, ch.Now()); err != nil {
			return err
		}
		return ch.trustedChanged(out, eventCreated, nil, trustedOf(out), string(kind)+" "+name+" is trusted")
	})
	return out, err
}

// checkText checks a name or a remark of people's, which every list shows on a line.
func checkText(field, s string, most int) error {
	bad := !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	if n := utf8.RuneCountInString(s); bad || n > most || strings.TrimSpace(s) != s || s == "" {
		return invalid(field, "MALFORMED_TEXT", field+" is not a line of text", fmt.Sprintf("give 1 to %d characters, none of them a control character, without space around them", most))
	}
	return nil
}

// trustedValue is what the audit log says of a trusted certificate.
type trustedValue struct {
	Name        string         `json:"name"`
	Kind        link.TrustKind `json:"kind"`
	Fingerprint string         `json:"fingerprint"`
	Subject     string         `json:"subject"`
	NotAfter    time.Time      `json:"not_after"`
	CRLNumber   string         `json:"crl_number,omitempty"`
}

func trustedOf(v TrustedCertificateView) trustedValue {
	return trustedValue{v.Name, v.Kind, clientcert.Fingerprint(v.Certificate), v.Certificate.Subject.String(), v.Certificate.NotAfter.UTC(), v.CRLNumber}
}

func (ch *change) trustedChanged(v TrustedCertificateView, typ string, before, after any, why string) error {
	return ch.proxyChanged(part(link.ObjectTrustedCertificate, v.ClusterID, string(v.ID)), v.ClusterID, typ, "TRUSTED_CERTIFICATES", before, after, why)
}

// RemoveTrustedCertificate ends the trust in a certificate, and in every one that it vouches for, and returns what it was. What
// was revoked under it is forgotten with it.
func (p *Plane) RemoveTrustedCertificate(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out TrustedCertificateView, err error) {
	err = p.change(ctx, c, part(link.ObjectTrustedCertificate, clusterID, string(id)), func(ch *change) error {
		t, err := trustedCertificate(ch.Tx, clusterID, id)
		if err != nil {
			return err
		}
		if out, err = viewTrusted(t, ch.Now()); err != nil {
			return err
		}
		if err := ch.RemoveTrustedCertificate(clusterID, id); err != nil {
			return err
		}
		return ch.trustedChanged(out, eventDeleted, trustedOf(out), nil, string(t.Kind)+" "+t.Name+" is no longer trusted")
	})
	return out, err
}

// PutCRL gives the revocation list, PEM or DER, of a trusted CA. It takes the place of an older one.
func (p *Plane) PutCRL(ctx context.Context, c policy.Caller, clusterID, id link.ID, data []byte) (out TrustedCertificateView, err error) {
	err = p.change(ctx, c, part(link.ObjectTrustedCertificate, clusterID, string(id)), func(ch *change) error {
		t, err := trustedCertificate(ch.Tx, clusterID, id)
		if err != nil {
			return err
		}
		if t.Kind != link.TrustCA {
			return invalid("certificate_id", "NOT_A_CA", "the trusted certificate "+link.Quote(t.Name)+" is a single one, which signs no list", "remove it to end the trust in it")
		}
		if out, err = viewTrusted(t, ch.Now()); err != nil {
			return err
		}
		list, err := clientcert.AcceptCRL(out.Certificate, t.CRL, data, ch.Now())
		if err != nil || slices.Equal(list.DER, t.CRL) {
			return err
		}
		all, err := ch.TrustedCertificates(clusterID)
		if err != nil {
			return err
		}
		size := len(list.DER)
		for _, other := range all {
			if other.ID != id {
				size += len(other.CRL)
			}
		}
		if size > mostCRL {
			return invalid("crl", "TOO_LONG", fmt.Sprintf("the cluster's revocation lists are %d bytes in all", size), fmt.Sprintf("they may be %d: have the CA leave out what has expired, or use OCSP", mostCRL))
		}
		before := trustedOf(out)
		out.CRL, out.CRLNumber, out.CRLNext = list.DER, list.Number, list.Next
		return errors.Join(ch.PutCRL(out.TrustedCertificate),
			ch.trustedChanged(out, eventChanged, before, trustedOf(out), fmt.Sprintf("CA %s has revocation list %s, of %d certificates", t.Name, list.Number, list.Revoked)))
	})
	return out, err
}

// RevokedCertificates lists a part of the certificates that are revoked at a cluster one by one, and the token of the next part.
func (p *Plane) RevokedCertificates(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out []link.RevokedCertificate, next string, err error) {
	of := "revoked " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, part(link.ObjectRevokedCertificate, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		var seq int64
		out, seq, err = tx.RevokedCertificates(clusterID, cut)
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// RevokedCertificate returns one of them.
func (p *Plane) RevokedCertificate(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out link.RevokedCertificate, err error) {
	err = p.read(ctx, c, part(link.ObjectRevokedCertificate, clusterID, string(id)), func(tx *store.Tx) error {
		out, err = revokedCertificate(tx, clusterID, id)
		return err
	})
	return out, err
}

func revokedCertificate(tx *store.Tx, clusterID, id link.ID) (link.RevokedCertificate, error) {
	if _, err := cluster(tx, clusterID); err != nil {
		return link.RevokedCertificate{}, err
	}
	r, err := tx.RevokedCertificate(clusterID, id)
	return r, missing(err, "REVOKED_CERTIFICATE_NOT_FOUND", "revoked certificate "+link.Quote(string(id))+" of this cluster", "list the cluster's revoked certificates to see their ids")
}

// AddRevokedCertificate revokes the certificate of a serial number under a trusted one. Asked again it returns what there is.
func (p *Plane) AddRevokedCertificate(ctx context.Context, c policy.Caller, clusterID, trusted link.ID, serial, reason string) (out link.RevokedCertificate, err error) {
	err = p.change(ctx, c, part(link.ObjectRevokedCertificate, clusterID), func(ch *change) error {
		t, err := trustedCertificate(ch.Tx, clusterID, trusted)
		if e, ok := errors.AsType[*link.Error](err); ok && e.Reason == "TRUSTED_CERTIFICATE_NOT_FOUND" {
			return invalid("trusted_id", e.Reason, e.Message, e.Hint)
		}
		if err != nil {
			return err
		}
		number, err := readSerial(serial)
		if err != nil {
			return err
		}
		if reason != "" {
			if err := checkText("reason", reason, mostReason); err != nil {
				return err
			}
		}
		n, err := ch.CountRevokedCertificates(clusterID)
		if err != nil {
			return err
		}
		var made bool
		out, made, err = ch.AddRevokedCertificate(link.RevokedCertificate{ID: link.NewID(), ClusterID: clusterID, TrustedID: trusted, Serial: number, Reason: reason})
		if err != nil || !made {
			return err
		}
		if n >= mostRevoked {
			return &link.Error{
				Kind: link.Precondition, Reason: "TOO_MANY_CERTIFICATES", Message: fmt.Sprintf("%d certificates are revoked here one by one", n),
				Hint: "give the CA's revocation list instead, or trust another CA",
			}
		}
		return ch.revokedChanged(out, eventCreated, nil, revokedOf(out), "certificate "+number+" of "+t.Name+" is revoked")
	})
	return out, err
}

// readSerial reads a serial number as certificate tools write it: hexadecimal, in either case, with or without colons.
func readSerial(s string) (string, error) {
	plain := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	digits := strings.TrimLeft(plain, "0")
	if len(plain) == 0 || len(plain) > mostSerial || strings.Trim(plain, "0123456789abcdef") != "" || digits == "" {
		return "", invalid("serial", "MALFORMED_SERIAL", "not a serial number: "+link.Quote(s), `give it in hexadecimal, as "openssl x509 -noout -serial" prints it`)
	}
	return digits, nil
}

// RemoveRevokedCertificate trusts a certificate again that was revoked, and returns what was there.
func (p *Plane) RemoveRevokedCertificate(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out link.RevokedCertificate, err error) {
	err = p.change(ctx, c, part(link.ObjectRevokedCertificate, clusterID, string(id)), func(ch *change) error {
		if out, err = revokedCertificate(ch.Tx, clusterID, id); err != nil {
			return err
		}
		if err := ch.RemoveRevokedCertificate(clusterID, id); err != nil {
			return err
		}
		return ch.revokedChanged(out, eventDeleted, revokedOf(out), nil, "certificate "+out.Serial+" is no longer revoked here")
	})
	return out, err
}

// revokedValue is what the audit log says of a revoked certificate.
type revokedValue struct {
	TrustedID link.ID `json:"trusted_id"`
	Serial    string  `json:"serial"`
	Reason    string  `json:"reason,omitempty"`
}

func revokedOf(r link.RevokedCertificate) revokedValue {
	return revokedValue{r.TrustedID, r.Serial, r.Reason}
}

func (ch *change) revokedChanged(r link.RevokedCertificate, typ string, before, after any, why string) error {
	return ch.proxyChanged(part(link.ObjectRevokedCertificate, r.ClusterID, string(r.ID)), r.ClusterID, typ, "REVOKED_CERTIFICATES", before, after, why)
}
