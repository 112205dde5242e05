package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// verdict is what was decided about a request before it was carried out.
type verdict struct {
	policy.Permission
	action policy.Action
	of     link.ObjectRef // what it was about
	at     link.Place     // where that stands
}

func actorOf(c policy.Caller) audit.Actor {
	return audit.Actor{ID: c.ID, Name: c.Name, Role: string(c.Role)}
}

// audit writes an entry of the audit log about a change of what an object is. before and after are nil where there was or is
// none.
func (ch *change) audit(of link.ObjectRef, typ, reason string, before, after any, why string) error {
	at, err := ch.PlaceOf(of)
	if errors.Is(err, store.ErrNotFound) {
		at, err = ch.at, nil // it is gone with this transaction, and stood where it was decided about
	}
	if err != nil {
		return err
	}
	e := audit.Entry{
		Actor: actorOf(ch.caller), Action: of.Kind + "." + auditVerb(typ), Object: of, Place: whose(of, at), Decision: audit.Done, Rule: ch.Rule,
		Reason: reason, Why: why, RequestID: ch.caller.RequestID, Source: ch.caller.Source,
	}
	if e.Before, err = audit.Value(before); err != nil {
		return err
	}
	if e.After, err = audit.Value(after); err != nil {
		return err
	}
	return ch.AddAudit(e)
}

// whose is the place of an entry about an object that stands at a place. What only the vendor may read of a customer's cluster
// stands in no organisation: its entries are the vendor's.
func whose(of link.ObjectRef, at link.Place) link.Place {
	if of.Kind == link.ObjectTraffic {
		at.OrganisationID = ""
	}
	return at
}

// auditVerb is what an entry calls what an event's type says happened.
func auditVerb(typ string) string {
	switch typ {
	case eventCreated:
		return "create"
	case eventChanged:
		return "change"
	case eventDeleted:
		return "delete"
	case eventConnected:
		return "connect"
	case eventDisconnected:
		return "disconnect"
	case eventApproved:
		return "approve"
	case eventRejected:
		return "reject"
	case eventClaimed:
		return "claim"
	}
	return strings.ReplaceAll(strings.ToLower(typ), "_", "-")
}

// handsOut writes an entry that says that something was handed out which not everybody may see: a secret, or evidence. It
// counts before it happens: what cannot be written down is not handed out.
func (p *Plane) handsOut(ctx context.Context, c policy.Caller, of link.ObjectRef, v verdict, what, why string) error {
	return p.st.Write(ctx, func(tx *store.Tx) error {
		return tx.AddAudit(audit.Entry{
			Actor: actorOf(c), Action: of.Kind + "." + what, Object: of, Place: v.at, Decision: audit.Allowed, Rule: v.Rule, Why: why,
			RequestID: c.RequestID, Source: c.Source,
		})
	})
}

// told returns err, of a request that was decided about by v, and has a refusal written down.
func (p *Plane) told(ctx context.Context, c policy.Caller, v verdict, err error) error {
	e, is := errors.AsType[*link.Error](err)
	if !is || c.Role == policy.Anonymous || e.Kind != link.Denied && (v.Allow || v.Rule == "") {
		return err
	}
	why := e.Message
	if v.Reason != "" {
		why = v.Reason
	}
	rule := e.Reason
	if v.Rule != "" && !v.Allow {
		rule = v.Rule
	}
	at := whose(v.of, v.at)
	if !v.Visible {
		at.OrganisationID = "" // who asks is no customer's of these to know
	}
	p.refuse(ctx, "", audit.Entry{
		Actor: actorOf(c), Action: v.of.Kind + "." + string(v.action), Object: v.of, Place: at, Decision: audit.Refused, Rule: rule, Why: why,
		RequestID: c.RequestID, Source: c.Source,
	})
	return err
}

// anonymous is who asks without having shown who it is.
var anonymous = audit.Actor{Name: "anonymous"}

// refused is a refusal to write down. about tells apart what its entry does not say; refusals of one kind are counted.
type refused struct {
	about string
	entry audit.Entry
}

// lateKey leads to the refusals of a transaction that is not over.
type lateKey struct{}

// refuse has a refusal written down, or counted with others of its kind. Within Together that waits for the transaction's
// end: it may be run again, and must not take the entry with it when it fails.
func (p *Plane) refuse(ctx context.Context, about string, e audit.Entry) {
	if late, within := ctx.Value(lateKey{}).(*[]refused); within {
		*late = append(*late, refused{about, e})
		return
	}
	counted := &p.refusals
	if e.Actor == anonymous {
		counted = &p.strangers
	}
	p.writeRefusals(ctx, counted.add(about, e, p.now()))
}

// refuseSignIn has a try to sign in written down that failed. account tells apart whom it was for, also where there is no
// such account: nobody is to learn from how long it takes whether there is.
func (p *Plane) refuseSignIn(ctx context.Context, v Visitor, pr link.Principal, account string, method link.SignInMethod, rule string) {
	who := "an account that is not known"
	if pr.ID != "" {
		who = callerName(pr)
	}
	p.refuse(ctx, account, audit.Entry{
		Actor: anonymous, Action: link.ObjectSession + ".create", Object: principalRef(pr), Decision: audit.Refused, Rule: rule, Reason: string(method),
		Why: "somebody tried to sign in as " + who, RequestID: v.RequestID, Source: v.Source,
	})
}

// writeRefusals stores entries. Whoever was refused is told so also when that fails.
func (p *Plane) writeRefusals(ctx context.Context, entries []audit.Entry) {
	if len(entries) == 0 {
		return
	}
	err := p.st.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		for _, e := range entries {
			if err := tx.AddAudit(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.log.Error("write refusals to the audit log", "err", err)
	}
}

// writeCounted stores what was counted of refusals: of minutes that are over, or with all of this one too.
func (p *Plane) writeCounted(ctx context.Context, all bool) {
	p.writeRefusals(ctx, slices.Concat(p.refusals.take(p.now(), all), p.strangers.take(p.now(), all)))
}

// refusals bounds what refused requests write: the first of a caller for an action on an object is an entry of its own, the
// others of the same minute are counted into one. The zero value is ready to use.
type refusals struct {
	mu     sync.Mutex
	minute time.Time // when the minute began
	counts map[refusalKey]*audit.Entry
}

type refusalKey struct {
	about  string
	actor  audit.Actor
	action string
	object link.ObjectRef
}

// mostRefusals is how many kinds of refusal a minute tells apart. Those beyond are counted into one entry of nobody's.
const mostRefusals = 100

// add takes a refusal in, and returns the entries to write now.
func (r *refusals) add(about string, e audit.Entry, now time.Time) []audit.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.over(now)
	k := refusalKey{about, e.Actor, e.Action, e.Object}
	if _, known := r.counts[k]; !known && len(r.counts) >= mostRefusals {
		k = refusalKey{}
		e = audit.Entry{Action: "many", Decision: audit.Refused, Why: "more was refused in this minute than is told apart"}
		if r.counts[k] == nil {
			r.counts[k] = &e
		}
	}
	if known := r.counts[k]; known != nil {
		known.Count++
		return out
	}
	waits := e
	waits.Why, waits.RequestID, waits.Source = "again within the minute: "+e.Why, "", ""
	r.counts[k] = &waits
	return append(out, e)
}

// over ends a minute that is over and returns the entries of what was counted in it.
func (r *refusals) over(now time.Time) []audit.Entry {
	if since := now.Sub(r.minute); since >= 0 && since < time.Minute && r.counts != nil {
		return nil
	}
	out := r.end()
	r.minute, r.counts = now, map[refusalKey]*audit.Entry{}
	return out
}

func (r *refusals) end() (out []audit.Entry) {
	for _, e := range r.counts {
		if e.Count > 0 {
			out = append(out, *e)
		}
	}
	r.counts = nil
	return out
}

// take returns what was counted in a minute that is over, or with all in any.
func (r *refusals) take(now time.Time, all bool) []audit.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all {
		return r.end()
	}
	return r.over(now)
}

// AuditPage asks for a part of the audit log.
type AuditPage struct {
	Page
	OrganisationID link.ID   // whose entries; empty: everybody's, for operators
	ClusterID      link.ID   // of which cluster; empty: of all
	From, To       time.Time // From is inclusive, To is not; zero times are no bounds
}

// AuditEntry is an entry of the audit log at its place in the chain.
type AuditEntry struct {
	audit.Entry
	Position       int64
	Previous, Hash audit.Hash
}

func auditRef(organisation link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectAudit, ID: string(organisation)}
}

// Audit lists a part of the audit log by position, and the token of the next part.
func (p *Plane) Audit(ctx context.Context, c policy.Caller, page AuditPage) (out []AuditEntry, next string, err error) {
	of := "audit " + string(page.OrganisationID) + " " + string(page.ClusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, auditRef(page.OrganisationID), func(tx *store.Tx) error {
		sealed, seq, err := tx.AuditEntries(store.AuditCut{
			Cut: cut, OrganisationID: page.OrganisationID, ClusterID: page.ClusterID, From: page.From, To: page.To,
		})
		if err != nil {
			return err
		}
		next = page.next(of, seq)
		for _, s := range sealed {
			out = append(out, opened(s))
		}
		return nil
	})
	return out, next, err
}

// opened is an entry as it is shown. One that cannot be read is shown as damaged: that there is something is evidence too.
func opened(s audit.Sealed) AuditEntry {
	e, err := audit.Open(s.Body)
	if err != nil {
		e = audit.Entry{Action: "damaged", Why: `this entry cannot be read; "postern audit export" and "postern audit verify" tell more`}
	}
	return AuditEntry{Entry: e, Position: s.Position, Previous: s.Previous, Hash: s.Hash}
}
