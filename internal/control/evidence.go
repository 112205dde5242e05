package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// AuditReport tells an auditor which endpoints could pass traffic to a cluster in a time, and which did.
type AuditReport struct {
	ClusterID link.ID
	Name      string // as it was last called
	From, To  time.Time
	MadeAt    time.Time
	LogSince  time.Time          // of the first entry about the cluster; zero when there is none
	Endpoints []EndpointEvidence // by endpoint id
	Public    []Interval         // of the public door; What is its state
	AllowList []audit.AllowValue // at From, by prefix; its changes stand in Changes
	Flows     FlowSum            // through the public door
	Refused   []link.RefusedAttempt
	Changes   []AuditEntry // from From until To, by position
	Limits    []string     // what this report cannot know, in sentences
}

// AllowedRange is an entry of an allow list as the log tells it.
type AllowedRange = audit.AllowValue

// EndpointEvidence is what is known of an endpoint.
type EndpointEvidence struct {
	EndpointID link.EndpointID
	OwnerID    string     // as it was last seen; empty when it never was
	Could      []Interval // when it was let in
	Flows      FlowSum
	Outside    int64 // flows that began at a time at which it was not let in
}

// Interval is a time in which something held. An interval that had begun before the report's begins with it, and one that
// goes on ends with it.
type Interval struct {
	From, To time.Time
	What     string // of the public door: its state; of an endpoint: why it was let in
	By       string // who brought it about
}

// FlowSum sums flows up.
type FlowSum struct {
	Count             int64
	BytesIn, BytesOut int64
	FirstAt, LastAt   time.Time // beginning of the first and end of the last; LastAt is the report's end while one lives
}

func (s *FlowSum) add(f link.Flow, from, to time.Time) {
	s.Count++
	s.BytesIn += f.BytesIn
	s.BytesOut += f.BytesOut
	began, ended := f.StartedAt, f.EndedAt
	if began.Before(from) {
		began = from
	}
	if ended.IsZero() || ended.After(to) {
		ended = to
	}
	if s.FirstAt.IsZero() || began.Before(s.FirstAt) {
		s.FirstAt = began
	}
	if ended.After(s.LastAt) {
		s.LastAt = ended
	}
}

// Bounds of a report.
const (
	mostRefused = 1000
	mostChanges = 10_000
)

// AuditReport works out the report of a cluster, also of one that is gone, from a time until another. The log is read from its
// beginning: what held at a time is what all entries before say.
func (p *Plane) AuditReport(ctx context.Context, c policy.Caller, clusterID link.ID, from, to time.Time) (out AuditReport, err error) {
	if to.IsZero() || to.After(p.now()) {
		to = p.now().UTC().Truncate(time.Microsecond)
	}
	if !from.Before(to) {
		return out, invalid("from", "MALFORMED_TIME", "the report's time is over before it begins", "give a from before to, and not one to come")
	}
	ref := auditRef("")
	var v verdict
	err = p.st.Read(ctx, func(tx *store.Tx) (err error) {
		v, err = may(tx, c, policy.Read, ref, clusterRef(clusterID))
		return err
	})
	if err := p.told(ctx, c, v, err); err != nil {
		return out, err
	}
	if err := p.handsOut(ctx, c, clusterRef(clusterID), v, "report", fmt.Sprintf("the audit report from %s to %s was made", from.Format(time.RFC3339), to.Format(time.RFC3339))); err != nil {
		return out, err
	}
	out = AuditReport{ClusterID: clusterID, From: from, To: to, MadeAt: p.now().UTC()}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		told := newReplay(from, to)
		if err := out.replayLog(tx, told); err != nil {
			return err
		}
		if told.name == "" {
			_, err := cluster(tx, clusterID)
			return err
		}
		out.Name, out.Public, out.AllowList = told.name, told.public.spans, told.atStart
		if err := out.countFlows(tx, told); err != nil {
			return err
		}
		out.Refused, err = tx.RefusedBetween(clusterID, from, to, mostRefused)
		return err
	})
	out.addLimits()
	return out, err
}

// replayLog tells the whole log of the cluster up to the report's end, and keeps the changes of its time.
func (r *AuditReport) replayLog(tx *store.Tx, told *replay) error {
	cut := store.AuditCut{Cut: store.Cut{Limit: auditBatch}, ClusterID: r.ClusterID, To: r.To}
	for {
		some, next, err := tx.AuditEntries(cut)
		if err != nil {
			return err
		}
		for _, s := range some {
			e := opened(s)
			if r.LogSince.IsZero() {
				r.LogSince = e.At
			}
			told.entry(e.Entry)
			if !e.At.Before(r.From) && len(r.Changes) < mostChanges {
				r.Changes = append(r.Changes, e)
			}
		}
		if next == 0 {
			told.end()
			return nil
		}
		cut.After = next
	}
}

// countFlows sums the flows up and puts them beside the times in which they could be.
func (r *AuditReport) countFlows(tx *store.Tx, told *replay) error {
	byEndpoint := map[link.EndpointID]*EndpointEvidence{}
	for id, e := range told.endpoints {
		if len(e.could.spans) > 0 {
			byEndpoint[id] = &EndpointEvidence{EndpointID: id, OwnerID: e.owner, Could: e.could.spans}
		}
	}
	err := tx.FlowsBetween(r.ClusterID, r.From, r.To, func(f link.Flow) {
		if f.Listener != link.PrivateListener {
			r.Flows.add(f, r.From, r.To)
			return
		}
		e := byEndpoint[f.EndpointID]
		if e == nil {
			e = &EndpointEvidence{EndpointID: f.EndpointID}
			if known := told.endpoints[f.EndpointID]; known != nil {
				e.OwnerID = known.owner
			}
			byEndpoint[f.EndpointID] = e
		}
		e.Flows.add(f, r.From, r.To)
		within := func(i Interval) bool { return !f.StartedAt.Before(i.From) && f.StartedAt.Before(i.To) }
		if !f.StartedAt.Before(r.From) && !slices.ContainsFunc(e.Could, within) {
			e.Outside++
		}
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(byEndpoint)) {
		r.Endpoints = append(r.Endpoints, *byEndpoint[id])
	}
	trimmed, oldest, err := tx.FlowsTrimmed()
	if trimmed && r.From.Before(oldest) {
		r.Limits = append(r.Limits, "records of flows from before "+oldest.UTC().Format(time.RFC3339)+" are kept no longer: endpoints may have passed traffic that is not counted here")
	}
	return err
}

// addLimits says what the report cannot know.
func (r *AuditReport) addLimits() {
	if r.LogSince.After(r.From) {
		r.Limits = append(r.Limits, "the log says nothing of this cluster from before "+r.LogSince.Format(time.RFC3339))
	}
	r.Limits = append(r.Limits,
		"that an endpoint could pass traffic means that Postern let it in; the cloud has to have shown it as available as well",
		"gateways apply a change as it reaches them, and go on with the last rules while they cannot hear of one")
	if len(r.Refused) == mostRefused {
		r.Limits = append(r.Limits, fmt.Sprintf("only the latest %d kinds of refused attempts are told", mostRefused))
	}
	if len(r.Refused) > 0 {
		r.Limits = append(r.Limits, "refused attempts are counted by kind: those that began before the report's time or went on after it are counted whole")
	}
	if len(r.Changes) == mostChanges {
		r.Limits = append(r.Limits, fmt.Sprintf("only the first %d entries of the log are told", mostChanges))
	}
}

// replay goes through the entries about one cluster, in their order, and works out when what held.
type replay struct {
	from, to  time.Time
	name      string
	provider  link.Provider
	owners    map[string]ownerSaid // by object id
	endpoints map[link.EndpointID]*endpointSaid
	allowed   map[string]audit.AllowValue // by prefix
	atStart   []audit.AllowValue          // allowed, as it was at from
	started   bool                        // whether atStart was taken
	public    spans
}

type ownerSaid struct {
	link.TrustedOwner
	by string
}

type endpointSaid struct {
	now   audit.ConnectionValue
	owner string // as it was last seen
	by    string // who approved it last
	could spans
}

func newReplay(from, to time.Time) *replay {
	return &replay{
		from: from, to: to, owners: map[string]ownerSaid{}, endpoints: map[link.EndpointID]*endpointSaid{}, allowed: map[string]audit.AllowValue{},
		public: spans{from: from, to: to},
	}
}

// entry takes the next entry in.
func (r *replay) entry(e audit.Entry) {
	if !r.started && !e.At.Before(r.from) {
		r.start()
	}
	if e.Decision != audit.Done {
		return
	}
	_, key, _ := strings.Cut(e.Object.ID, "/")
	switch e.Object.Kind {
	case link.ObjectCluster:
		var v audit.ClusterValue
		switch {
		case said(e.After, &v):
			r.name, r.provider = v.Name, v.Provider
			r.public.is(e.At, string(v.PublicAccess), e.Actor.Name)
			for _, a := range v.AllowList {
				r.allowed[a.Prefix] = a
			}
		case e.Before != nil && e.After == nil:
			r.over(e.At)
		}
	case link.ObjectPublicAccess:
		var v audit.PublicValue
		if said(e.After, &v) {
			r.public.is(e.At, string(v.PublicAccess), e.Actor.Name)
		}
	case link.ObjectAllowList:
		var v audit.AllowValue
		if said(e.After, &v) {
			r.allowed[v.Prefix] = v
		} else if said(e.Before, &v) {
			delete(r.allowed, v.Prefix)
		}
	case link.ObjectTrustedOwner:
		var v audit.OwnerValue
		if said(e.After, &v) {
			r.owners[key] = ownerSaid{link.TrustedOwner{Type: v.Type, ExternalOwnerID: v.ExternalOwnerID}, e.Actor.Name}
		} else {
			delete(r.owners, key)
		}
		for _, id := range r.endpoints {
			r.judge(id, e.At)
		}
	case link.ObjectConnection:
		r.connection(link.EndpointID(key), e)
	}
}

func (r *replay) connection(id link.EndpointID, e audit.Entry) {
	var v audit.ConnectionValue
	if !said(e.After, &v) {
		return
	}
	known := r.endpoints[id]
	if known == nil {
		known = &endpointSaid{could: spans{from: r.from, to: r.to}}
		r.endpoints[id] = known
	}
	if v.Approved && !known.now.Approved {
		known.by = e.Actor.Name
	}
	if v.OwnerID != "" {
		known.owner = v.OwnerID
	}
	known.now = v
	r.judge(known, e.At)
}

// judge works out whether an endpoint is let in as things stand, and why.
func (r *replay) judge(e *endpointSaid, at time.Time) {
	why, by := "", ""
	if e.now.Want == link.WantConnected && (e.now.State == link.Pending || e.now.State == link.Available) {
		switch owner, trusted := r.trusting(e.now.OwnerID); {
		case e.now.Approved:
			why, by = "approved", e.by
		case trusted:
			why, by = "account "+owner.ExternalOwnerID+" is trusted", owner.by
		}
	}
	e.could.is(at, why, by)
}

// trusting returns the owner by which an account is trusted: always the same one of several.
func (r *replay) trusting(account string) (ownerSaid, bool) {
	for _, key := range slices.Sorted(maps.Keys(r.owners)) {
		if o := r.owners[key]; policy.Trusts([]link.TrustedOwner{o.TrustedOwner}, r.provider, account) {
			return o, true
		}
	}
	return ownerSaid{}, false
}

// over ends everything: the cluster is gone.
func (r *replay) over(at time.Time) {
	r.public.is(at, "", "")
	for _, e := range r.endpoints {
		e.could.is(at, "", "")
	}
	clear(r.owners)
	clear(r.allowed)
}

// start notes the allow list as it is at the beginning of the report's time.
func (r *replay) start() {
	r.started = true
	r.atStart = slices.SortedFunc(maps.Values(r.allowed), func(a, b audit.AllowValue) int { return cmp.Compare(a.Prefix, b.Prefix) })
}

// end closes what goes on.
func (r *replay) end() {
	if !r.started {
		r.start()
	}
	r.public.is(r.to, "", "")
	for _, e := range r.endpoints {
		e.could.is(r.to, "", "")
	}
}

// said reads a value of an entry, and reports whether there was one.
func said(v json.RawMessage, into any) bool {
	return v != nil && json.Unmarshal(v, into) == nil
}

// spans collects the intervals in which something held, cut to a time.
type spans struct {
	from, to time.Time
	spans    []Interval
	what, by string // what holds now; nothing does when what is empty
	since    time.Time
}

// is notes what holds from a time on; empty for nothing.
func (s *spans) is(at time.Time, what, by string) {
	if what == s.what && (by == s.by || what == "") {
		return
	}
	if s.what != "" {
		i := Interval{From: s.since, To: at, What: s.what, By: s.by}
		if i.From.Before(s.from) {
			i.From = s.from
		}
		if i.To.After(s.to) {
			i.To = s.to
		}
		if i.From.Before(i.To) {
			s.spans = append(s.spans, i)
		}
	}
	s.what, s.by, s.since = what, by, at
}
