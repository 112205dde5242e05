package link

import "time"

// Condition types. Every object whose state can be other than good says why through them.
const (
	ConditionRegistered     = "Registered"     // the endpoint was seen at the cloud
	ConditionAccepted       = "Accepted"       // the endpoint was let in
	ConditionDNSReady       = "DNSReady"       // a flow for the private name came through the endpoint
	ConditionReachable      = "Reachable"      // any flow came through the endpoint
	ConditionBackendHealthy = "BackendHealthy" // the gateway reaches the cluster's backends
	ConditionExpiring       = "Expiring"       // nobody answered the request, and soon it is waited for no more
	ConditionProvisioned    = "Provisioned"    // of a service: what it consists of stands at the cloud as intended
)

// Truth is a condition's status. The zero value is not one of them.
type Truth string

// The three truths.
const (
	True    Truth = "True"
	False   Truth = "False"
	Unknown Truth = "Unknown"
)

// Condition says one thing about an object: whether it holds, why, and what whoever has to act does next.
type Condition struct {
	Type           string
	Status         Truth
	Reason         string // stable, upper snake case
	Message        string
	NextStep       string // empty when nobody has to act
	LastTransition time.Time
}

// SetCondition returns conds with c in the place of the condition of its type. LastTransition becomes now when Status
// or Reason differ from what was there, and stays otherwise, so that setting what already holds changes nothing.
// conds itself is not changed.
func SetCondition(conds []Condition, c Condition, now time.Time) []Condition {
	out := make([]Condition, 0, len(conds)+1)
	c.LastTransition = now
	found := false
	for _, old := range conds {
		if old.Type == c.Type {
			found = true
			if old.Status == c.Status && old.Reason == c.Reason {
				c.LastTransition = old.LastTransition
			}
			old = c
		}
		out = append(out, old)
	}
	if !found {
		out = append(out, c)
	}
	return out
}

// ConditionOf returns the condition of a type, and a zero Condition of that type with status Unknown when there is none.
func ConditionOf(conds []Condition, typ string) Condition {
	for _, c := range conds {
		if c.Type == typ {
			return c
		}
	}
	return Condition{Type: typ, Status: Unknown}
}
