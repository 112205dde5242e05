package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// Acknowledgements that come together are each stored, and each is told what became of it.
func TestAcknowledgementsTogether(t *testing.T) { storetest.OnEach(t, testAcknowledgementsTogether) }

func testAcknowledgementsTogether(t *testing.T, d storetest.Database) {
	st := open(t, d)
	const gateways = 20
	write(t, st, func(tx *store.Tx) error {
		for i := range gateways {
			if err := tx.PutGateway(fmt.Sprint("gw-", i), nil); err != nil {
				return err
			}
		}
		return nil
	})
	var all sync.WaitGroup
	for i := range gateways {
		all.Go(func() {
			for revision := range int64(10) {
				if err := st.Acknowledge(t.Context(), fmt.Sprint("gw-", i), revision); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			if err := st.Acknowledge(t.Context(), fmt.Sprint("nobody-", i), 1); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("of a gateway that never said hello: %v", err)
			}
		})
	}
	all.Wait()
	read(t, st, func(tx *store.Tx) error {
		gws, err := tx.Gateways()
		for _, g := range gws {
			if g.AppliedRevision != 9 {
				t.Errorf("%s is at revision %d, want 9", g.ID, g.AppliedRevision)
			}
		}
		if len(gws) != gateways {
			t.Errorf("%d gateways", len(gws))
		}
		return err
	})
	if err := store.ForbidWritesForTest(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	if err := st.Acknowledge(t.Context(), "gw-1", 10); err == nil {
		t.Error("acknowledged though nothing can be stored")
	}
}
