package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// How long before its end a trusted certificate is told of. To have a CA renewed takes people longer than anything else here.
const warnCertificate = 30 * 24 * time.Hour

// tellOfCertificates writes the events of the trusted certificates that end soon, and of those that did, they or their
// revocation lists. Clients that have to show a certificate are locked out then.
func tellOfCertificates(ctx context.Context, st *store.Store) error {
	return st.Write(ctx, func(tx *store.Tx) error {
		over, err := tx.EndedTrustedCertificates()
		if err != nil {
			return err
		}
		soon, err := tx.WarnTrustedCertificates(tx.Now().Add(warnCertificate))
		if err != nil {
			return err
		}
		lists, err := tx.EndedCRLs()
		if err != nil {
			return err
		}
		for _, told := range []struct {
			of                         []store.Ending
			typ, reason, message, next string
		}{
			{over, link.EventExpired, "END_OF_LIFE", "trusted certificate %s ended at %s: it vouches for nobody", "trust another one, then remove this one"},
			{soon, link.EventExpiring, "END_OF_LIFE", "trusted certificate %s ends at %s", "trust another one before then, and have clients change over"},
			{
				lists, link.EventExpired, "REVOCATION_LIST_OVER",
				"the revocation list of CA %s ended at %s: nothing is known of the revocation of its certificates", "give the CA's newest list",
			},
		} {
			for _, e := range told.of {
				err := tx.AddEvent(link.Event{
					Object: link.ObjectRef{Kind: link.ObjectTrustedCertificate, ID: string(e.ClusterID) + "/" + string(e.ID)}, Type: told.typ, Reason: told.reason,
					Message: fmt.Sprintf(told.message, e.Name, e.At.Format(time.RFC3339)), NextStep: told.next, Actor: actor,
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
