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
	if len(tx.last.rules) == 0 && len(tx.last.events) == 0 && len(tx.last.audit) == 0 {
		return nil
	}
	return tx.writeOrdered(tx.last)
}

// writeOrdered writes what has an order. Everybody waits for who does, so that what can be found out before is, and the rest
// goes to the engine together: what stands by itself, and then what follows from it.
func (tx *Tx) writeOrdered(l last) error {
	if err := tx.placeEvents(l.events); err != nil {
		return err
	}
	var all []asked
	if len(l.rules) > 0 {
		all = tx.newRevision(l.rules)
	}
	events := make([]told, len(l.events))
	for i, e := range l.events {
		events[i].event = e
	}
	all = append(all, tx.writeEvents(events)...)
	var head audit.Sealed
	if len(l.audit) > 0 {
		all = append(all, tx.ask(func(r Row) (err error) {
			head, err = scanSealed(r)
			return err
		}, auditHead))
	}
	if err := tx.s.inOrder(tx.ctx, all); err != nil {
		return err
	}
	follows, err := tx.writeAudit(l.audit, head)
	if err != nil {
		return err
	}
	if tx.made != (newest{}) {
		follows = append(follows, tx.s.ring(tx.made)...)
	}
	if len(follows) > 0 {
		if err := tx.s.inOrder(tx.ctx, follows); err != nil {
			return err
		}
	}
	for _, t := range events {
		if err := tx.fanOut(t); err != nil {
			return err
		}
	}
	return nil
}
