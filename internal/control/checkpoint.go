package control

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// signed is how far this process knows the audit log to be what was signed.
type signed struct {
	mu       sync.Mutex
	known    bool // our key is in the log
	position int64
	hash     audit.Hash
}

// How often the audit log is looked after, and when a checkpoint is due: so long after the one before, or after so many
// entries.
const (
	auditEvery     = 5 * time.Second
	checkpointTime = time.Minute
	checkpointSize = 1000
)

// KeepAudit signs checkpoints of the audit log while there is news, and writes down what was counted of refusals, until ctx
// ends; then it does both a last time and returns.
func (p *Plane) KeepAudit(ctx context.Context) {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	last := p.now()
	for {
		select {
		case <-ctx.Done():
			p.endAudit(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
		p.writeCounted(ctx, false)
		if now := p.now(); now.Sub(last) >= checkpointTime || now.Before(last) || p.unsigned(ctx) >= checkpointSize {
			last = now
			p.keepCheckpoint(ctx)
		}
	}
}

// endAudit writes down and signs what is left when a process ends.
func (p *Plane) endAudit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, auditEvery)
	defer cancel()
	p.writeCounted(ctx, true)
	p.keepCheckpoint(ctx)
}

func (p *Plane) keepCheckpoint(ctx context.Context) {
	if p.key == nil {
		return
	}
	if err := p.checkpoint(ctx); err != nil && ctx.Err() == nil {
		p.log.Error("sign a checkpoint of the audit log", "err", err)
	}
}

// unsigned is how many entries no checkpoint covers.
func (p *Plane) unsigned(ctx context.Context) (n int64) {
	_ = p.st.Read(ctx, func(tx *store.Tx) error { // the next look will do
		head, err := tx.AuditHead()
		if err != nil {
			return err
		}
		position, _, err := tx.LastCheckpoint()
		n = head.Position - position
		return err
	})
	return n
}

var errNoKey = &link.Error{
	Kind: link.Precondition, Reason: "NO_AUDIT_KEY", Message: "this control plane has no key to sign its audit log with",
	Hint: "start it with a key; see docs/audit.md",
}

// checkpoint signs the end of the audit log when no checkpoint does. It refuses where the log is not what was signed before:
// what follows the last checkpoint has to continue it.
func (p *Plane) checkpoint(ctx context.Context) error {
	if p.key == nil {
		return errNoKey
	}
	p.signed.mu.Lock()
	defer p.signed.mu.Unlock()
	if err := p.introduceKey(ctx); err != nil {
		return err
	}
	head, err := p.checkLog(ctx)
	if err != nil {
		return err
	}
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		// Checkpoints name the one before: they have to come one after the other.
		if err := tx.Lock("audit-checkpoint", ""); err != nil {
			return err
		}
		last, _, err := tx.LastCheckpoint()
		if err != nil || last >= head.Position {
			return err // another process was quicker
		}
		note := audit.Checkpoint{
			InstallationID: p.st.InstallationID(), Position: head.Position, Hash: head.Hash, Previous: last, At: tx.Now(),
		}.Sign(p.key)
		return tx.AddCheckpoint(head.Position, note)
	})
	if err != nil {
		return err
	}
	p.signed.position, p.signed.hash = head.Position, head.Hash
	return nil
}

// introduceKey makes our key known, once.
func (p *Plane) introduceKey(ctx context.Context) error {
	if p.signed.known {
		return nil
	}
	public, _ := p.key.Public().(ed25519.PublicKey)
	err := p.st.Write(ctx, func(tx *store.Tx) error {
		fresh, err := tx.AddAuditKey(public)
		if err != nil || !fresh {
			return err
		}
		after, err := audit.Value(struct {
			PublicKey string `json:"public_key"`
		}{base64.StdEncoding.EncodeToString(public)})
		if err != nil {
			return err
		}
		return tx.AddAudit(audit.Entry{
			Actor: audit.Actor{Name: "postern"}, Action: "audit-key.add", Object: link.ObjectRef{Kind: link.ObjectAudit}, Decision: audit.Done,
			After: after, Why: "this key signs checkpoints of the audit log",
		})
	})
	p.signed.known = err == nil
	return err
}

// checkLog follows the log from what is known to be signed to its end, and returns that.
func (p *Plane) checkLog(ctx context.Context) (head audit.Sealed, err error) {
	from := audit.Sealed{Position: p.signed.position, Hash: p.signed.hash}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		if head, err = tx.AuditHead(); err != nil {
			return err
		}
		// What others signed counts as well, and so does what was signed before this process began.
		position, note, err := tx.LastCheckpoint()
		if err != nil || position <= from.Position {
			return err
		}
		keys, err := tx.AuditKeys()
		if err != nil {
			return err
		}
		c, err := audit.ParseCheckpoint(note, keys)
		if err != nil || c.InstallationID != p.st.InstallationID() || c.Position != position {
			return fmt.Errorf("the last checkpoint of the audit log does not count: %w", errors.Join(errTampered, err))
		}
		if from.Position == 0 {
			from.Position, from.Hash = c.Position, c.Hash
		}
		return nil
	})
	if err != nil {
		return head, err
	}
	if head.Position < from.Position {
		return head, fmt.Errorf("%w: it ends with entry %d, and entry %d was signed", errTampered, head.Position, from.Position)
	}
	at := audit.Sealed{Position: max(from.Position-1, 0)}
	for next := max(from.Position, 1); next <= head.Position; {
		var some []audit.Sealed
		err := p.st.Read(ctx, func(tx *store.Tx) (err error) {
			some, err = tx.AuditRange(next, head.Position, auditBatch)
			return err
		})
		if err != nil {
			return head, err
		}
		if len(some) == 0 {
			return head, fmt.Errorf("%w: entry %d is missing", errTampered, next)
		}
		for _, s := range some {
			continues := s.Position == at.Position+1 && s.Previous == at.Hash
			if s.Position == from.Position {
				continues = s.Hash == from.Hash
			}
			if !continues || audit.HashOf(s.Position, s.Previous, s.Digest) != s.Hash {
				return head, fmt.Errorf("%w: entry %d", errTampered, s.Position)
			}
			at = s
		}
		next = at.Position + 1
	}
	return head, nil
}

var errTampered = errors.New("the audit log is not what was signed before")

const auditBatch = 500

// AuditKey is a public key that signs the audit log: in base64, and as C2SP signed-note writes it.
type AuditKey struct{ Plain, Verifier string }

// AuditKeys returns the keys that sign the audit log, the oldest first, and the installation's id. Ours is among them.
func (p *Plane) AuditKeys(ctx context.Context, c policy.Caller, organisation link.ID) (installation string, out []AuditKey, err error) {
	if _, err := p.AuditCheckpoint(ctx, c, organisation); err != nil && !errors.Is(err, errTampered) {
		return "", nil, err
	}
	installation = p.st.InstallationID()
	err = p.read(ctx, c, auditRef(organisation), func(tx *store.Tx) error {
		keys, err := tx.AuditKeys()
		for _, k := range keys {
			out = append(out, AuditKey{base64.StdEncoding.EncodeToString(k), audit.VerifierKey(installation, k)})
		}
		return err
	})
	return installation, out, err
}

// AuditCheckpoint signs the end of the audit log, and returns the note.
func (p *Plane) AuditCheckpoint(ctx context.Context, c policy.Caller, organisation link.ID) (note []byte, err error) {
	if err := p.read(ctx, c, auditRef(organisation), func(*store.Tx) error { return nil }); err != nil {
		return nil, err
	}
	if err := p.checkpoint(ctx); err != nil {
		return nil, err
	}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		_, note, err = tx.LastCheckpoint()
		return err
	})
	return note, err
}

// ExportRequest says what of the audit log is exported.
type ExportRequest struct {
	OrganisationID link.ID   // whose entries are shown, those of others being stubs; empty: all, for operators
	From           int64     // the first position; 0 for the first there is, or the one of Since
	Since          time.Time // entries of before are left out; zero: none
}

// Export gives an export, some lines at a time, to take, which may be slow.
type Export func(ctx context.Context, take func(lines []byte) error) error

// ExportAudit exports the audit log from a position or a time on. The last line is a checkpoint made now. That somebody
// exports is itself an entry of what is exported.
func (p *Plane) ExportAudit(ctx context.Context, c policy.Caller, r ExportRequest) (Export, error) {
	if p.key == nil {
		return nil, errNoKey
	}
	var v verdict
	ref := auditRef(r.OrganisationID)
	err := p.read(ctx, c, ref, func(tx *store.Tx) (err error) {
		v, err = may(tx, c, policy.Read, ref, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.handsOut(ctx, c, ref, v, "export", "the audit log was exported"); err != nil {
		return nil, err
	}
	sound := p.checkpoint(ctx)
	if errors.Is(sound, errTampered) {
		p.log.Error("an export of the audit log ends without a checkpoint", "err", sound) // and shows what is wrong with it
	} else if sound != nil {
		return nil, sound
	}
	h := audit.Header{InstallationID: p.st.InstallationID(), From: max(r.From, 1), OrganisationID: r.OrganisationID}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		head, err := tx.AuditHead()
		if err != nil {
			return err
		}
		last, _, err := tx.LastCheckpoint()
		if err != nil {
			return err
		}
		h.To, h.ExportedAt = max(head.Position, last), tx.Now()
		if sound == nil {
			h.To = last
		}
		if r.From == 0 && !r.Since.IsZero() {
			if h.From, err = tx.AuditPositionAt(r.Since); err != nil {
				return err
			}
		}
		h.Keys, err = tx.AuditKeys()
		return err
	})
	if err != nil {
		return nil, err
	}
	h.To = max(h.To, h.From-1)
	return func(ctx context.Context, take func([]byte) error) error {
		first, err := h.Line(p.key)
		if err != nil {
			return err
		}
		if err := take(first); err != nil {
			return err
		}
		return p.exportLines(ctx, h, take)
	}, nil
}

func (p *Plane) exportLines(ctx context.Context, h audit.Header, take func([]byte) error) error {
	var out []byte
	put := func(line []byte, err error) error {
		out = append(out, line...)
		return err
	}
	for next := h.From; next <= h.To; {
		var some []audit.Sealed
		var notes []store.PositionedNote
		upTo := h.To
		err := p.st.Read(ctx, func(tx *store.Tx) (err error) {
			if some, err = tx.AuditRange(next, h.To, auditBatch); err != nil {
				return err
			}
			if len(some) == auditBatch {
				upTo = some[len(some)-1].Position
			}
			notes, err = tx.Checkpoints(next, upTo)
			return err
		})
		if err != nil {
			return err
		}
		next = upTo + 1
		for _, s := range some {
			for len(notes) > 0 && notes[0].Position < s.Position {
				if err := put(audit.CheckpointLine(notes[0].Note)); err != nil {
					return err
				}
				notes = notes[1:]
			}
			line := s.Line
			if h.OrganisationID != "" && opened(s).Place.OrganisationID != h.OrganisationID {
				line = s.Stub
			}
			if err := put(line()); err != nil {
				return err
			}
		}
		for _, n := range notes {
			if err := put(audit.CheckpointLine(n.Note)); err != nil {
				return err
			}
		}
		if err := take(out); err != nil {
			return err
		}
		out = out[:0]
	}
	return nil
}
