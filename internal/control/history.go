package control

import (
	"context"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// RefusedAttempts lists a part of the flows that were refused on behalf of a cluster, and the token of the next part.
func (p *Plane) RefusedAttempts(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out []link.RefusedAttempt, next string, err error) {
	of := "refused " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, part(link.ObjectRecords, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		var seq int64
		out, seq, err = tx.RefusedAttempts(clusterID, cut)
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// UnroutedAttempts lists a part of the flows that were refused because their name led to no cluster.
func (p *Plane) UnroutedAttempts(ctx context.Context, c policy.Caller, page Page) (out []link.RefusedAttempt, next string, err error) {
	cut, err := page.cut("unrouted")
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectRecords}, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.RefusedAttempts("", cut)
		next = page.next("unrouted", seq)
		return err
	})
	return out, next, err
}

// Flows lists a part of a cluster's flows, always the newest first, and the token of the next part.
func (p *Plane) Flows(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out []link.Flow, next string, err error) {
	page.Descending = true
	of := "flows " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, part(link.ObjectRecords, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		var seq int64
		out, seq, err = tx.Flows(clusterID, cut)
		for i := range out {
			if !operates(c) {
				out[i].Backend = "" // the vendor's to know
			}
		}
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// withheld stands for an actor whom whoever asks is not told of.
const withheld = "withheld"

// actorShown is who an event was by, as a caller is told it. The history of a region and that of its service are everybody's to
// read, and tell nobody but the vendor who works there, nor which other customer asked for something.
func actorShown(c policy.Caller, of link.ObjectRef, actor string) string {
	switch of.Kind {
	case link.ObjectRegion, link.ObjectService, link.ObjectServiceProfile:
		if !operates(c) && actor != c.Name && actor != link.ActorReconciler {
			return withheld
		}
	}
	return actor
}

// Events lists a part of an object's history, and the token of the next part. The history of an object outlives it; one
// that never was has none.
func (p *Plane) Events(ctx context.Context, c policy.Caller, ref link.ObjectRef, page Page) (out []link.Event, next string, err error) {
	of := "events " + ref.Kind + " " + ref.ID
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, ref, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.Events(ref, cut)
		for i := range out {
			out[i].Actor = actorShown(c, ref, out[i].Actor)
		}
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}
