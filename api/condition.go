package api

import "time"

// Condition says one thing about an object: whether it holds, why, and what whoever has to act does next. A connection has
// the types Registered, Accepted, DNSReady, Reachable and BackendHealthy, a service Provisioned and Reachable.
type Condition struct {
	Type               string    `json:"type" doc:"What this is about: Registered, Accepted, DNSReady, Reachable, BackendHealthy, Provisioned"`
	Status             string    `json:"status" enum:"True,False,Unknown" doc:"Whether it holds"`
	Reason             string    `json:"reason" doc:"Stable name of the cause, upper snake case"`
	Message            string    `json:"message" doc:"The cause, for a person"`
	NextStep           string    `json:"next_step,omitempty" doc:"What whoever has to act does next; absent when nobody has to"`
	LastTransitionTime time.Time `json:"last_transition_time" doc:"Since when it is so"`
}
