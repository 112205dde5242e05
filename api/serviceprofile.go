package api

import (
	"context"
	"net/http"
)

// ServiceProfile says what the ports of the service carry. A port without a rule carries TLS or PostgreSQL, as its first
// bytes say. It holds in every region.
type ServiceProfile struct {
	Ports []PortRule `json:"ports" doc:"One rule per port, in ascending order"`
}

// PortRule says what one port carries.
type PortRule struct {
	Port        int    `json:"port" doc:"As the client dials it" example:"5432"`
	Protocol    string `json:"protocol,omitempty" enum:"TLS,POSTGRES,TCP" doc:"TCP carries anything: the endpoint alone tells the cluster. TLS or PostgreSQL when absent"`
	Traffic     string `json:"traffic,omitempty" enum:"UI,SQL" doc:"The class of port: allow-list entries admit one, the other or both. An entry that admits either admits to a port of no class"`
	Denied      bool   `json:"denied,omitempty" doc:"Whether no flow passes on it"`
	BackendPort int    `json:"backend_port,omitempty" doc:"Takes the place of the port in the backends' addresses; as they say when absent"`
}

// ServiceProfile returns what the ports of the service carry.
func (c *Client) ServiceProfile(ctx context.Context) (ServiceProfile, error) {
	var out ServiceProfile
	err := c.call(ctx, http.MethodGet, path("service-profile"), nil, nil, &out)
	return out, err
}

// PutServiceProfile makes the rules given all that there are. For operators.
func (c *Client) PutServiceProfile(ctx context.Context, p ServiceProfile) (ServiceProfile, error) {
	var out ServiceProfile
	err := c.call(ctx, http.MethodPut, path("service-profile"), nil, p, &out)
	return out, err
}

// ServiceProfileEvents returns a page of the service profile's history, oldest first.
func (c *Client) ServiceProfileEvents(ctx context.Context, p Page) (EventList, error) {
	return c.events(ctx, path("service-profile", "events"), p)
}
