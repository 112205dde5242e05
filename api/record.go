package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// RefusedAttempt is a kind of flow that a gateway refused, and how often: one per listener, endpoint, name, source
// address and reason.
type RefusedAttempt struct {
	ClusterID   string    `json:"cluster_id,omitempty" doc:"Absent when the name led to no cluster"`
	Listener    string    `json:"listener" enum:"private,public"`
	EndpointID  string    `json:"endpoint_id,omitempty" doc:"The private endpoint it came through"`
	Name        string    `json:"name,omitempty" doc:"The server name that was asked for"`
	Source      string    `json:"source" doc:"IP address"`
	Reason      string    `json:"reason" doc:"Stable name of the cause, upper snake case"`
	WouldRefuse bool      `json:"would_refuse" doc:"Report-only: it passed, and would not have were public access disabled"`
	Count       int64     `json:"count"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
}

// RefusedAttemptList is a page of refused attempts.
type RefusedAttemptList struct {
	RefusedAttempts []RefusedAttempt `json:"refused_attempts"`
	Pagination      Pagination       `json:"pagination"`
}

// Flow is the record of one TCP stream through a gateway.
type Flow struct {
	ID          string    `json:"id"`
	GatewayID   string    `json:"gateway_id"`
	ClusterID   string    `json:"cluster_id"`
	Listener    string    `json:"listener" enum:"private,public"`
	EndpointID  string    `json:"endpoint_id,omitempty" doc:"The private endpoint it came through"`
	Source      string    `json:"source" doc:"address:port"`
	Name        string    `json:"name" doc:"The server name that was asked for; empty on a port without names"`
	Port        int       `json:"port,omitempty" doc:"As the client dialled it"`
	Backend     string    `json:"backend,omitempty" doc:"host:port that took it"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at,omitzero" doc:"Absent while it lives"`
	BytesIn     int64     `json:"bytes_in" doc:"From the customer"`
	BytesOut    int64     `json:"bytes_out" doc:"To the customer"`
	CloseReason string    `json:"close_reason,omitempty"`
}

// FlowList is a page of flows.
type FlowList struct {
	Flows      []Flow     `json:"flows"`
	Pagination Pagination `json:"pagination"`
}

// Event is one line of an object's history.
type Event struct {
	ID       int64     `json:"id" doc:"Grows with time"`
	At       time.Time `json:"at"`
	Type     string    `json:"type" doc:"Stable name of what happened, upper snake case"`
	State    string    `json:"state,omitempty" doc:"That the object came to; absent when the event is not about its state"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message"`
	NextStep string    `json:"next_step,omitempty" doc:"What whoever has to act does next"`
	Actor    string    `json:"actor" doc:"Who: a caller's name, or reconciler"`
}

// EventList is a page of an object's history.
type EventList struct {
	Events     []Event    `json:"events"`
	Pagination Pagination `json:"pagination"`
}

// RefusedAttempts returns a page of what gateways refused for the cluster.
func (c *Client) RefusedAttempts(ctx context.Context, clusterID string, p Page) (RefusedAttemptList, error) {
	var out RefusedAttemptList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "refused-attempts"), p.query(), nil, &out)
	return out, err
}

// UnroutedAttempts returns a page of what gateways refused because its name led to no cluster. For operators.
func (c *Client) UnroutedAttempts(ctx context.Context, p Page) (RefusedAttemptList, error) {
	var out RefusedAttemptList
	err := c.call(ctx, http.MethodGet, path("refused-attempts"), p.query(), nil, &out)
	return out, err
}

// Flows returns a page of the cluster's flows, newest first.
func (c *Client) Flows(ctx context.Context, clusterID string, p Page) (FlowList, error) {
	var out FlowList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "flows"), p.query(), nil, &out)
	return out, err
}

func (c *Client) events(ctx context.Context, u *url.URL, p Page) (EventList, error) {
	var out EventList
	err := c.call(ctx, http.MethodGet, u, p.query(), nil, &out)
	return out, err
}
