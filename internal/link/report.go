package link

import "time"

// GatewayReport is what a gateway tells the control plane in one batch. Everything in it is additive and may arrive
// twice: flows are upserted by ID, refused attempts carry the counts since the previous batch under a batch id.
type GatewayReport struct {
	GatewayID string
	BatchID   string // unique per batch: a batch that was already stored changes nothing
	Flows     []Flow
	Refused   []RefusedAttempt
	Backends  []BackendHealth
	Claims    []Claimed
	SentAt    time.Time
}

// BackendHealth is a gateway's view of one backend of a cluster.
type BackendHealth struct {
	ClusterID ID
	Backend   string
	Healthy   bool
	Reason    string // why not: stable, upper snake case; empty when healthy
	At        time.Time
}

// Claimed says that somebody who knows a claim's code spoke through an endpoint.
type Claimed struct {
	ClaimID    ID
	EndpointID EndpointID
	Source     string // IP address
	At         time.Time
}
