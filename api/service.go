package api

import (
	"context"
	"net/http"
	"time"
)

// Service is a private endpoint service: what the vendor publishes in a region. Name, EndpointServiceID and
// AvailabilityZoneIDs are empty until the cloud has told them.
type Service struct {
	RegionName          string      `json:"region_name"`
	CloudProvider       string      `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	Status              string      `json:"status" enum:"CREATING,AVAILABLE,CREATE_FAILED,DELETING,DELETE_FAILED"`
	Name                string      `json:"name" doc:"The service name that customers create their endpoint for"`
	EndpointServiceID   string      `json:"endpoint_service_id" doc:"The cloud's id of the service"`
	AvailabilityZoneIDs []string    `json:"availability_zone_ids" doc:"Zone ids, the same in every account (zone names differ)"`
	AWS                 *AWSService `json:"aws,omitempty" doc:"The same in AWS's words; absent at other providers"`
	Conditions          []Condition `json:"conditions"`
	CreatedAt           time.Time   `json:"created_at"`
	UpdatedAt           time.Time   `json:"updated_at"`
}

// AWSService repeats a service in AWS's words.
type AWSService struct {
	ServiceName         string   `json:"service_name"`
	ServiceID           string   `json:"service_id"`
	AvailabilityZoneIDs []string `json:"availability_zone_ids"`
}

// ServiceList is the answer of both calls on private-endpoint-services.
type ServiceList struct {
	Services []Service `json:"services"`
}

// Services lists the private endpoint services of the cluster's regions.
func (c *Client) Services(ctx context.Context, clusterID string) ([]Service, error) {
	var out ServiceList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "private-endpoint-services"), nil, nil, &out)
	return out.Services, err
}

// CreateServices asks for a private endpoint service in every region of the cluster. It is idempotent.
func (c *Client) CreateServices(ctx context.Context, clusterID string) ([]Service, error) {
	var out ServiceList
	err := c.call(ctx, http.MethodPost, networking(clusterID, "private-endpoint-services"), nil, nil, &out)
	return out.Services, err
}

// ServiceEvents returns a page of the history of the cluster's service in a region, oldest first.
func (c *Client) ServiceEvents(ctx context.Context, clusterID, region string, p Page) (EventList, error) {
	return c.events(ctx, networking(clusterID, "private-endpoint-services", region, "events"), p)
}
