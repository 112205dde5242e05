package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Together makes what f asks of the plane with the context that it gets one transaction: it sees one state, which nobody
// changes before it ends, and all of its changes are stored when f returns nil, or none. f may be run again from its
// beginning. It hands on errors that are no refusals (link.Error), since some of them pass.
func (p *Plane) Together(ctx context.Context, f func(ctx context.Context) error) error {
	var late []refused
	err := p.st.Together(ctx, func(ctx context.Context) error {
		late = nil
		return f(context.WithValue(ctx, lateKey{}, &late))
	})
	for _, r := range late {
		p.refuse(ctx, r.about, r.entry)
	}
	return err
}

// Once runs f, which answers a request, in one transaction with the answer that it keeps, and for the same key of the same
// caller within 24 hours returns that answer instead: what f does is done once, whatever crashes. Of two requests at the
// same time the second waits for the first. An answer without a status is not kept, for a refusal changed nothing. A key
// that comes with another fingerprint is refused, and so is one whose caller may something else than when it was answered:
// what it was told then it may not be told now.
func (p *Plane) Once(ctx context.Context, c policy.Caller, key, fingerprint string, f func(ctx context.Context) (link.KeptAnswer, error)) (kept link.KeptAnswer, repeated bool, err error) {
	rights := rightsOf(c)
	key = string(c.Role) + "\x00" + string(c.ID) + "\x00" + c.Name + "\x00" + key
	err = p.Together(ctx, func(ctx context.Context) error {
		err := p.st.Write(ctx, func(tx *store.Tx) (err error) {
			kept, err = tx.KeptAnswer(key)
			repeated = err == nil
			if errors.Is(err, store.ErrNotFound) {
				return nil // an error would undo this part of the transaction, and let go of the key's lock with it
			}
			return err
		})
		if err != nil {
			return err
		}
		if repeated {
			asked, by, _ := strings.Cut(kept.Fingerprint, " ")
			if asked != fingerprint {
				return &link.Error{
					Kind: link.Invalid, Reason: "IDEMPOTENCY_KEY_REUSED", Field: "Idempotency-Key",
					Message: "this idempotency key came with another request before", Hint: "make a new key for each request that is not the same",
				}
			}
			if by != rights {
				return &link.Error{
					Kind: link.Conflict, Reason: "RIGHTS_CHANGED", Field: "Idempotency-Key",
					Message: "this was done, and you may something else now than then, so that its answer is not repeated",
					Hint:    "read the object to see how it stands",
				}
			}
			return nil
		}
		if kept, err = f(ctx); err != nil || kept.Status == 0 {
			return err
		}
		kept.Fingerprint = fingerprint + " " + rights
		return p.st.Write(ctx, func(tx *store.Tx) error { return tx.KeepAnswer(key, kept) })
	})
	return kept, repeated, err
}

// rightsOf stands for all that a caller may: its role and its grants, in whatever order they come.
func rightsOf(c policy.Caller) string {
	var grants []string
	for _, g := range c.Grants {
		grants = append(grants, fmt.Sprintf("%s %s %s", g.Role, g.Scope.Kind, g.Scope.ID))
	}
	slices.Sort(grants)
	sum := sha256.Sum256([]byte(string(c.Role) + "\n" + strings.Join(grants, "\n")))
	return hex.EncodeToString(sum[:])
}
