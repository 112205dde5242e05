package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// liveFor is how long after its last word a gateway counts as live.
const liveFor = 30 * time.Second

// AllowList lists a part of a cluster's allow list.
func (p *Plane) AllowList(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out AllowListPage, err error) {
	of := "allowlist " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return AllowListPage{}, err
	}
	err = p.read(ctx, c, part(link.ObjectAllowList, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		entries, seq, err := tx.AllowList(clusterID, cut)
		if err != nil {
			return err
		}
		propagating, err := tx.Propagating(liveFor)
		out = AllowListPage{Entries: entries, Next: page.next(of, seq), Propagating: propagating}
		return err
	})
	return out, err
}

// AllowEntry returns one entry.
func (p *Plane) AllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, prefix netip.Prefix) (out link.AllowEntry, err error) {
	if err := checkPrefix(prefix); err != nil {
		return link.AllowEntry{}, err
	}
	err = p.read(ctx, c, part(link.ObjectAllowList, clusterID), func(tx *store.Tx) error {
		out, err = allowEntry(tx, clusterID, prefix)
		return err
	})
	return out, err
}

// AddAllowEntry adds a range to a cluster's allow list; a range that is there takes the new entry's settings.
func (p *Plane) AddAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, e link.AllowEntry) (link.AllowEntry, error) {
	return p.PutAllowEntry(ctx, c, clusterID, e)
}

// PutAllowEntry stores an entry in the place of the one of its range, if there is one.
func (p *Plane) PutAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, e link.AllowEntry) (link.AllowEntry, error) {
	if err := checkPrefix(e.Prefix); err != nil {
		return link.AllowEntry{}, err
	}
	if err := checkTitle("name", e.Name); err != nil {
		return link.AllowEntry{}, err
	}
	err := p.change(ctx, c, part(link.ObjectAllowList, clusterID), func(ch *change) error {
		if _, err := cluster(ch.Tx, clusterID); err != nil {
			return err
		}
		old, err := ch.AllowEntry(clusterID, e.Prefix)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && old == e {
			return nil
		}
		if err != nil {
			return ch.putAllowEntry(clusterID, nil, e)
		}
		return ch.putAllowEntry(clusterID, &old, e)
	})
	return e, err
}

// AllowUpdate holds what to change about an entry of an allow list; nil leaves it as it is.
type AllowUpdate struct {
	UI, SQL *bool
	Name    *string
}

// UpdateAllowEntry changes what u names of an entry that there is, and returns it as it is then.
func (p *Plane) UpdateAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, prefix netip.Prefix, u AllowUpdate) (out link.AllowEntry, err error) {
	if err := checkPrefix(prefix); err != nil {
		return link.AllowEntry{}, err
	}
	if u.Name != nil {
		if err := checkTitle("name", *u.Name); err != nil {
			return link.AllowEntry{}, err
		}
	}
	err = p.change(ctx, c, part(link.ObjectAllowList, clusterID), func(ch *change) error {
		old, err := allowEntry(ch.Tx, clusterID, prefix)
		if err != nil {
			return err
		}
		out = old
		if u.UI != nil {
			out.UI = *u.UI
		}
		if u.SQL != nil {
			out.SQL = *u.SQL
		}
		if u.Name != nil {
			out.Name = *u.Name
		}
		if out == old {
			return nil
		}
		return ch.putAllowEntry(clusterID, &old, out)
	})
	return out, err
}

// allowEntry reads an entry that has to be there.
func allowEntry(tx *store.Tx, clusterID link.ID, prefix netip.Prefix) (link.AllowEntry, error) {
	if _, err := cluster(tx, clusterID); err != nil {
		return link.AllowEntry{}, err
	}
	e, err := tx.AllowEntry(clusterID, prefix)
	return e, missing(err, "ALLOW_ENTRY_NOT_FOUND", "entry "+prefix.String()+" on the allow list", "list the allow list to see its ranges")
}

// putAllowEntry stores an entry in the place of another, nil when there is none of its range.
func (ch *change) putAllowEntry(clusterID link.ID, old *link.AllowEntry, e link.AllowEntry) error {
	verb, before := eventCreated, any(nil)
	if old != nil {
		verb, before = eventChanged, audit.AllowOf(*old)
	}
	why := fmt.Sprintf("%s is on the allow list: ui %t, sql %t", e.Prefix, e.UI, e.SQL)
	return errors.Join(ch.PutAllowEntry(clusterID, e), ch.RulesChanged(store.RulesOfCluster, clusterID),
		ch.note(clusterRef(clusterID), eventChanged, "ALLOWLIST", "%s", why),
		ch.audit(part(link.ObjectAllowList, clusterID, e.Prefix.String()), verb, "", before, audit.AllowOf(e), why))
}

// RemoveAllowEntry takes a range off a cluster's allow list and returns its entry.
func (p *Plane) RemoveAllowEntry(ctx context.Context, c policy.Caller, clusterID link.ID, prefix netip.Prefix) (out link.AllowEntry, err error) {
	if err := checkPrefix(prefix); err != nil {
		return link.AllowEntry{}, err
	}
	err = p.change(ctx, c, part(link.ObjectAllowList, clusterID), func(ch *change) error {
		if out, err = allowEntry(ch.Tx, clusterID, prefix); err != nil {
			return err
		}
		return errors.Join(ch.RemoveAllowEntry(clusterID, prefix), ch.RulesChanged(store.RulesOfCluster, clusterID),
			ch.note(clusterRef(clusterID), eventChanged, "ALLOWLIST", "%s is no longer on the allow list", prefix),
			ch.audit(part(link.ObjectAllowList, clusterID, prefix.String()), eventDeleted, "", audit.AllowOf(out), nil, prefix.String()+" is no longer on the allow list"))
	})
	return out, err
}

// checkPrefix refuses what link.ParsePrefix would not have returned.
func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return invalid("cidr_ip", "MALFORMED_ADDRESS", "an allow-list entry needs an address range", "for example 203.0.113.0 with cidr_mask 24")
	}
	_, err := link.ParsePrefix(p.Addr().String(), p.Bits())
	return err
}
