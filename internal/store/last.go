package store

import (
	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

// last is what a transaction writes at its very end: rows whose order is that of the commits, whoever else writes at the
// same time. A transaction that reads sees it only after its own commit.
type last struct {
	rules  []rulesPart
	events []link.Event
	audit  []audit.Entry
}

// rulesPart is a part of the rules that is another.
type rulesPart struct {
	kind RulesKind
	id   link.ID
}

// writeLast writes what was put off, alone among all transactions: whoever reads a row of it has every row before, and the
// numbers of those that follow are higher. Nothing may follow it but the commit.
func (tx *Tx) writeLast() error {
	if len(tx.last.rules) == 0 && len(tx.last.events) == 0 && len(tx.last.audit) == 0 && tx.made == (newest{}) {
		return nil
	}
	if err := tx.s.lockOrder(tx.ctx); err != nil {
		return err
	}
	if len(tx.last.rules) > 0 {
		if err := tx.newRevision(tx.last.rules); err != nil {
			return err
		}
	}
	if err := tx.writeEvents(tx.last.events); err != nil {
		return err
	}
	if err := tx.writeAudit(tx.last.audit); err != nil {
		return err
	}
	return tx.s.ring(tx.ctx, tx.made)
}
