package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// The rules of many clusters are read in several goes: each cluster has its own settings, also after a restart.
func TestTrafficSettingsOfManyClusters(t *testing.T) {
	storetest.OnEach(t, testTrafficSettingsOfManyClusters)
}

func testTrafficSettingsOfManyClusters(t *testing.T, d storetest.Database) {
	const clusters = 600
	st, err := d.TryOpen(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[link.ID]link.ClusterRules{}
	write(t, st, func(tx *store.Tx) error {
		p, _, err := tx.AddProject("", "p")
		for n := range clusters {
			c, err2 := tx.AddCluster(link.Cluster{
				ID: link.NewID(), ProjectID: p.ID, Name: fmt.Sprintf("c%d", n), Provider: link.AWS, Backends: []string{"a:1", "b:2"}, PublicAccess: link.PublicEnabled,
			})
			err = errors.Join(err, err2)
			r := link.ClusterRules{
				ClusterID: c.ID, ProjectID: p.ID, PublicAccess: link.PublicEnabled, Backends: []link.Backend{{Address: "a:1"}, {Address: "b:2"}},
			}
			if n%2 == 0 {
				r.Limits.Flows, r.DeniedPorts, r.Backends[1].Weight = n+1, []uint16{22}, 9
				err = errors.Join(err, tx.PutClusterTraffic(c.ID, link.ClusterTraffic{
					// Of a backend that the cluster has not, nothing comes into the rules.
					Backends: []link.Backend{{Address: "gone:1", Weight: 3}, {Address: "b:2", Weight: 9}}, DeniedPorts: r.DeniedPorts, Limits: r.Limits,
				}))
			}
			want[c.ID] = r
		}
		return err
	})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	read(t, open(t, d), func(tx *store.Tx) error {
		got := map[link.ID]link.ClusterRules{}
		err := tx.Rules(1000, func(_ link.RulesVersion, part link.RuleSet) error {
			for _, c := range part.Clusters {
				got[c.ClusterID] = c
			}
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" || len(got) != clusters {
			t.Errorf("%d clusters (-want +got):\n%s", len(got), diff)
		}
		return err
	})
}
