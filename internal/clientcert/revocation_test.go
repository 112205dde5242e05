package clientcert

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

func TestRevocation(t *testing.T) {
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	alice, bob := root.issue(t, "alice"), root.issue(t, "bob")
	carol := middle.issue(t, "carol")
	trusted := func(list []byte) link.TrustedCertificate {
		e := trusts(link.TrustCA, "root", root.cert)
		e.CRL = list
		return e
	}
	serial := func(name string, c *x509.Certificate) link.RevokedCertificate {
		return link.RevokedCertificate{TrustedID: link.ID("id of " + name), Serial: Serial(c.SerialNumber)}
	}
	current := root.list(t, 1, bob)
	stale := root.listWith(t, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(-time.Second)}, bob)
	tests := []struct {
		name    string
		trusted []link.TrustedCertificate
		revoked []link.RevokedCertificate
		ocsp    bool
		answer  Revocation
		leaf    *x509.Certificate
		want    Revocation
	}{
		{"nothing is set up", []link.TrustedCertificate{trusted(nil)}, nil, false, Unknown, alice, Good},
		{"an answer that nobody asked for", []link.TrustedCertificate{trusted(nil)}, nil, false, Revoked, alice, Good},

		{"by serial number", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("root", alice)}, false, 0, alice, Revoked},
		{"another's serial number", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("root", bob)}, false, 0, alice, Good},
		{"the serial number under another CA", []link.TrustedCertificate{trusted(nil), trusts(link.TrustCA, "middle", middle.cert)}, []link.RevokedCertificate{serial("middle", alice)}, false, 0, alice, Good},
		{"the serial number under what is not there", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("gone", alice)}, false, 0, alice, Good},
		{"under an intermediate, by serial number", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("root", carol)}, false, 0, carol, Revoked},
		{"under a revoked intermediate", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("root", middle.cert)}, false, 0, carol, Revoked},
		{"under an intermediate trusted too", []link.TrustedCertificate{trusted(nil), trusts(link.TrustCA, "middle", middle.cert)}, []link.RevokedCertificate{serial("middle", carol)}, false, 0, carol, Revoked},
		{"trusted twice, revoked under the first", []link.TrustedCertificate{trusted(nil), trusts(link.TrustCA, "again", root.cert)}, []link.RevokedCertificate{serial("root", alice)}, false, 0, alice, Revoked},
		{"trusted twice, revoked under the second", []link.TrustedCertificate{trusted(nil), trusts(link.TrustCA, "again", root.cert)}, []link.RevokedCertificate{serial("again", alice)}, false, 0, alice, Revoked},
		{"pinned, by serial number", []link.TrustedCertificate{trusts(link.TrustLeaf, "alice", alice)}, []link.RevokedCertificate{serial("alice", alice)}, false, 0, alice, Revoked},
		{"pinned", []link.TrustedCertificate{trusts(link.TrustLeaf, "alice", alice)}, nil, true, Unknown, alice, Good},
		{"pinned, revoked by its CA", []link.TrustedCertificate{trusts(link.TrustLeaf, "bob", bob), trusted(current)}, nil, false, 0, bob, Revoked},

		{"on the CA's list", []link.TrustedCertificate{trusted(current)}, nil, false, 0, bob, Revoked},
		{"not on it", []link.TrustedCertificate{trusted(current)}, nil, false, 0, alice, Good},
		{"on a list that is out of date", []link.TrustedCertificate{trusted(stale)}, nil, false, 0, bob, Revoked},
		{"not on a list that is out of date", []link.TrustedCertificate{trusted(stale)}, nil, false, 0, alice, Unknown},
		{"the intermediate is on the list", []link.TrustedCertificate{trusted(root.list(t, 1, middle.cert))}, nil, false, 0, carol, Revoked},
		{"the intermediate's own list is not known", []link.TrustedCertificate{trusted(current)}, nil, false, 0, carol, Good},

		{"the responder says good", []link.TrustedCertificate{trusted(nil)}, nil, true, Good, alice, Good},
		{"the responder says revoked", []link.TrustedCertificate{trusted(nil)}, nil, true, Revoked, alice, Revoked},
		{"the responder says nothing", []link.TrustedCertificate{trusted(nil)}, nil, true, Unknown, alice, Unknown},
		{"the responder says good, the list revoked", []link.TrustedCertificate{trusted(current)}, nil, true, Good, bob, Revoked},
		{"the responder says good, the list is out of date", []link.TrustedCertificate{trusted(stale)}, nil, true, Good, alice, Unknown},
		{"the responder says revoked, the list is out of date", []link.TrustedCertificate{trusted(stale)}, nil, true, Revoked, alice, Revoked},
		{"the responder says nothing, the list good", []link.TrustedCertificate{trusted(current)}, nil, true, Unknown, alice, Unknown},
		{"the responder says nothing, the serial number is revoked", []link.TrustedCertificate{trusted(nil)}, []link.RevokedCertificate{serial("root", alice)}, true, Unknown, alice, Revoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			trust := compile(t, link.ClientCertificates{Trusted: tt.trusted, Revoked: tt.revoked, OCSP: tt.ocsp, Responders: []string{"ocsp.example.com"}})
			v := trust.Verify(tt.leaf, []*x509.Certificate{middle.cert}, now)
			if v.Standing != Trusted {
				t.Fatalf("%v: %s", v.Standing, v.Detail)
			}
			if got := trust.Facts(v, now, tt.answer, Credentials{}).Revocation; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A client cannot keep a CA's word from being heard by leaving out a certificate that is trusted here.
func TestRevocationWithoutTheCertificatesBetween(t *testing.T) {
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	carol := middle.issue(t, "carol")
	for _, tt := range []struct {
		name    string
		list    []byte
		revoked []link.RevokedCertificate
		want    Revocation
	}{
		{"nothing is revoked", root.list(t, 1), nil, Good},
		{"the root's list has the intermediate", root.list(t, 1, middle.cert), nil, Revoked},
		{"its serial number is revoked under the root", nil, []link.RevokedCertificate{{TrustedID: "id of root", Serial: Serial(middle.cert.SerialNumber)}}, Revoked},
		{"the client's serial number is revoked under the root", nil, []link.RevokedCertificate{{TrustedID: "id of root", Serial: Serial(carol.SerialNumber)}}, Revoked},
	} {
		entry := trusts(link.TrustCA, "root", root.cert)
		entry.CRL = tt.list
		trust := compile(t, link.ClientCertificates{Trusted: []link.TrustedCertificate{trusts(link.TrustCA, "middle", middle.cert), entry}, Revoked: tt.revoked})
		for _, chain := range [][]*x509.Certificate{nil, {middle.cert}, {middle.cert, root.cert}} {
			v := trust.Verify(carol, chain, now)
			if got := trust.Facts(v, now, Unknown, Credentials{}).Revocation; v.Standing != Trusted || got != tt.want {
				t.Errorf("%s, with %d certificates above it: %v %v, want %v: %s", tt.name, len(chain), v.Standing, got, tt.want, v.Detail)
			}
		}
	}
}

func TestAcceptCRL(t *testing.T) {
	root := newAuthority(t, "root", nil)
	bob := root.issue(t, "bob")
	mute := newAuthority(t, "root", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	list := root.list(t, 7, bob)
	with := func(number int64, change func(*x509.RevocationList)) []byte {
		template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		change(template)
		return root.listWith(t, template)
	}
	extended := func(id ...int) []byte {
		return with(8, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: true, Value: []byte{0x30, 0}}}
		})
	}
	armoured := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
	mute.cert.KeyUsage |= x509.KeyUsageCRLSign // so that it signs what it may not
	unsigned := mute.list(t, 1)
	mute.cert.KeyUsage = x509.KeyUsageCertSign
	tests := []struct {
		name      string
		ca        *authority
		old, data []byte
		says      string // empty: accepted
	}{
		{"the first", root, nil, list, ""},
		{"in PEM", root, nil, armoured, ""},
		{"with a higher number", root, list, root.list(t, 8), ""},
		{"once more", root, list, list, ""},
		{"with a much higher number", root, list, with(0, func(l *x509.RevocationList) { l.Number = new(big.Int).Lsh(big.NewInt(1), 100) }), ""},
		{"with a lower number", root, list, root.list(t, 6), "number 6"},
		{"of another CA", newAuthority(t, "root", nil), nil, list, "did not sign"},
		{"of a CA that may not sign lists", mute, nil, unsigned, "did not sign"},
		{"out of date", root, nil, with(8, func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(-2*time.Hour), now }), "ran out"},
		{"of tomorrow", root, nil, with(8, func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(time.Hour), now.Add(2*time.Hour) }), "not yet"},
		{"of a clock that is a little ahead", root, nil, with(8, func(l *x509.RevocationList) { l.ThisUpdate = now.Add(time.Minute) }), ""},
		{"of changes to another list", root, nil, extended(2, 5, 29, 27), "2.5.29.27"},
		{"of a part of its certificates", root, nil, extended(2, 5, 29, 28), "2.5.29.28"},
		{"with other CAs' certificates", root, nil, with(8, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(1), RevocationTime: now,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}},
			}}
		}), "2.5.29.29"},
		{"a certificate", root, nil, root.cert.Raw, "not a revocation list"},
		{"a certificate in PEM", root, nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: list}), "not x509 crl"},
		{"two", root, nil, append(armoured, armoured...), "more than one"},
		{"with something behind it", root, nil, append(list[:len(list):len(list)], 0), "not a revocation list"},
		{"cut", root, nil, list[:len(list)-1], "not a revocation list"},
		{"changed", root, nil, append(list[:len(list)-1:len(list)-1], list[len(list)-1]^1), "did not sign"},
		{"nothing", root, nil, nil, "not a revocation list"},
		{"with a private key", root, nil, append(armoured, "-----BEGIN PRIVATE KEY-----"...), "private key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AcceptCRL(tt.ca.cert, tt.old, tt.data, now)
			if tt.says == "" {
				if err != nil || got.Number == "" || got.Number == "7" && (got.Revoked != 1 || !bytes.Equal(got.DER, list)) || !got.Next.Equal(now.Add(time.Hour)) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			e, ok := errors.AsType[*link.Error](err)
			if !ok || e.Field != "crl" || e.Hint == "" || !strings.Contains(e.Message, tt.says) {
				t.Errorf("%v (%+v), want it to say %q", err, e, tt.says)
			}
		})
	}
}

func FuzzAcceptCRL(f *testing.F) {
	root := newAuthority(f, "root", nil)
	list := root.list(f, 7, root.issue(f, "bob"))
	f.Add(list)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}))
	f.Add(root.cert.Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := AcceptCRL(root.cert, nil, data, now)
		if err == nil && !bytes.Equal(got.DER, list) {
			t.Errorf("a list that the CA did not sign: %x", got.DER)
		}
	})
}
