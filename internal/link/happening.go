package link

import "strings"

// The types of events by which a happening is recognised.
const (
	EventStateChanged = "STATE_CHANGED"
	EventNotAccepted  = "NOT_ACCEPTED"
	EventDrift        = "DRIFT"    // the cloud was changed past Postern
	EventExpiring     = "EXPIRING" // what the object is good for ends soon
	EventExpired      = "EXPIRED"
	EventTest         = "TEST" // somebody wants to see whether a subscription works
)

// Happening is what people and programs are told of by webhooks and mail: the kind of object, a dot, and what became of
// it, for example "connection.connected".
type Happening string

// What becomes of objects, the second half of a Happening.
const (
	happensConnected    = "connected"
	happensFailed       = "failed"
	happensActionNeeded = "action_needed" // somebody has to do something, and the event says what
	happensExpiring     = "expiring"
	happensExpired      = "expired"
)

// TestHappening is what a subscription's test tells of. No subscription filters it out.
const TestHappening Happening = "webhook.test"

// happens says what may be told of the objects of each kind.
var happens = []struct {
	kind, noun string
	what       []string
}{
	{ObjectConnection, "connection", []string{happensConnected, happensFailed, happensActionNeeded, happensExpiring, happensExpired}},
	{ObjectProjectConnection, "project_connection", []string{happensConnected, happensFailed, happensActionNeeded, happensExpiring, happensExpired}},
	{ObjectEgress, "egress_endpoint", []string{happensConnected, happensFailed, happensActionNeeded, happensExpiring, happensExpired}},
	{ObjectService, "service", []string{happensFailed, happensActionNeeded}},
	{ObjectClaim, "claim", []string{happensExpiring}},
	{ObjectAPIKey, "api_key", []string{happensExpiring, happensExpired}},
	{ObjectTrustedCertificate, "trusted_certificate", []string{happensExpiring, happensExpired}},
}

// Happenings are all that a subscription may ask for.
func Happenings() []Happening {
	var out []Happening
	for _, h := range happens {
		for _, what := range h.what {
			out = append(out, Happening(h.noun+"."+what))
		}
	}
	return out
}

// What is the second half of a happening: what became of the object.
func (h Happening) What() string {
	_, what, _ := strings.Cut(string(h), ".")
	return what
}

// Happening says whether an event is one that people are told of, and of what. It depends on the event alone, and at most
// one of the events that a look at an object writes is a happening of each sort.
func (e Event) Happening() (Happening, bool) {
	if e.Object.Kind == ObjectWebhook && e.Type == EventTest {
		return TestHappening, true
	}
	what := e.what()
	for _, h := range happens {
		if h.kind != e.Object.Kind {
			continue
		}
		for _, known := range h.what {
			if known == what {
				return Happening(h.noun + "." + what), true
			}
		}
	}
	return "", false
}

func (e Event) what() string {
	switch e.Type {
	case EventExpiring:
		return happensExpiring
	case EventExpired:
		return happensExpired
	case EventStateChanged:
		switch State(e.State) {
		case Available:
			return happensConnected
		case Failed, State(ServiceCreateFailed), State(ServiceDeleteFailed):
			return happensFailed
		case Expired:
			return happensExpired
		}
		// Of a way out the customer has to act; whoever has to act on a way in is told by NOT_ACCEPTED, which comes with it.
		if e.Object.Kind == ObjectEgress && e.NextStep != "" {
			return happensActionNeeded
		}
	case EventNotAccepted, EventDrift:
		switch {
		case e.NextStep == "", e.Reason == ReasonEndpointFailed, e.Reason == ReasonEndpointExpired:
			return "" // nobody has to act, or the change of state, which comes with it, says so
		}
		return happensActionNeeded
	}
	return ""
}
