package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// How long before its end a key is told of; not one that was good for less than twice as long, which somebody renews anyway.
const warnKey = 7 * 24 * time.Hour

// tellOfKeys writes the events of the API keys that expire soon, and of those that did.
func tellOfKeys(ctx context.Context, st *store.Store) error {
	return st.Write(ctx, func(tx *store.Tx) error {
		over, err := tx.ExpiredAPIKeys()
		if err != nil {
			return err
		}
		soon, err := tx.WarnAPIKeys(tx.Now().Add(warnKey), 2*warnKey)
		if err != nil {
			return err
		}
		for _, k := range over {
			if err := tellOfKey(tx, k, link.EventExpired, "EXPIRED", "expired at", "make another one, if a program still needs it"); err != nil {
				return err
			}
		}
		for _, k := range soon {
			if err := tellOfKey(tx, k, link.EventExpiring, "ACTIVE", "expires at", "make another one, give it to the program, then revoke this one"); err != nil {
				return err
			}
		}
		return nil
	})
}

func tellOfKey(tx *store.Tx, k link.APIKey, typ, state, when, next string) error {
	pr, err := tx.Principal(k.PrincipalID)
	if err != nil {
		return err
	}
	return tx.AddEvent(link.Event{
		Object: link.ObjectRef{Kind: link.ObjectAPIKey, ID: string(k.PrincipalID) + "/" + string(k.ID)}, Type: typ, State: state, Reason: "END_OF_LIFE",
		Message: fmt.Sprintf("API key %s of %s %s %s", k.Name, pr.Name, when, k.ExpiresAt.Format(time.RFC3339)), NextStep: next, Actor: actor,
	})
}
