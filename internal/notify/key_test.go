package notify_test

import (
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/store"
)

// A notifier that starts tells of the key that ends within a week and of the one that has ended, once, with the next step.
func TestEndsOfKeysAreEvents(t *testing.T) {
	w := newWorld(t, func(*notify.Config) {})
	keys := map[link.ID]string{}
	w.write(func(tx *store.Tx) error {
		robot, _, err := tx.AddPrincipal(link.Principal{Kind: link.ServiceAccount, Name: "robot"})
		if err != nil {
			return err
		}
		for name, life := range map[string]time.Duration{"soon": 30 * 24 * time.Hour, "over": 20 * 24 * time.Hour, "late": 90 * 24 * time.Hour} {
			k, err := tx.AddAPIKey(link.APIKey{ID: link.NewID(), PrincipalID: robot.ID, Name: name, ExpiresAt: tx.Now().Add(life)}, name)
			if err != nil {
				return err
			}
			keys[k.ID] = name
		}
		return nil
	})
	w.ahead.Store(int64(25 * 24 * time.Hour))
	for range 2 { // the second start finds nothing new
		n, err := notify.Start(t.Context(), notify.Config{Store: w.st, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]int{}
		for deadline := time.Now().Add(soon); len(told) < 2; {
			clear(told)
			err := w.st.Read(t.Context(), func(tx *store.Tx) error {
				part, err := tx.Feed(store.Feed{Limit: 500, Within: link.Reach{All: true}})
				for _, e := range part.Events {
					if e.Object.Kind == link.ObjectAPIKey && e.NextStep != "" {
						told[e.Type+" "+keys[link.ID(e.Object.ID[37:])]]++
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if time.Now().After(deadline) {
				break
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if len(told) != 2 || told["EXPIRING soon"] != 1 || told["EXPIRED over"] != 1 {
			t.Errorf("told of %v", told)
		}
	}
}
