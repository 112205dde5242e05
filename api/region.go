package api

import (
	"context"
	"net/http"
	"time"
)

// Region is a cloud provider's region in which the vendor is reachable. Service is absent until somebody asked for the
// region's private endpoint service.
type Region struct {
	CloudProvider  string      `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	Name           string      `json:"name" doc:"The provider's name of the region, for example us-east-1"`
	VPCID          string      `json:"vpc_id" doc:"The vendor's network that holds the load balancer"`
	SubnetIDs      []string    `json:"subnet_ids" doc:"One subnet per zone of that network"`
	GatewayTargets []string    `json:"gateway_targets" doc:"address:port of the gateways' private listeners"`
	Ports          []int       `json:"ports" doc:"Ports that the load balancer listens on"`
	Service        *Service    `json:"service,omitempty"`
	Conditions     []Condition `json:"conditions"`
	CreatedAt      time.Time   `json:"created_at"`
	UpdatedAt      time.Time   `json:"updated_at"`
}

// RegionList is the answer of GET /regions.
type RegionList struct {
	Regions []Region `json:"regions"`
}

// PutRegionRequest describes a region as the operator wants it.
type PutRegionRequest struct {
	VPCID          string   `json:"vpc_id" doc:"The vendor's network that holds the load balancer"`
	SubnetIDs      []string `json:"subnet_ids" doc:"One subnet per zone of that network"`
	GatewayTargets []string `json:"gateway_targets" doc:"address:port of the gateways' private listeners"`
	Ports          []int    `json:"ports,omitempty" doc:"Ports that the load balancer listens on; 443 when absent"`
}

// Regions lists the regions.
func (c *Client) Regions(ctx context.Context) ([]Region, error) {
	var out RegionList
	err := c.call(ctx, http.MethodGet, path("regions"), nil, nil, &out)
	return out.Regions, err
}

// PutRegion makes or changes the region. For operators.
func (c *Client) PutRegion(ctx context.Context, provider, name string, req PutRegionRequest) (Region, error) {
	var out Region
	err := c.call(ctx, http.MethodPut, path("regions", provider, name), nil, req, &out)
	return out, err
}

// DeleteRegion asks for the end of a region and its service, and returns the region as it stands. For operators.
func (c *Client) DeleteRegion(ctx context.Context, provider, name string) (Region, error) {
	var out Region
	err := c.call(ctx, http.MethodDelete, path("regions", provider, name), nil, nil, &out)
	return out, err
}

// RegionEvents returns a page of the region's history, oldest first.
func (c *Client) RegionEvents(ctx context.Context, provider, name string, p Page) (EventList, error) {
	return c.events(ctx, path("regions", provider, name, "events"), p)
}
