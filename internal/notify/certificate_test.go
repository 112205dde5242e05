package notify_test

import (
	"maps"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/store"
)

// A notifier that starts tells of the trusted certificate that ends within a month, of the one that has ended, and of the list
// that has, once each, with the next step.
func TestEndsOfTrustedCertificatesAreEvents(t *testing.T) {
	w := newWorld(t, func(*notify.Config) {})
	const day = 24 * time.Hour
	names := map[string]string{}
	var listed link.TrustedCertificate
	list := func(number string, life time.Duration) {
		t.Helper()
		w.write(func(tx *store.Tx) error {
			listed.CRL, listed.CRLNumber, listed.CRLNext = []byte{1}, number, tx.Now().Add(life)
			return tx.PutCRL(listed)
		})
	}
	w.write(func(tx *store.Tx) error {
		p, _, err := tx.AddProject("", "p")
		if err != nil {
			return err
		}
		c, err := tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: "c", Provider: link.AWS, PublicAccess: link.PublicEnabled})
		if err != nil {
			return err
		}
		// Nothing is to be told of before the clock moves, also not by the notifier of the world, which may only now begin to look.
		for name, life := range map[string]time.Duration{"soon": 60 * day, "over": 35 * day, "late": 120 * day} {
			ca, err := tx.AddTrustedCertificate(link.TrustedCertificate{ID: link.NewID(), ClusterID: c.ID, Name: name, Kind: link.TrustCA, DER: []byte(name)}, tx.Now().Add(life))
			if err != nil {
				return err
			}
			names[string(c.ID)+"/"+string(ca.ID)] = name
			if name == "late" {
				listed = ca
			}
		}
		return nil
	})
	list("1", 35*day)
	want := map[string]int{"EXPIRING END_OF_LIFE soon": 1, "EXPIRED END_OF_LIFE over": 1, "EXPIRED REVOCATION_LIST_OVER late": 1}
	w.ahead.Store(int64(40 * day))
	for round := range 3 {
		if round == 2 { // another list ends in its turn
			list("2", -time.Minute)
			want["EXPIRED REVOCATION_LIST_OVER late"] = 2
		}
		n, err := notify.Start(t.Context(), notify.Config{Store: w.st, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]int{}
		for deadline := time.Now().Add(soon); !maps.Equal(told, want) && time.Now().Before(deadline); {
			clear(told)
			err := w.st.Read(t.Context(), func(tx *store.Tx) error {
				part, err := tx.Feed(store.Feed{Limit: 500, Within: link.Reach{All: true}})
				for _, e := range part.Events {
					if e.Object.Kind == link.ObjectTrustedCertificate && e.NextStep != "" && e.Place.ClusterID != "" {
						told[e.Type+" "+e.Reason+" "+names[e.Object.ID]]++
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if !maps.Equal(told, want) {
			t.Errorf("told of %v, want %v", told, want)
		}
	}
}
