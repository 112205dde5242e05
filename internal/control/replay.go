package control

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// replay goes through the entries about one cluster and its project, in their order, and works out when what held.
type replay struct {
	from, to time.Time
	name     string
	provider link.Provider
	regions  []string
	lives    bool // the cluster is there

	own     *door                       // the cluster's own connections
	project *door                       // those of its project, that hold for it where it is
	allowed map[string]audit.AllowValue // by prefix
	atStart []audit.AllowValue          // allowed, as it was at from
	started bool                        // whether atStart was taken
	public  spans
	proxied spans // the gateway ended the cluster's TLS
	egress  map[link.ID]*egressSaid
}

// door is by what endpoints are let in: connections, and the accounts that are trusted for them.
type door struct {
	suffix    string               // of why somebody is let in
	owners    map[string]ownerSaid // by object id
	endpoints map[link.EndpointID]*endpointSaid
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

type egressSaid struct {
	audit.EgressValue
	could spans
}

func newReplay(from, to time.Time) *replay {
	newDoor := func(suffix string) *door {
		return &door{suffix: suffix, owners: map[string]ownerSaid{}, endpoints: map[link.EndpointID]*endpointSaid{}}
	}
	return &replay{
		from: from, to: to, own: newDoor(""), project: newDoor(" for the project"), allowed: map[string]audit.AllowValue{},
		public: spans{from: from, to: to}, proxied: spans{from: from, to: to}, egress: map[link.ID]*egressSaid{},
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
			r.name, r.provider, r.regions, r.lives = v.Name, v.Provider, v.Regions, true
			r.public.is(e.At, string(v.PublicAccess), e.Actor.Name)
			for _, a := range v.AllowList {
				r.allowed[a.Prefix] = a
			}
			r.judgeAll(r.own, e.At)
			r.judgeAll(r.project, e.At)
		case e.Before != nil && e.After == nil:
			r.over(e.At)
		}
	case link.ObjectPublicAccess:
		var v audit.PublicValue
		if said(e.After, &v) {
			r.public.is(e.At, string(v.PublicAccess), e.Actor.Name)
		}
	case link.ObjectReverseProxy:
		var v link.ReverseProxy
		if said(e.After, &v) && v.Server == link.Embedded {
			r.proxied.is(e.At, string(v.Server), "")
		} else {
			r.proxied.is(e.At, "", "")
		}
	case link.ObjectAllowList:
		var v audit.AllowValue
		if said(e.After, &v) {
			r.allowed[v.Prefix] = v
		} else if said(e.Before, &v) {
			delete(r.allowed, v.Prefix)
		}
	case link.ObjectTrustedOwner:
		r.trust(r.own, key, e)
	case link.ObjectProjectTrustedOwner:
		r.trust(r.project, key, e)
	case link.ObjectConnection:
		r.connection(r.own, link.EndpointID(key), e)
	case link.ObjectProjectConnection:
		r.connection(r.project, link.EndpointID(key), e)
	case link.ObjectEgress:
		r.reach(link.ID(key), e)
	}
}

func (r *replay) trust(d *door, key string, e audit.Entry) {
	var v audit.OwnerValue
	if said(e.After, &v) {
		d.owners[key] = ownerSaid{link.TrustedOwner{Type: v.Type, ExternalOwnerID: v.ExternalOwnerID}, e.Actor.Name}
	} else {
		delete(d.owners, key)
	}
	r.judgeAll(d, e.At)
}

func (r *replay) connection(d *door, id link.EndpointID, e audit.Entry) {
	var v audit.ConnectionValue
	if !said(e.After, &v) {
		return
	}
	known := d.endpoints[id]
	if known == nil {
		known = &endpointSaid{could: spans{from: r.from, to: r.to}}
		d.endpoints[id] = known
	}
	if v.Approved && !known.now.Approved {
		known.by = e.Actor.Name
	}
	if v.OwnerID != "" {
		known.owner = v.OwnerID
	}
	known.now = v
	r.judge(d, known, e.At)
}

func (r *replay) reach(id link.ID, e audit.Entry) {
	var v audit.EgressValue
	if !said(e.After, &v) {
		return
	}
	known := r.egress[id]
	if known == nil {
		known = &egressSaid{could: spans{from: r.from, to: r.to}}
		r.egress[id] = known
	}
	known.EgressValue = v
	what := ""
	if v.State == link.Available && v.Want != link.WantGone {
		what = "available"
	}
	known.could.is(e.At, what, e.Actor.Name)
}

func (r *replay) judgeAll(d *door, at time.Time) {
	for _, e := range d.endpoints {
		r.judge(d, e, at)
	}
}

// judge works out whether an endpoint is let in as things stand, and why.
func (r *replay) judge(d *door, e *endpointSaid, at time.Time) {
	why, by := "", ""
	here := r.lives && (d == r.own || e.now.Provider == r.provider && slices.Contains(r.regions, e.now.Region))
	if here && e.now.Want == link.WantConnected && (e.now.State == link.Pending || e.now.State == link.Available) {
		switch owner, trusted := d.trusting(r.provider, e.now.OwnerID); {
		case e.now.Approved:
			why, by = "approved"+d.suffix, e.by
		case trusted:
			why, by = "account "+owner.ExternalOwnerID+" is trusted"+d.suffix, owner.by
		}
	}
	e.could.is(at, why, by)
}

// trusting returns the owner by which an account is trusted: always the same one of several.
func (d *door) trusting(p link.Provider, account string) (ownerSaid, bool) {
	for _, key := range slices.Sorted(maps.Keys(d.owners)) {
		if o := d.owners[key]; policy.Trusts([]link.TrustedOwner{o.TrustedOwner}, p, account) {
			return o, true
		}
	}
	return ownerSaid{}, false
}

// ownerOf is the account of an endpoint as it was last seen; empty when it never was.
func (r *replay) ownerOf(id link.EndpointID) string {
	for _, d := range []*door{r.own, r.project} {
		if e := d.endpoints[id]; e != nil && e.owner != "" {
			return e.owner
		}
	}
	return ""
}

// over ends everything: the cluster is gone. What its project has goes on without it.
func (r *replay) over(at time.Time) {
	r.lives = false
	r.public.is(at, "", "")
	r.proxied.is(at, "", "")
	r.judgeAll(r.own, at)
	r.judgeAll(r.project, at)
	for _, e := range r.egress {
		e.could.is(at, "", "")
	}
	clear(r.own.owners)
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
	r.proxied.is(r.to, "", "")
	for _, d := range []*door{r.own, r.project} {
		for _, e := range d.endpoints {
			e.could.is(r.to, "", "")
		}
	}
	for _, e := range r.egress {
		e.could.is(r.to, "", "")
	}
}

func (r *replay) egressEvidence() (out []EgressEvidence) {
	for _, id := range slices.Sorted(maps.Keys(r.egress)) {
		if e := r.egress[id]; len(e.could.spans) > 0 {
			out = append(out, EgressEvidence{ID: id, Region: e.Region, Target: e.Target, Could: e.could.spans})
		}
	}
	return out
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
