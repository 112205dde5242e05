package api

import (
	"context"
	"net/http"
)

// ClusterTraffic is how gateways treat a cluster's flows. A new cluster has backends that are all alike, no active health
// checks, no PROXY protocol towards them, no denied port and no limits.
type ClusterTraffic struct {
	Backends      []BackendTraffic `json:"backends" doc:"All backends of the cluster"`
	Health        HealthCheck      `json:"health"`
	ProxyProtocol bool             `json:"proxy_protocol" doc:"Whether the backends get a PROXY v2 header with the client's address and endpoint id"`
	DeniedPorts   []int            `json:"denied_ports" doc:"Ports on which no flow reaches the cluster, by whichever door, in ascending order"`
	Limits        TrafficLimits    `json:"limits"`
}

// BackendTraffic is a backend with its settings.
type BackendTraffic struct {
	Address  string `json:"address" doc:"host:port, as in the cluster's backends"`
	Weight   int    `json:"weight" doc:"Its share of new flows beside the others', 1 to 256"`
	Draining bool   `json:"draining" doc:"Whether it gets no new flows; those that it has go on"`
}

// HealthCheck is how gateways ask the backends whether they are well. An absent field means the default that it names.
type HealthCheck struct {
	Check           string `json:"check" enum:"NONE,TCP,TLS,HTTP,HTTPS,POSTGRES" doc:"NONE: only the flows themselves tell. TCP: it takes connections. TLS: it completes a handshake. HTTP, HTTPS: it answers GET path. POSTGRES: it answers SSLRequest. Certificates are not checked"`
	Path            string `json:"path,omitempty" doc:"Of HTTP and HTTPS; / when absent" example:"/healthz"`
	Statuses        []int  `json:"statuses,omitempty" doc:"Good answers to HTTP and HTTPS; 200 to 399 when absent"`
	IntervalSeconds int    `json:"interval_seconds,omitempty" minimum:"1" maximum:"3600" doc:"Between the checks of one backend; 10 when absent"`
	TimeoutSeconds  int    `json:"timeout_seconds,omitempty" minimum:"1" maximum:"60" doc:"Of one check, no longer than the interval; 3 when absent"`
	Rise            int    `json:"rise,omitempty" minimum:"1" maximum:"100" doc:"Good checks in a row that heal a backend; 2 when absent"`
	Fall            int    `json:"fall,omitempty" minimum:"1" maximum:"100" doc:"Bad checks in a row that take it out; 3 when absent"`
}

// TrafficLimits bound what a cluster's customers may open at each gateway; 0 is no limit.
type TrafficLimits struct {
	Flows                    int `json:"flows" doc:"Open at once"`
	FlowsPerSecond           int `json:"flows_per_second" doc:"New ones; a second's worth may come at once"`
	FlowsPerEndpoint         int `json:"flows_per_endpoint" doc:"Open at once through one endpoint"`
	FlowsPerSecondByEndpoint int `json:"flows_per_second_by_endpoint" doc:"New ones through one endpoint"`
}

// ClusterTrafficUpdate is what PUT makes a cluster's traffic settings be, and what PATCH changes of them: with PATCH an
// absent field stays as it is, with PUT it becomes what a new cluster has.
type ClusterTrafficUpdate struct {
	Backends      []BackendTrafficUpdate `json:"backends,omitempty" doc:"Backends to change, by address; the others are as if their fields were absent"`
	Health        *HealthCheck           `json:"health,omitempty" doc:"Takes the place of the whole check"`
	ProxyProtocol *bool                  `json:"proxy_protocol,omitempty"`
	DeniedPorts   *[]int                 `json:"denied_ports,omitempty" doc:"Takes the place of the whole list"`
	Limits        *TrafficLimitsUpdate   `json:"limits,omitempty"`
}

// BackendTrafficUpdate changes what is set in it of one backend.
type BackendTrafficUpdate struct {
	Address  string `json:"address" doc:"host:port, as in the cluster's backends"`
	Weight   *int   `json:"weight,omitempty" doc:"1 to 256"`
	Draining *bool  `json:"draining,omitempty"`
}

// TrafficLimitsUpdate changes the limits that are set in it; 0 is no limit.
type TrafficLimitsUpdate struct {
	Flows                    *int `json:"flows,omitempty"`
	FlowsPerSecond           *int `json:"flows_per_second,omitempty"`
	FlowsPerEndpoint         *int `json:"flows_per_endpoint,omitempty"`
	FlowsPerSecondByEndpoint *int `json:"flows_per_second_by_endpoint,omitempty"`
}

// ClusterTraffic returns the cluster's traffic settings.
func (c *Client) ClusterTraffic(ctx context.Context, clusterID string) (ClusterTraffic, error) {
	var out ClusterTraffic
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "traffic"), nil, nil, &out)
	return out, err
}

// PutClusterTraffic makes the cluster's traffic settings be as given.
func (c *Client) PutClusterTraffic(ctx context.Context, clusterID string, u ClusterTrafficUpdate) (ClusterTraffic, error) {
	var out ClusterTraffic
	err := c.call(ctx, http.MethodPut, path("clusters", clusterID, "traffic"), nil, u, &out)
	return out, err
}

// UpdateClusterTraffic changes what is set in u of the cluster's traffic settings.
func (c *Client) UpdateClusterTraffic(ctx context.Context, clusterID string, u ClusterTrafficUpdate) (ClusterTraffic, error) {
	var out ClusterTraffic
	err := c.call(ctx, http.MethodPatch, path("clusters", clusterID, "traffic"), nil, u, &out)
	return out, err
}
