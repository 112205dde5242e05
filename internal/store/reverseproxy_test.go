package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// The rules name a cluster's reverse proxy while its server is the embedded one, with all that its clients' certificates are
// held against; and nothing of it is left of a cluster that is gone.
func TestReverseProxyInTheRules(t *testing.T) { storetest.OnEach(t, testReverseProxyInTheRules) }

func testReverseProxyInTheRules(t *testing.T, d storetest.Database) {
	st := open(t, d)
	var one, other link.Cluster
	var ca link.TrustedCertificate
	var revoked link.RevokedCertificate
	proxy := link.ReverseProxy{
		Server: link.Embedded, ServerName: "art.example", Wildcard: "*.docker.example", HTTPS: true, Docker: link.DockerSubdomain,
		Repositories: []link.ProxyRepository{{Key: "images"}}, Redirects: link.Redirects{Mode: link.RedirectFollow, Hosts: []string{"blobs.example"}},
	}
	settings := link.ClientCertificates{
		Mode: link.CertificatesRequired, Identity: []link.IdentitySource{link.IdentitySubjectCN}, Expression: "a(.*)",
		Samples: []link.IdentitySample{{Text: "ab", Want: "b"}}, Users: link.Users{Disabled: []string{"eve"}}, OCSP: true, Responders: []string{"ocsp.example"},
	}
	write(t, st, func(tx *store.Tx) error {
		p, _, err := tx.AddProject("", "p")
		for _, c := range []*link.Cluster{&one, &other} {
			made, err2 := tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: string(link.NewID()), Provider: link.AWS, PublicAccess: link.PublicEnabled})
			*c, err = made, errors.Join(err, err2)
		}
		for id, server := range map[link.ID]link.WebServer{one.ID: link.NGINX, other.ID: link.NGINX} {
			p := proxy
			p.Server = server
			_, err2 := tx.PutReverseProxy(id, p)
			err = errors.Join(err, err2)
		}
		return err
	})
	rules := func() map[link.ID]*link.ProxyRules {
		t.Helper()
		got := map[link.ID]*link.ProxyRules{}
		read(t, st, func(tx *store.Tx) error {
			return tx.Rules(100, func(_ link.RulesVersion, part link.RuleSet) error {
				for _, c := range part.Clusters {
					got[c.ClusterID] = c.Proxy
				}
				return nil
			})
		})
		return got
	}
	want := map[link.ID]*link.ProxyRules{one.ID: nil, other.ID: nil}
	if diff := cmp.Diff(want, rules()); diff != "" {
		t.Errorf("behind nginx (-want +got):\n%s", diff)
	}

	before := version(t, st)
	write(t, st, func(tx *store.Tx) error {
		v, err := tx.PutReverseProxy(one.ID, proxy)
		if v != 2 {
			t.Errorf("version %d of what was changed once", v)
		}
		return errors.Join(err, tx.RulesChanged(store.RulesOfCluster, one.ID))
	})
	want[one.ID] = &link.ProxyRules{Proxy: proxy}
	if diff := cmp.Diff(want, rules()); diff != "" {
		t.Errorf("embedded (-want +got):\n%s", diff)
	}

	write(t, st, func(tx *store.Tx) (err error) {
		if ca, err = tx.AddTrustedCertificate(link.TrustedCertificate{ID: link.NewID(), ClusterID: one.ID, Name: "ca", Kind: link.TrustCA, DER: []byte{0x30, 0xff}}, tx.Now()); err != nil {
			return err
		}
		if _, err := tx.AddTrustedCertificate(link.TrustedCertificate{ID: link.NewID(), ClusterID: other.ID, Name: "ca", Kind: link.TrustCA, DER: []byte{0x30, 0xff}}, tx.Now()); err != nil {
			return err
		}
		ca.CRL, ca.CRLNumber, ca.CRLNext = []byte{1, 0}, "7", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		var made bool
		if revoked, made, err = tx.AddRevokedCertificate(link.RevokedCertificate{ID: link.NewID(), ClusterID: one.ID, TrustedID: ca.ID, Serial: "1f", Reason: "lost"}); err != nil || !made {
			t.Errorf("revoked: made %v, %v", made, err)
		}
		again, made, err2 := tx.AddRevokedCertificate(link.RevokedCertificate{ID: link.NewID(), ClusterID: one.ID, TrustedID: ca.ID, Serial: "1f", Reason: "stolen"})
		if made || again != revoked {
			t.Errorf("revoked again: %+v", again)
		}
		return errors.Join(err, err2, tx.PutCRL(ca), tx.PutClientCertificates(one.ID, settings), tx.PutClientCertificates(other.ID, settings))
	})
	whole := settings
	whole.Trusted, whole.Revoked = []link.TrustedCertificate{ca}, []link.RevokedCertificate{revoked}
	want[one.ID].Certificates = whole
	if diff := cmp.Diff(want, rules(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("with certificates (-want +got):\n%s", diff)
	}
	read(t, st, func(tx *store.Tx) error {
		delta, _, known, err := tx.RulesSince(before)
		if !known || len(delta.Clusters) != 1 || cmp.Diff(want[one.ID], delta.Clusters[0].Proxy, cmpopts.EquateEmpty()) != "" {
			t.Errorf("what changed: %+v, known %v", delta, known)
		}
		return err
	})

	// The key that tickets are sealed with is there while redirects are rewritten, the same after every other change.
	ticketKey := func(mode link.RedirectMode) []byte {
		t.Helper()
		p := proxy
		p.Redirects.Mode = mode
		write(t, st, func(tx *store.Tx) error {
			_, err := tx.PutReverseProxy(one.ID, p)
			return err
		})
		return rules()[one.ID].TicketKey
	}
	first := ticketKey(link.RedirectRewrite)
	if len(first) != link.TicketKeySize || bytes.Equal(first, make([]byte, link.TicketKeySize)) {
		t.Errorf("a ticket key of %d bytes", len(first))
	}
	if again := ticketKey(link.RedirectRewrite); !bytes.Equal(again, first) {
		t.Error("another change changed the ticket key")
	}
	if none := ticketKey(link.RedirectFollow); none != nil {
		t.Errorf("a ticket key of %d bytes where nothing is rewritten", len(none))
	}
	if next := ticketKey(link.RedirectRewrite); len(next) != link.TicketKeySize || bytes.Equal(next, first) {
		t.Error("the key that was there before is there again")
	}
	write(t, st, func(tx *store.Tx) error {
		_, err := tx.PutReverseProxy(one.ID, proxy)
		return err
	})

	// A trusted certificate takes what was revoked under it away with it, a cluster all that there is.
	write(t, st, func(tx *store.Tx) error { return tx.RemoveTrustedCertificate(one.ID, ca.ID) })
	whole.Trusted, whole.Revoked = nil, nil
	want[one.ID].Certificates = whole
	if diff := cmp.Diff(want, rules(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("without the certificate (-want +got):\n%s", diff)
	}
	write(t, st, func(tx *store.Tx) error { return tx.RemoveCluster(other.ID) })
	read(t, st, func(tx *store.Tx) error {
		_, _, err := tx.ReverseProxy(other.ID)
		c, err2 := tx.ClientCertificates(other.ID)
		trusted, err3 := tx.TrustedCertificates(other.ID)
		if !errors.Is(err, store.ErrNotFound) || err2 != nil || !cmp.Equal(c, link.ClientCertificates{}) || len(trusted) != 0 {
			t.Errorf("of a cluster that is gone: %v, %+v %v, %v", err, c, err2, trusted)
		}
		return err3
	})
}
