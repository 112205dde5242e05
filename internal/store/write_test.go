package store_test

import (
	"fmt"
	"testing"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// BenchmarkWritesAtOnce writes what most changes write in the order of the commits, from many sides at once: a revision of the
// rules, two lines of history and an entry of the audit log. With POSTERN_TEST_POSTGRES it is on that server, whose own
// settings say whether it waits for its disk.
func BenchmarkWritesAtOnce(b *testing.B) {
	st := storetest.Open(b, store.Options{})
	var cluster link.Cluster
	err := st.Write(b.Context(), func(tx *store.Tx) error {
		p, _, err := tx.AddProject("", "p")
		if err != nil {
			return err
		}
		cluster, err = tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: "c", Provider: link.AWS, PublicAccess: link.PublicEnabled})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	of := link.ObjectRef{Kind: link.ObjectConnection, ID: string(cluster.ID) + "/vpce-1"}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := st.Write(b.Context(), func(tx *store.Tx) error {
				if err := tx.RulesChanged(store.RulesOfCluster, cluster.ID); err != nil {
					return err
				}
				for range 2 {
					if err := tx.AddEvent(link.Event{Object: of, Type: "CHANGED", Message: "m", Actor: "a"}); err != nil {
						return err
					}
				}
				return tx.AddAudit(audit.Entry{Actor: audit.Actor{Name: "a"}, Action: "connection.change", Object: of, Decision: audit.Done})
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMarkEndpointsDue marks a thousand endpoints due, as somebody does whose owner is trusted from now on.
func BenchmarkMarkEndpointsDue(b *testing.B) {
	st := storetest.Open(b, store.Options{})
	var conns []link.Connection
	for i := range 1000 {
		conns = append(conns, link.Connection{Provider: link.AWS, EndpointID: link.EndpointID(fmt.Sprint("vpce-", i))})
	}
	for b.Loop() {
		if err := st.Write(b.Context(), func(tx *store.Tx) error { return tx.MarkEndpointsDue(conns) }); err != nil {
			b.Fatal(err)
		}
	}
}
