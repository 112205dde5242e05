package api

import (
	"context"
	"net/http"
	"time"
)

// Webhook is a subscription to what happens, by webhook or by mail. One of an organisation is told of what stands in it, one
// without of everything in the installation.
type Webhook struct {
	ID             string    `json:"id" format:"uuid"`
	OrganisationID string    `json:"organisation_id,omitempty" doc:"Absent for the whole installation"`
	Kind           string    `json:"kind" enum:"WEBHOOK,MAIL"`
	URL            string    `json:"url,omitempty" doc:"Of a WEBHOOK"`
	Addresses      []string  `json:"addresses" doc:"Of MAIL"`
	Types          []string  `json:"types" doc:"What it is told of; empty for everything"`
	ProjectID      string    `json:"project_id,omitempty" doc:"Of this project and its clusters alone"`
	ClusterID      string    `json:"cluster_id,omitempty" doc:"Of this cluster alone"`
	Description    string    `json:"description,omitempty"`
	Enabled        bool      `json:"enabled"`
	DisabledReason string    `json:"disabled_reason,omitempty" doc:"Stable, upper snake case; absent while it is enabled"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
}

// NewWebhook is a subscription with its secret, which is shown at its creation or change and never again.
type NewWebhook struct {
	Webhook
	Secret string `json:"secret,omitempty" doc:"Messages are signed with it, as Standard Webhooks says; absent for MAIL"`
}

// WebhookList is a page of subscriptions.
type WebhookList struct {
	Webhooks   []Webhook  `json:"webhooks"`
	Pagination Pagination `json:"pagination"`
}

// CreateWebhookRequest asks for a subscription.
type CreateWebhookRequest struct {
	OrganisationID string   `json:"organisation_id,omitempty" doc:"Absent for the whole installation"`
	Kind           string   `json:"kind,omitempty" enum:"WEBHOOK,MAIL" doc:"WEBHOOK when absent"`
	URL            string   `json:"url,omitempty" doc:"Of a WEBHOOK: https, and a public address"`
	Addresses      []string `json:"addresses,omitempty" doc:"Of MAIL: 1 to 20 plain addresses"`
	Types          []string `json:"types,omitempty" doc:"What to be told of; absent for everything"`
	ProjectID      string   `json:"project_id,omitempty"`
	ClusterID      string   `json:"cluster_id,omitempty"`
	Description    string   `json:"description,omitempty"`
}

// UpdateWebhookRequest says what to change about a subscription; what is absent stays.
type UpdateWebhookRequest struct {
	URL         *string   `json:"url,omitempty"`
	Addresses   *[]string `json:"addresses,omitempty"`
	Types       *[]string `json:"types,omitempty"`
	ProjectID   *string   `json:"project_id,omitempty" doc:"Empty for any"`
	ClusterID   *string   `json:"cluster_id,omitempty" doc:"Empty for any"`
	Description *string   `json:"description,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"`
}

// Delivery is one event on its way to one subscription.
type Delivery struct {
	ID            string    `json:"id" format:"uuid" doc:"The header webhook-id, or the beginning of the Message-ID, of every attempt"`
	WebhookID     string    `json:"webhook_id" format:"uuid"`
	Type          string    `json:"type" doc:"What happened, for example connection.connected"`
	Event         FeedEvent `json:"event"`
	Status        string    `json:"status" enum:"PENDING,DELIVERED,DEAD"`
	Attempts      int       `json:"attempts" doc:"Since it was made, or was asked for anew"`
	NextAttemptAt time.Time `json:"next_attempt_at,omitzero" doc:"Absent unless it is pending"`
	LastError     string    `json:"last_error,omitempty"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
}

// DeliveryAttempt is one try of a delivery.
type DeliveryAttempt struct {
	At         time.Time `json:"at"`
	Status     int       `json:"status,omitempty" doc:"Of the HTTP answer or the mail server's; absent when there was none"`
	Error      string    `json:"error,omitempty" doc:"Absent when it arrived"`
	DurationMS int64     `json:"duration_ms"`
}

// DeliveryDetail is a delivery with its last attempts, the oldest first.
type DeliveryDetail struct {
	Delivery
	History []DeliveryAttempt `json:"history"`
}

// DeliveryList is a page of a subscription's deliveries.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"`
	Pagination Pagination `json:"pagination"`
}

// Redelivered says how many deliveries were made due anew.
type Redelivered struct {
	Redelivered int `json:"redelivered"`
}

// Webhooks returns a page of an organisation's subscriptions, or of the installation's own when organisationID is empty.
func (c *Client) Webhooks(ctx context.Context, organisationID string, p Page) (WebhookList, error) {
	var out WebhookList
	q := p.query()
	if organisationID != "" {
		q.Set("organisation_id", organisationID)
	}
	err := c.call(ctx, http.MethodGet, path("webhooks"), q, nil, &out)
	return out, err
}

// CreateWebhook makes a subscription. Every call makes another one.
func (c *Client) CreateWebhook(ctx context.Context, req CreateWebhookRequest) (NewWebhook, error) {
	var out NewWebhook
	err := c.call(ctx, http.MethodPost, path("webhooks"), nil, req, &out)
	return out, err
}

// Webhook returns one subscription.
func (c *Client) Webhook(ctx context.Context, id string) (Webhook, error) {
	var out Webhook
	err := c.call(ctx, http.MethodGet, path("webhooks", id), nil, nil, &out)
	return out, err
}

// UpdateWebhook changes a subscription.
func (c *Client) UpdateWebhook(ctx context.Context, id string, req UpdateWebhookRequest) (Webhook, error) {
	var out Webhook
	err := c.call(ctx, http.MethodPatch, path("webhooks", id), nil, req, &out)
	return out, err
}

// DeleteWebhook removes a subscription with its deliveries.
func (c *Client) DeleteWebhook(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("webhooks", id), nil, nil, nil)
}

// RotateWebhookSecret gives a subscription a new secret. For a day its messages are signed with the old one too.
func (c *Client) RotateWebhookSecret(ctx context.Context, id string) (NewWebhook, error) {
	var out NewWebhook
	err := c.call(ctx, http.MethodPost, path("webhooks", id, "rotate-secret"), nil, nil, &out)
	return out, err
}

// TestWebhook sends a test to a subscription and returns its delivery.
func (c *Client) TestWebhook(ctx context.Context, id string) (Delivery, error) {
	var out Delivery
	err := c.call(ctx, http.MethodPost, path("webhooks", id, "test"), nil, nil, &out)
	return out, err
}

// Deliveries returns a page of a subscription's deliveries, oldest first, of one status unless that is empty. Those of
// status DEAD are its dead letters.
func (c *Client) Deliveries(ctx context.Context, id, status string, p Page) (DeliveryList, error) {
	var out DeliveryList
	q := p.query()
	if status != "" {
		q.Set("status", status)
	}
	err := c.call(ctx, http.MethodGet, path("webhooks", id, "deliveries"), q, nil, &out)
	return out, err
}

// Delivery returns one delivery with its last attempts.
func (c *Client) Delivery(ctx context.Context, id, deliveryID string) (DeliveryDetail, error) {
	var out DeliveryDetail
	err := c.call(ctx, http.MethodGet, path("webhooks", id, "deliveries", deliveryID), nil, nil, &out)
	return out, err
}

// Redeliver makes a delivery due anew, also one that arrived. Its id stays.
func (c *Client) Redeliver(ctx context.Context, id, deliveryID string) (Delivery, error) {
	var out Delivery
	err := c.call(ctx, http.MethodPost, path("webhooks", id, "deliveries", deliveryID, "redeliver"), nil, nil, &out)
	return out, err
}

// RedeliverDead makes a subscription's dead deliveries due anew, at most a thousand.
func (c *Client) RedeliverDead(ctx context.Context, id string) (Redelivered, error) {
	var out Redelivered
	err := c.call(ctx, http.MethodPost, path("webhooks", id, "redeliver"), nil, nil, &out)
	return out, err
}
