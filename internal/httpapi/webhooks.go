package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// WebhookPath is a subscription in a path.
type WebhookPath struct {
	WebhookID string `path:"webhook_id" doc:"The subscription's id"`
}

func (p WebhookPath) webhook() (link.ID, error) { return link.ParseID("webhook_id", p.WebhookID) }

// DeliveryPath is a delivery of a subscription in a path.
type DeliveryPath struct {
	WebhookPath
	DeliveryID string `path:"delivery_id" doc:"The delivery's id"`
}

func (p DeliveryPath) delivery() (webhook, delivery link.ID, err error) {
	if webhook, err = p.webhook(); err != nil {
		return "", "", err
	}
	delivery, err = link.ParseID("delivery_id", p.DeliveryID)
	return webhook, delivery, err
}

func (s *server) webhooks() {
	const tag, base = "Webhooks", "/api/v1/webhooks"
	const one = base + "/{webhook_id}"

	type all struct {
		OrganisationID string `query:"organisation_id" doc:"Whose; absent for the installation's own"`
		PageQuery
	}
	register(s, route{method: http.MethodGet, path: base, id: "ListWebhooks", tag: tag, summary: "List subscriptions, without their secrets"},
		func(ctx context.Context, c policy.Caller, in *all) (api.WebhookList, error) {
			id, err := optionalID("organisation_id", in.OrganisationID)
			if err != nil {
				return api.WebhookList{}, err
			}
			list, next, err := s.plane.Webhooks(ctx, c, id, in.page())
			return api.WebhookList{Webhooks: each(list, wireWebhook), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct{ Body api.CreateWebhookRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateWebhook", tag: tag, secret: true,
		summary: "Subscribe to what happens, by webhook or mail; the secret is shown once",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.NewWebhook, error) {
			req, err := readWebhook(in.Body)
			if err != nil {
				return api.NewWebhook{}, err
			}
			made, err := s.plane.CreateWebhook(ctx, c, req)
			return api.NewWebhook{Webhook: wireWebhook(made.Webhook), Secret: made.Secret}, err
		})

	register(s, route{method: http.MethodGet, path: one, id: "GetWebhook", tag: tag, summary: "Get a subscription"},
		func(ctx context.Context, c policy.Caller, in *WebhookPath) (api.Webhook, error) {
			id, err := in.webhook()
			if err != nil {
				return api.Webhook{}, err
			}
			w, err := s.plane.Webhook(ctx, c, id)
			return wireWebhook(w), err
		})

	type update struct {
		WebhookPath
		Body api.UpdateWebhookRequest
	}
	register(s, route{method: http.MethodPatch, path: one, id: "UpdateWebhook", tag: tag, summary: "Change a subscription"},
		func(ctx context.Context, c policy.Caller, in *update) (api.Webhook, error) {
			id, err := in.webhook()
			if err != nil {
				return api.Webhook{}, err
			}
			u, err := readWebhookUpdate(in.Body)
			if err != nil {
				return api.Webhook{}, err
			}
			w, err := s.plane.UpdateWebhook(ctx, c, id, u)
			return wireWebhook(w), err
		})

	register(s, route{method: http.MethodDelete, path: one, id: "DeleteWebhook", tag: tag, summary: "Delete a subscription with its deliveries"},
		func(ctx context.Context, c policy.Caller, in *WebhookPath) (empty, error) {
			id, err := in.webhook()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteWebhook(ctx, c, id)
		})

	register(s, route{
		method: http.MethodPost, path: one + "/rotate-secret", id: "RotateWebhookSecret", tag: tag, secret: true,
		summary: "Change a subscription's secret; for a day messages carry a signature by the old one too",
	},
		func(ctx context.Context, c policy.Caller, in *WebhookPath) (api.NewWebhook, error) {
			id, err := in.webhook()
			if err != nil {
				return api.NewWebhook{}, err
			}
			w, err := s.plane.RotateWebhookSecret(ctx, c, id)
			return api.NewWebhook{Webhook: wireWebhook(w.Webhook), Secret: w.Secret}, err
		})

	register(s, route{method: http.MethodPost, path: one + "/test", id: "TestWebhook", tag: tag, summary: "Send a test to a subscription"},
		func(ctx context.Context, c policy.Caller, in *WebhookPath) (api.Delivery, error) {
			id, err := in.webhook()
			if err != nil {
				return api.Delivery{}, err
			}
			d, err := s.plane.TestWebhook(ctx, c, id)
			return wireDelivery(d), err
		})
	s.deliveries(tag, one)
}

// deliveries serves what became of what a subscription was told.
func (s *server) deliveries(tag, one string) {
	type all struct {
		WebhookPath
		Status string `query:"status" enum:"PENDING,DELIVERED,DEAD" doc:"Of this status alone; those that are DEAD are not tried again by themselves"`
		PageQuery
	}
	register(s, route{method: http.MethodGet, path: one + "/deliveries", id: "ListDeliveries", tag: tag, summary: "List a subscription's deliveries, oldest first"},
		func(ctx context.Context, c policy.Caller, in *all) (api.DeliveryList, error) {
			id, err := in.webhook()
			if err != nil {
				return api.DeliveryList{}, err
			}
			list, next, err := s.plane.Deliveries(ctx, c, id, link.DeliveryStatus(in.Status), in.page())
			return api.DeliveryList{Deliveries: each(list, wireDelivery), Pagination: api.Pagination{NextPage: next}}, err
		})

	register(s, route{method: http.MethodGet, path: one + "/deliveries/{delivery_id}", id: "GetDelivery", tag: tag, summary: "Get a delivery with its attempts"},
		func(ctx context.Context, c policy.Caller, in *DeliveryPath) (api.DeliveryDetail, error) {
			id, delivery, err := in.delivery()
			if err != nil {
				return api.DeliveryDetail{}, err
			}
			d, tries, err := s.plane.Delivery(ctx, c, id, delivery)
			return api.DeliveryDetail{Delivery: wireDelivery(d), History: each(tries, wireAttempt)}, err
		})

	register(s, route{
		method: http.MethodPost, path: one + "/deliveries/{delivery_id}/redeliver", id: "Redeliver", tag: tag,
		summary: "Deliver once more, under the same id",
	},
		func(ctx context.Context, c policy.Caller, in *DeliveryPath) (api.Delivery, error) {
			id, delivery, err := in.delivery()
			if err != nil {
				return api.Delivery{}, err
			}
			d, err := s.plane.Redeliver(ctx, c, id, delivery)
			return wireDelivery(d), err
		})

	register(s, route{method: http.MethodPost, path: one + "/redeliver", id: "RedeliverDead", tag: tag, summary: "Deliver once more what is dead, at most a thousand"},
		func(ctx context.Context, c policy.Caller, in *WebhookPath) (api.Redelivered, error) {
			id, err := in.webhook()
			if err != nil {
				return api.Redelivered{}, err
			}
			n, err := s.plane.RedeliverDead(ctx, c, id)
			return api.Redelivered{Redelivered: n}, err
		})
}

func readWebhook(in api.CreateWebhookRequest) (out control.WebhookRequest, err error) {
	out = control.WebhookRequest{
		Kind: link.WebhookKind(in.Kind), URL: in.URL, Addresses: in.Addresses, Types: happenings(in.Types), Description: in.Description,
	}
	if out.Kind == "" {
		out.Kind = link.WebhookHTTP
	}
	if out.OrganisationID, err = optionalID("organisation_id", in.OrganisationID); err != nil {
		return out, err
	}
	if out.ProjectID, err = optionalID("project_id", in.ProjectID); err != nil {
		return out, err
	}
	out.ClusterID, err = optionalID("cluster_id", in.ClusterID)
	return out, err
}

func readWebhookUpdate(in api.UpdateWebhookRequest) (out control.WebhookUpdate, err error) {
	out = control.WebhookUpdate{URL: in.URL, Addresses: in.Addresses, Description: in.Description, Enabled: in.Enabled}
	if in.Types != nil {
		types := happenings(*in.Types)
		out.Types = &types
	}
	for _, ref := range []struct {
		field string
		from  *string
		to    **link.ID
	}{{"project_id", in.ProjectID, &out.ProjectID}, {"cluster_id", in.ClusterID, &out.ClusterID}} {
		if ref.from == nil {
			continue
		}
		id, err := optionalID(ref.field, *ref.from)
		if err != nil {
			return out, err
		}
		*ref.to = &id
	}
	return out, nil
}

func happenings(types []string) []link.Happening {
	return each(types, func(s string) link.Happening { return link.Happening(s) })
}

func wireWebhook(w link.Webhook) api.Webhook {
	return api.Webhook{
		ID: string(w.ID), OrganisationID: string(w.OrganisationID), Kind: string(w.Kind), URL: w.URL, Addresses: text(w.Addresses),
		Types: text(w.Types), ProjectID: string(w.ProjectID), ClusterID: string(w.ClusterID), Description: w.Description,
		Enabled: w.Enabled, DisabledReason: w.DisabledReason, CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(),
	}
}

func wireDelivery(d link.Delivery) api.Delivery {
	out := api.Delivery{
		ID: string(d.ID), WebhookID: string(d.WebhookID), Type: string(d.Type), Event: wireFeedEvent(d.Event), Status: string(d.Status),
		Attempts: d.Attempts, LastError: d.LastError, CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
	if !d.NextAt.IsZero() {
		out.NextAttemptAt = d.NextAt.UTC()
	}
	return out
}

func wireAttempt(a link.DeliveryAttempt) api.DeliveryAttempt {
	return api.DeliveryAttempt{At: a.At.UTC(), Status: a.Status, Error: a.Error, DurationMS: a.Took.Milliseconds()}
}
