package httpapi_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/postern/postern/api"
)

// TestETags: an object has one tag wherever it is answered with, and another when it is another.
func TestETags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster := "/api/v1/clusters/" + w.cluster.ID
	entry := cluster + "/networking/allowlist/203.0.113.0/24"
	tag := func(r reply) string {
		t.Helper()
		if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("ETag"), `"`) {
			t.Fatalf("%d, ETag %q: %s", r.status, r.header.Get("ETag"), r.body)
		}
		return r.header.Get("ETag")
	}
	first := tag(w.send(t, "PUT", entry, `{"ui":true}`, nil))
	same(t, first, tag(w.send(t, "GET", entry, "", nil)))
	same(t, first, tag(w.send(t, "POST", cluster+"/networking/allowlist", `{"cidr_ip":"203.0.113.0","cidr_mask":24,"ui":true,"sql":false}`, nil)))
	second := tag(w.send(t, "PATCH", entry, `{"name":"office"}`, nil))
	if first == second {
		t.Error("the tag did not change with the object")
	}

	t.Run("a copy that is current is not sent again", func(t *testing.T) {
		for _, header := range []string{second, "W/" + second, `"other", ` + second, "*"} {
			got := w.send(t, "GET", entry, "", map[string]string{"If-None-Match": header})
			if got.status != http.StatusNotModified || len(got.body) != 0 || got.header.Get("ETag") != second {
				t.Errorf("If-None-Match %s: %d %s", header, got.status, got.body)
			}
		}
		same(t, second, tag(w.send(t, "GET", entry, "", map[string]string{"If-None-Match": first})))
	})

	t.Run("a change on a condition", func(t *testing.T) {
		before := w.state(t)
		for _, r := range []struct{ method, path, body, match string }{
			{"PUT", entry, `{"ui":false}`, first},
			{"PATCH", entry, `{"ui":false}`, `"other"`},
			{"PATCH", entry, `{"ui":false}`, "W/" + second}, // a weak tag says nothing of the whole
			{"DELETE", entry, "", first},
			{"PATCH", cluster, `{"backends":["10.0.0.1:1"]}`, first},
			{"DELETE", cluster, "", first},
			{"PUT", cluster + "/networking/public-access", `{"mode":"DISABLED"}`, first},
		} {
			got := w.send(t, r.method, r.path, r.body, map[string]string{"If-Match": r.match})
			if got.status != http.StatusPreconditionFailed || !strings.Contains(string(got.body), "PRECONDITION_FAILED") || got.header.Get("ETag") == "" {
				t.Errorf("%s %s: %d, ETag %q, %s", r.method, r.path, got.status, got.header.Get("ETag"), got.body)
			}
		}
		got := w.send(t, "POST", cluster+"/networking/allowlist", `{"cidr_ip":"203.0.113.0","cidr_mask":24,"ui":true,"sql":false}`, map[string]string{"If-Match": first})
		if got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "CONDITION_NOT_SUPPORTED") {
			t.Errorf("a condition that cannot be looked at: %d %s", got.status, got.body)
		}
		same(t, before, w.state(t))
		third := tag(w.send(t, "PATCH", entry, `{"ui":false}`, map[string]string{"If-Match": second}))
		same(t, third, tag(w.send(t, "GET", entry, "", nil)))
		tag(w.send(t, "DELETE", entry, "", map[string]string{"If-Match": `"other", ` + third}))
		if got := w.send(t, "DELETE", entry, "", map[string]string{"If-Match": "*"}); got.status != http.StatusNotFound {
			t.Errorf("what is gone matches %d %s", got.status, got.body)
		}
	})

	t.Run("of those who saw the same one gets through", func(t *testing.T) {
		current := tag(w.send(t, "GET", cluster, "", nil))
		statuses := make([]int, 8)
		var wg sync.WaitGroup
		for i := range statuses {
			wg.Go(func() {
				statuses[i] = w.send(t, "PATCH", cluster, `{"backends":["10.0.0.`+string(rune('1'+i))+`:443"]}`, map[string]string{"If-Match": current}).status
			})
		}
		wg.Wait()
		done := 0
		for _, s := range statuses {
			switch s {
			case http.StatusOK:
				done++
			case http.StatusPreconditionFailed:
			default:
				t.Errorf("status %d", s)
			}
		}
		if done != 1 {
			t.Errorf("%d of them changed what all had seen", done)
		}
	})

	// What the document says has a tag has one.
	if _, err := w.client.PutRegion(ctx, "AWS", "us-east-1", api.PutRegionRequest{
		VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"}, GatewayTargets: []string{"127.0.0.1:8443"},
	}); err != nil {
		t.Fatal(err)
	}
	same(t, tag(w.send(t, "GET", "/api/v1/regions/AWS/us-east-1", "", nil)),
		tag(w.send(t, "PUT", "/api/v1/regions/AWS/us-east-1", `{"vpc_id":"vpc-1","subnet_ids":["subnet-1"],"gateway_targets":["127.0.0.1:8443"]}`, nil)))
}
