package control

import (
	"context"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Backup returns a copy of the database, which the caller closes. That it was handed out stands in the audit log, also in
// the copy's own.
func (p *Plane) Backup(ctx context.Context, c policy.Caller) (*store.Backup, error) {
	ref := link.ObjectRef{Kind: link.ObjectDatabase}
	var v verdict
	err := p.read(ctx, c, ref, func(tx *store.Tx) (err error) {
		v, err = may(tx, c, policy.Read, ref, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.handsOut(ctx, c, ref, v, "backup", "a backup of the database was asked for"); err != nil {
		return nil, err
	}
	return p.st.Backup(ctx)
}
