package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	Egress    []EgressEvidence   // by id
	Public    []Interval         // of the public door; What is its state
	AllowList []audit.AllowValue // at From, by prefix; its changes stand in Changes
	Flows     FlowSum            // through the public door
	Refused   []link.RefusedAttempt
	Changes   []AuditEntry // from From until To, by position
	Limits    []string     // what this report cannot know, in sentences

	proxied bool // the gateways ended the cluster's TLS at some time of it
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

// EgressEvidence is what is known of an egress private endpoint, by which the cluster could reach a customer's service.
type EgressEvidence struct {
	ID             link.ID
	Region, Target string
	Could          []Interval // when it was available
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
		at, err := placeInLog(tx, clusterID)
		if err != nil {
			return err
		}
		if err := out.replayLog(tx, told, at, operates(c)); err != nil {
			return err
		}
		if told.name == "" {
			_, err := cluster(tx, clusterID)
			return err
		}
		out.Name, out.Public, out.AllowList = told.name, told.public.spans, told.atStart
		out.Egress, out.proxied = told.egressEvidence(), len(told.proxied.spans) > 0
		if err := out.countFlows(tx, told); err != nil {
			return err
		}
		out.Refused, err = tx.RefusedBetween(clusterID, from, to, mostRefused)
		return err
	})
	out.addLimits()
	return out, err
}

// placeInLog is where a cluster stands, or stood when the log first told of it.
func placeInLog(tx *store.Tx, id link.ID) (link.Place, error) {
	at, err := tx.PlaceOf(clusterRef(id))
	if !errors.Is(err, store.ErrNotFound) {
		return at, err
	}
	first, _, err := tx.AuditEntries(store.AuditCut{Cut: store.Cut{Limit: 1}, ClusterID: id})
	if err != nil || len(first) == 0 {
		return link.Place{ClusterID: id}, err
	}
	return opened(first[0]).Place, nil
}

// replayLog tells the whole log of the cluster at a place, and of its project, up to the report's end, and keeps the changes
// of its time: those that are the vendor's to know only with all.
func (r *AuditReport) replayLog(tx *store.Tx, told *replay, at link.Place, all bool) error {
	cut := store.AuditCut{Cut: store.Cut{Limit: auditBatch}, Around: at, To: r.To}
	for {
		some, next, err := tx.AuditEntries(cut)
		if err != nil {
			return err
		}
		for _, s := range some {
			e := opened(s)
			own := e.Place.ClusterID == r.ClusterID
			if !own && (e.Place.ProjectID == "" || e.Place.ProjectID != at.ProjectID) {
				continue
			}
			if own && r.LogSince.IsZero() {
				r.LogSince = e.At
			}
			told.entry(e.Entry)
			if !e.At.Before(r.From) && len(r.Changes) < mostChanges && (all || e.Place.OrganisationID != "") {
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
	for _, d := range []*door{told.own, told.project} {
		for id, e := range d.endpoints {
			if len(e.could.spans) == 0 {
				continue
			}
			if byEndpoint[id] == nil {
				byEndpoint[id] = &EndpointEvidence{EndpointID: id, OwnerID: e.owner}
			}
			byEndpoint[id].Could = append(byEndpoint[id].Could, e.could.spans...)
		}
	}
	for _, e := range byEndpoint {
		slices.SortStableFunc(e.Could, func(a, b Interval) int { return a.From.Compare(b.From) })
	}
	err := tx.FlowsBetween(r.ClusterID, r.From, r.To, func(f link.Flow) {
		if f.Listener != link.PrivateListener {
			r.Flows.add(f, r.From, r.To)
			return
		}
		e := byEndpoint[f.EndpointID]
		if e == nil {
			e = &EndpointEvidence{EndpointID: f.EndpointID, OwnerID: told.ownerOf(f.EndpointID)}
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
	if r.proxied {
		r.Limits = append(r.Limits, "requests that reach a gateway by way of a reverse proxy that ends TLS before it (--front) have no records of flows: those of public access do not hold them")
	}
	if len(r.Egress) > 0 {
		r.Limits = append(r.Limits, "what went through an egress endpoint does not pass the gateways, and is not counted")
	}
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
