package httpapi_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/api"
)

func TestIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.cluster.ID
	networking := "/api/v1/clusters/" + id + "/networking"
	with := func(key string) map[string]string { return map[string]string{"Idempotency-Key": key} }
	create := func(name string) string {
		return `{"project_id":"` + w.cluster.ProjectID + `","name":"` + name + `","cloud_provider":"AWS","regions":["us-east-1"]}`
	}

	t.Run("the repetition is answered as the request was", func(t *testing.T) {
		first := w.send(t, "POST", "/api/v1/clusters", create("once"), with("k1"))
		if first.status != http.StatusOK || first.header.Get("Idempotency-Replayed") != "" {
			t.Fatalf("%d %s", first.status, first.body)
		}
		before := w.state(t)
		for _, key := range []string{"k1", `"k1"`} {
			again := w.send(t, "POST", "/api/v1/clusters", create("once"), with(key))
			if again.status != first.status || !bytes.Equal(again.body, first.body) || again.header.Get("ETag") != first.header.Get("ETag") ||
				again.header.Get("ETag") == "" || again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%d %v %s", again.status, again.header, again.body)
			}
		}
		same(t, before, w.state(t))
		// Also when what it made is gone since: the request was done once.
		var made api.Cluster
		for _, c := range must(w.client.Clusters(ctx, api.Page{}))(t).Clusters {
			if c.Name == "once" {
				made = c
			}
		}
		if err := w.client.DeleteCluster(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
		if again := w.send(t, "POST", "/api/v1/clusters", create("once"), with("k1")); !bytes.Equal(again.body, first.body) {
			t.Errorf("%d %s", again.status, again.body)
		}
		if _, err := w.client.Cluster(ctx, made.ID); !api.IsNotFound(err) {
			t.Errorf("it was made again: %v", err)
		}
	})

	t.Run("the same key for something else is refused", func(t *testing.T) {
		before := w.state(t)
		for path, body := range map[string]string{
			"/api/v1/clusters":                           create("other"),
			"/api/v1/projects":                           `{"name":"other"}`,
			networking + "/private-endpoint-connections": `{"endpoint_id":"` + endpointA + `"}`,
		} {
			if got := w.send(t, "POST", path, body, with("k1")); got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "IDEMPOTENCY_KEY_REUSED") {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		}
		same(t, before, w.state(t))
	})

	t.Run("another caller's keys are others", func(t *testing.T) {
		if got := w.send(t, "POST", "/api/v1/gateway/ack", `{"gateway_id":"nobody","revision":1}`, map[string]string{
			"Idempotency-Key": "k1", "Authorization": "Bearer " + gatewayToken,
		}); strings.Contains(string(got.body), "IDEMPOTENCY") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})

	t.Run("a refusal is not kept", func(t *testing.T) {
		body := `{"endpoint_id":"` + endpointA + `","cloud_provider":"AWS","region":"eu-west-1"}`
		path := "/api/v1/projects/" + w.cluster.ProjectID + "/networking/private-endpoint-connections"
		if got := w.send(t, "POST", path, body, with("k2")); got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "REGION_UNKNOWN") {
			t.Fatalf("%d %s", got.status, got.body)
		}
		_, err := w.client.PutRegion(ctx, "AWS", "eu-west-1", api.PutRegionRequest{VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"}, GatewayTargets: []string{"127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.send(t, "POST", path, body, with("k2")); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
	})

	t.Run("a secret is shown once, and kept nowhere", func(t *testing.T) {
		_, program := w.account(t, "once")
		jane, _ := w.person(t, "jane@once.example")
		hook := must(w.client.CreateWebhook(ctx, api.CreateWebhookRequest{URL: "https://192.0.0.9.example/"}))(t)
		for path, body := range map[string]string{
			networking + "/claims":                                   `{"ttl_seconds":600}`,
			"/api/v1/principals/" + program.ID + "/api-keys":         `{"name":"once"}`,
			"/api/v1/people/" + jane.Principal.ID + "/sign-in-reset": ``,
			"/api/v1/webhooks":                                       `{"url":"https://hooks.example/"}`,
			"/api/v1/webhooks/" + hook.ID + "/rotate-secret":         ``,
		} {
			first := w.send(t, "POST", path, body, with("secret "+path))
			again := w.send(t, "POST", path, body, with("secret "+path))
			if first.status != http.StatusOK || again.status != http.StatusConflict || !strings.Contains(string(again.body), "ANSWER_SHOWN_ONCE") {
				t.Errorf("%s: %d %s, then %d %s", path, first.status, first.body, again.status, again.body)
			}
		}
		if list := must(w.client.Claims(ctx, id, api.Page{}))(t).Claims; len(list) != 1 {
			t.Errorf("%d claims were made", len(list))
		}
	})

	t.Run("at the same time", func(t *testing.T) {
		replies := make([]reply, 8)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() { replies[i] = w.send(t, "POST", "/api/v1/clusters", create("race"), with("k4")) })
		}
		wg.Wait()
		done := 0
		for _, r := range replies {
			if r.status != http.StatusOK || !bytes.Equal(r.body, replies[0].body) {
				t.Errorf("%d %s", r.status, r.body)
			}
			if r.header.Get("Idempotency-Replayed") == "" {
				done++
			}
		}
		if done != 1 {
			t.Errorf("it was done %d times", done)
		}
	})

	t.Run("what is no key is refused", func(t *testing.T) {
		for _, key := range []string{`""`, strings.Repeat("k", 256), "k\x01"} {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/v1/projects", strings.NewReader(`{"name":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+operatorToken)
			req.Header.Set("Idempotency-Key", key)
			if strings.Contains(key, "\x01") {
				req.Header["Idempotency-Key"] = []string{"käy"}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: %d, %v", key, resp.StatusCode, err)
			}
		}
	})

	t.Run("a body that is wrong is refused as ever", func(t *testing.T) {
		for body, reason := range map[string]string{`{`: "MALFORMED_JSON", `{"nam":"x"}`: "UNKNOWN_FIELD", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`: "BODY_TOO_LONG"} {
			if got := w.send(t, "POST", "/api/v1/projects", body, with("k5")); !strings.Contains(string(got.body), reason) {
				t.Errorf("%d %.200s, want %s", got.status, got.body, reason)
			}
		}
	})

	t.Run("after a day the key is forgotten", func(t *testing.T) {
		first := w.send(t, "POST", networking+"/claims", `{"ttl_seconds":600}`, with("k6"))
		w.ahead(25 * time.Hour)
		again := w.send(t, "POST", networking+"/claims", `{"ttl_seconds":600}`, with("k6"))
		if first.status != http.StatusOK || again.status != http.StatusOK || again.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%d, then %d %s", first.status, again.status, again.body)
		}
		if err := w.store.Trim(ctx); err != nil {
			t.Error(err)
		}
	})
}
