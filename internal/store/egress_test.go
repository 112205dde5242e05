package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestEgress(t *testing.T) { storetest.OnEach(t, testEgress) }

func testEgress(t *testing.T, d storetest.Database) {
	st := open(t, d)
	w := fillTenancy(t, st)
	cluster := w.cluster["acme"]
	target := func(n int) string { return fmt.Sprintf("com.amazonaws.vpce.us-east-1.vpce-svc-%017x", n) }
	var made []link.Egress
	write(t, st, func(tx *store.Tx) error {
		made = nil
		for n := range 3 {
			e, err := tx.AddEgress(link.Egress{
				ID: link.NewID(), ClusterID: cluster, Provider: link.AWS, Region: "us-east-1", Target: target(n), TargetType: link.PrivateService,
				State: link.Pending, Want: link.WantConnected,
			})
			if err != nil {
				return err
			}
			if !e.RequestedAt.Equal(tx.Now()) || e.Version != 1 {
				t.Errorf("made: %+v", e)
			}
			made = append(made, e)
		}
		return nil
	})

	// There is one to a service, whoever writes.
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		twin := made[0]
		twin.ID = link.NewID()
		_, err := tx.AddEgress(twin)
		return err
	})
	if err == nil {
		t.Error("two egress endpoints of one cluster to one service")
	}

	first := made[0]
	write(t, st, func(tx *store.Tx) (err error) {
		if err := tx.LockEgress(first.ID); err != nil {
			return err
		}
		first, err = tx.Egress(cluster, first.ID)
		first.EndpointID, first.Address, first.State, first.NamesState = "vpce-1", "a.example", link.Available, link.NamesPending
		first.DomainNames, first.MadeNames = []string{"a.acme.example"}, []string{"a.acme.example", "b.acme.example"}
		first.Conditions = link.SetCondition(nil, link.Condition{Type: link.ConditionAccepted, Status: link.True, Reason: "R", Message: "m", NextStep: "n"}, tx.Now())
		if err == nil {
			first, err = tx.SwapEgress(first)
		}
		return err
	})
	read(t, st, func(tx *store.Tx) error {
		got, err := tx.Egress(cluster, first.ID)
		if diff := cmp.Diff(first, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stored and read (-want +got):\n%s", diff)
		}
		to, err2 := tx.EgressTo(cluster, "us-east-1", target(0))
		if to.ID != first.ID {
			t.Errorf("to its service: %+v", to)
		}
		names, err3 := tx.EgressNames(link.AWS, "us-east-1")
		if len(names) != 1 || names[0].ID != first.ID {
			t.Errorf("with names: %+v", names)
		}
		_, err4 := tx.Egress(w.cluster["globex"], first.ID)
		if !errors.Is(err4, store.ErrNotFound) {
			t.Errorf("by another cluster: %v", err4)
		}
		return errors.Join(err, err2, err3)
	})
	err = st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.SwapEgress(made[0])
		return err
	})
	if !errors.Is(err, store.ErrChanged) {
		t.Errorf("by an old version: %v, want ErrChanged", err)
	}

	// Those that are over are in no list, hold no name and no service, and are kept for a while.
	write(t, st, func(tx *store.Tx) error {
		for _, e := range []link.Egress{first, made[1]} {
			e.Want, e.State, e.MadeNames = link.WantGone, link.Deleted, nil
			if _, err := tx.SwapEgress(e); err != nil {
				return err
			}
		}
		return tx.TrimEgress(cluster, 1)
	})
	there := func(tx *store.Tx) (out []int) {
		for n, e := range made {
			if _, err := tx.Egress(cluster, e.ID); err == nil {
				out = append(out, n)
			} else if !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
		}
		return out
	}
	read(t, st, func(tx *store.Tx) error {
		if diff := cmp.Diff([]int{1, 2}, there(tx)); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		all, err := tx.ClusterEgress(cluster)
		page, next, err2 := tx.EgressPage(cluster, store.Cut{Limit: 10})
		names, err3 := tx.EgressNames(link.AWS, "us-east-1")
		if len(all) != 1 || len(page) != 1 || next != 0 || all[0].ID != made[2].ID || len(names) != 0 {
			t.Errorf("%d in all, %d in a page, next %d, %d with names", len(all), len(page), next, len(names))
		}
		if _, err := tx.EgressTo(cluster, "us-east-1", target(0)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("to its service: %v", err)
		}
		return errors.Join(err, err2, err3)
	})
	// They outlive their cluster until they are over.
	write(t, st, func(tx *store.Tx) error { return errors.Join(tx.RemoveCluster(cluster), tx.TrimEgress(cluster, 100)) })
	read(t, st, func(tx *store.Tx) error {
		if diff := cmp.Diff([]int{2}, there(tx)); diff != "" {
			t.Errorf("after their cluster (-want +got):\n%s", diff)
		}
		return nil
	})

	write(t, st, func(tx *store.Tx) error {
		if _, err := tx.EgressAccount(link.AWS, "us-east-1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an account that nobody found out: %v", err)
		}
		return errors.Join(tx.PutEgressAccount(link.AWS, "us-east-1", "111111111111"), tx.PutEgressAccount(link.AWS, "us-east-1", "222222222222"))
	})
	read(t, st, func(tx *store.Tx) error {
		account, err := tx.EgressAccount(link.AWS, "us-east-1")
		if account != "222222222222" {
			t.Errorf("account %s", account)
		}
		return err
	})
}
