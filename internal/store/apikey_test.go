package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestEndsOfKeysAreToldOnce(t *testing.T) { storetest.OnEach(t, testEndsOfKeysAreToldOnce) }

func testEndsOfKeysAreToldOnce(t *testing.T, db storetest.Database) {
	const day = 24 * time.Hour
	st := open(t, db)
	add := func(principal link.ID, name string, life time.Duration) {
		write(t, st, func(tx *store.Tx) error {
			k := link.APIKey{ID: link.NewID(), PrincipalID: principal, Name: name}
			if life != 0 {
				k.ExpiresAt = tx.Now().Add(life)
			}
			k, err := tx.AddAPIKey(k, name)
			if err == nil && name == "revoked" {
				_, err = tx.RevokeAPIKey(k.ID)
			}
			return err
		})
	}
	var robot link.Principal
	write(t, st, func(tx *store.Tx) (err error) {
		robot, _, err = tx.AddPrincipal(link.Principal{Kind: link.ServiceAccount, Name: "robot"})
		return err
	})
	add(robot.ID, "soon", 20*day)
	add(robot.ID, "late", 90*day)
	add(robot.ID, "short", 2*day)
	add(robot.ID, "forever", 0)
	add(robot.ID, "revoked", 20*day)
	add(robot.ID, "over", -time.Second)
	names := func(keys []link.APIKey) (out []string) {
		for _, k := range keys {
			out = append(out, k.Name)
		}
		return out
	}
	for _, want := range []struct{ soon, over []string }{{[]string{"soon"}, []string{"over"}}, {}} {
		write(t, st, func(tx *store.Tx) error {
			over, err := tx.ExpiredAPIKeys()
			if err != nil {
				return err
			}
			soon, err := tx.WarnAPIKeys(tx.Now().Add(21*day), 14*day)
			if !slices.Equal(names(soon), want.soon) || !slices.Equal(names(over), want.over) {
				t.Errorf("told of the coming end of %v and the end of %v, want %+v", names(soon), names(over), want)
			}
			return err
		})
	}
}
