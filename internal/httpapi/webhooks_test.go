package httpapi_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

const receiver = "https://hooks.example.com/postern"

func TestWebhooks(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	made, err := w.client.CreateWebhook(ctx, api.CreateWebhookRequest{
		URL: receiver, Types: []string{"connection.connected", "connection.action_needed"}, ClusterID: w.cluster.ID, Description: "ours",
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(made.Secret, "whsec_")
	if key, err := base64.StdEncoding.DecodeString(raw); !ok || err != nil || len(key) != 32 || !made.Enabled || made.Kind != "WEBHOOK" {
		t.Errorf("made %+v", made)
	}
	rotated, err := w.client.RotateWebhookSecret(ctx, made.ID)
	if err != nil || rotated.Secret == made.Secret || !strings.HasPrefix(rotated.Secret, "whsec_") {
		t.Errorf("rotated: %+v, %v", rotated, err)
	}
	// What was shown once is shown nowhere else.
	for _, path := range []string{"/api/v1/webhooks", "/api/v1/webhooks/" + made.ID, "/api/v1/events"} {
		if got := w.send(t, http.MethodGet, path, "", nil); got.status != http.StatusOK || strings.Contains(string(got.body), "whsec_") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if strings.Contains(w.log.String(), "whsec_") {
		t.Error("the log has the secret")
	}

	w.happen(t, "ACCEPTED")
	err = w.store.Write(ctx, func(tx *store.Tx) error {
		return tx.AddEvent(link.Event{
			Object: link.ObjectRef{Kind: link.ObjectConnection, ID: w.cluster.ID + "/" + endpointA}, Type: link.EventStateChanged, State: "AVAILABLE", Message: "m", Actor: "reconciler",
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.client.Deliveries(ctx, made.ID, "", api.Page{})
	if err != nil || len(list.Deliveries) != 1 {
		t.Fatalf("deliveries: %+v, %v", list, err)
	}
	d := list.Deliveries[0]
	if d.Type != "connection.connected" || d.Status != "PENDING" || d.Event.State != "AVAILABLE" || d.Event.ClusterID != w.cluster.ID {
		t.Errorf("the delivery: %+v", d)
	}
	err = w.store.Write(ctx, func(tx *store.Tx) error {
		stored, err := tx.Delivery(link.ID(d.ID))
		if err != nil {
			return err
		}
		stored.Status, stored.Attempts, stored.NextAt, stored.LastError = link.DeliveryDead, 16, time.Time{}, "no answer"
		if _, err := tx.SwapDelivery(stored); err != nil {
			return err
		}
		return tx.AddAttempt(stored.ID, link.DeliveryAttempt{At: tx.Now(), Status: 503, Error: "no answer", Took: 15 * time.Second})
	})
	if err != nil {
		t.Fatal(err)
	}
	dead, err := w.client.Deliveries(ctx, made.ID, "DEAD", api.Page{})
	if err != nil || len(dead.Deliveries) != 1 || dead.Deliveries[0].ID != d.ID || dead.Deliveries[0].LastError != "no answer" {
		t.Errorf("dead letters: %+v, %v", dead, err)
	}
	detail, err := w.client.Delivery(ctx, made.ID, d.ID)
	if err != nil || len(detail.History) != 1 || detail.History[0].DurationMS != 15000 || detail.History[0].Status != 503 {
		t.Errorf("the dead letter: %+v, %v", detail, err)
	}
	if n, err := w.client.RedeliverDead(ctx, made.ID); err != nil || n.Redelivered != 1 {
		t.Errorf("redelivered %+v, %v", n, err)
	}
	if n, err := w.client.RedeliverDead(ctx, made.ID); err != nil || n.Redelivered != 0 {
		t.Errorf("redelivered %+v, %v", n, err)
	}
	if again, err := w.client.Redeliver(ctx, made.ID, d.ID); err != nil || again.ID != d.ID || again.Status != "PENDING" || again.Attempts != 0 {
		t.Errorf("redelivered %+v, %v", again, err)
	}
	test, err := w.client.TestWebhook(ctx, made.ID)
	if err != nil || test.Type != "webhook.test" || test.WebhookID != made.ID || test.Event.Actor != "alice" {
		t.Errorf("the test: %+v, %v", test, err)
	}

	off, on := false, true
	none := ""
	if got, err := w.client.UpdateWebhook(ctx, made.ID, api.UpdateWebhookRequest{Enabled: &off, ClusterID: &none}); err != nil || got.Enabled || got.DisabledReason != "DISABLED_BY_REQUEST" || got.ClusterID != "" {
		t.Errorf("switched off: %+v, %v", got, err)
	}
	_, err = w.client.TestWebhook(ctx, made.ID)
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != http.StatusPreconditionFailed || e.Details[0].Reason != "WEBHOOK_DISABLED" {
		t.Errorf("a test of what is switched off: %v", err)
	}
	if got, err := w.client.UpdateWebhook(ctx, made.ID, api.UpdateWebhookRequest{Enabled: &on}); err != nil || !got.Enabled || got.DisabledReason != "" || got.URL != receiver {
		t.Errorf("switched on: %+v, %v", got, err)
	}
	all, err := w.client.Webhooks(ctx, "", api.Page{})
	if err != nil || len(all.Webhooks) != 1 || all.Webhooks[0].Description != "ours" {
		t.Errorf("listed: %+v, %v", all, err)
	}
	if got, err := w.client.Webhook(ctx, made.ID); err != nil || got.ID != made.ID {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := w.client.DeleteWebhook(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.client.Delivery(ctx, made.ID, d.ID)
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != http.StatusNotFound || e.Details[0].Reason != "WEBHOOK_NOT_FOUND" {
		t.Errorf("a delivery of what is deleted: %v", err)
	}
}

func TestWebhookRefusals(t *testing.T) {
	w := newWorld(t)
	made, err := w.client.CreateWebhook(within(t), api.CreateWebhookRequest{URL: receiver})
	if err != nil {
		t.Fatal(err)
	}
	hook := func(url string) string { return `{"url":"` + url + `"}` }
	one := "/api/v1/webhooks/" + made.ID
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		reason, field      string
	}{
		"no URL":                   {"POST", "/api/v1/webhooks", `{}`, 400, "MALFORMED_URL", "url"},
		"plain HTTP":               {"POST", "/api/v1/webhooks", hook("http://hooks.example.com/"), 400, "MALFORMED_URL", "url"},
		"plain HTTP to loopback":   {"POST", "/api/v1/webhooks", hook("http://127.0.0.1:80/"), 400, "MALFORMED_URL", "url"},
		"another scheme":           {"POST", "/api/v1/webhooks", hook("file:///etc/passwd"), 400, "MALFORMED_URL", "url"},
		"a password":               {"POST", "/api/v1/webhooks", hook("https://u:p@hooks.example.com/"), 400, "MALFORMED_URL", "url"},
		"a fragment":               {"POST", "/api/v1/webhooks", hook("https://hooks.example.com/#x"), 400, "MALFORMED_URL", "url"},
		"this machine":             {"POST", "/api/v1/webhooks", hook("https://127.0.0.1/"), 400, "ADDRESS_NOT_PUBLIC", "url"},
		"this machine by name":     {"POST", "/api/v1/webhooks", hook("https://localhost/"), 400, "ADDRESS_NOT_PUBLIC", "url"},
		"the metadata service":     {"POST", "/api/v1/webhooks", hook("https://169.254.169.254/"), 400, "ADDRESS_NOT_PUBLIC", "url"},
		"the same as IPv6":         {"POST", "/api/v1/webhooks", hook("https://[::ffff:169.254.169.254]/"), 400, "ADDRESS_NOT_PUBLIC", "url"},
		"a private network":        {"PATCH", one, hook("https://10.1.2.3/"), 400, "ADDRESS_NOT_PUBLIC", "url"},
		"a type of nothing":        {"POST", "/api/v1/webhooks", `{"url":"` + receiver + `","types":["connection.connected","connection.imagined"]}`, 400, "UNKNOWN_TYPE", "types[1]"},
		"an unknown cluster":       {"POST", "/api/v1/webhooks", `{"url":"` + receiver + `","cluster_id":"` + nobody + `"}`, 400, "CLUSTER_NOT_FOUND", "cluster_id"},
		"an unknown organisation":  {"POST", "/api/v1/webhooks", `{"url":"` + receiver + `","organisation_id":"` + nobody + `"}`, 404, "ORGANISATION_NOT_FOUND", "organisation_id"},
		"mail without a server":    {"POST", "/api/v1/webhooks", `{"kind":"MAIL","addresses":["a@b.example"]}`, 412, "MAIL_NOT_SET_UP", "kind"},
		"mail with a URL":          {"POST", "/api/v1/webhooks", `{"kind":"MAIL","url":"` + receiver + `"}`, 400, "NOT_FOR_MAIL", "url"},
		"a webhook with addresses": {"POST", "/api/v1/webhooks", `{"url":"` + receiver + `","addresses":["a@b.example"]}`, 400, "NOT_FOR_WEBHOOKS", "addresses"},
		"an unknown kind":          {"POST", "/api/v1/webhooks", `{"kind":"PIGEON"}`, 400, "INVALID_VALUE", "kind"},
		"an id that is none":       {"GET", "/api/v1/webhooks/x", "", 400, "MALFORMED_ID", "webhook_id"},
		"what is not there":        {"DELETE", "/api/v1/webhooks/" + nobody, "", 404, "WEBHOOK_NOT_FOUND", "webhook_id"},
		"a delivery of nothing":    {"POST", one + "/deliveries/" + nobody + "/redeliver", "", 404, "DELIVERY_NOT_FOUND", "delivery_id"},
		"a delivery id of none":    {"GET", one + "/deliveries/x", "", 400, "MALFORMED_ID", "delivery_id"},
		"a status of none":         {"GET", one + "/deliveries?status=LOST", "", 400, "INVALID_VALUE", "status"},
		"a page of another list":   {"GET", one + "/deliveries?pagination.page=x", "", 400, "MALFORMED_PAGE", "pagination.page"},
	} {
		got := w.send(t, tt.method, tt.path, tt.body, nil)
		if got.status != tt.status || !strings.Contains(string(got.body), `"`+tt.reason+`"`) || !strings.Contains(string(got.body), `"field":"`+tt.field+`"`) {
			t.Errorf("%s: %d %s; want %d, %s of %s", name, got.status, got.body, tt.status, tt.reason, tt.field)
		}
	}
}
