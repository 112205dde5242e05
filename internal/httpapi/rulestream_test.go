package httpapi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern/postern/api"
)

var hello = api.GatewayHello{GatewayID: "gw-1", ProofKey: bytes.Repeat([]byte{7}, ed25519.PublicKeySize)}

func follow(ctx context.Context, t *testing.T, w *world) *api.RuleStream {
	t.Helper()
	s, err := w.gateway.Rules(ctx, hello)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRulesStream(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	s := follow(ctx, t, w)
	first, err := s.Next(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Clusters) != 1 || first.Clusters[0].ClusterID != w.cluster.ID || first.Clusters[0].PublicAccess != "ENABLED" ||
		!slices.Equal(first.Clusters[0].PrivateNames, []string{"acme.us-east-1.pe.postern.test"}) || len(first.Clusters[0].AllowList) != 2 {
		t.Errorf("the first document: %+v", first)
	}
	if _, err := w.client.SetPublicAccess(ctx, w.cluster.ID, "DISABLED"); err != nil {
		t.Fatal(err)
	}
	second, err := s.Next(nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.From != first.Revision || second.Revision <= first.Revision || len(second.Clusters) != 1 ||
		second.Clusters[0].PublicAccess != "DISABLED" || second.Tag == first.Tag || second.More {
		t.Errorf("after revision %d: %+v", first.Revision, second)
	}
	gone, err := w.client.CreateCluster(ctx, api.CreateClusterRequest{
		ProjectID: w.cluster.ProjectID, Name: "gone", CloudProvider: "AWS", Regions: []string{"us-east-1"}, Backends: []string{"127.0.0.1:1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.Next(nil)
	if err != nil || third.From != second.Revision || len(third.Clusters) != 1 || third.Clusters[0].ClusterID != gone.ID {
		t.Errorf("after another cluster: %+v, %v", third, err)
	}
	if err := w.client.DeleteCluster(ctx, gone.ID); err != nil {
		t.Fatal(err)
	}
	fourth, err := s.Next(nil)
	if err != nil || len(fourth.Clusters) != 0 || !slices.Equal(fourth.RemovedClusters, []string{gone.ID}) {
		t.Errorf("after its end: %+v, %v", fourth, err)
	}

	for _, tt := range []struct {
		name     string
		revision int64
		tag      string
		from     int64
		clusters int
	}{
		{"none", 0, "", 0, 1},
		{"the newest", fourth.Revision, fourth.Tag, fourth.Revision, 0},
		{"the first", first.Revision, first.Tag, first.Revision, 1},
		{"the newest by its number alone", fourth.Revision, "", 0, 1},
		{"those of another database", third.Revision, "0123", 0, 1},
		{"newer ones than there are", fourth.Revision + 7, fourth.Tag, 0, 1},
	} {
		again := hello
		again.Revision, again.Tag = tt.revision, tt.tag
		s, err := w.gateway.Rules(ctx, again)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Next(nil)
		if err != nil || got.From != tt.from || got.Revision != fourth.Revision || got.Tag != fourth.Tag || len(got.Clusters) != tt.clusters {
			t.Errorf("a gateway comes whose rules are %s: %+v, %v", tt.name, got, err)
		}
		_ = s.Close()
	}
}

func TestRulesStreamTravelsAsLines(t *testing.T) {
	w := newWorld(t)
	q := url.Values{"gateway_id": {"gw-1"}, "proof_key": {"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}, "revision": {"0"}}
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, w.url+"/api/v1/gateway/rules?"+q.Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+gatewayToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
}

// A silent stream is kept alive, and so is the control plane's view of the gateway.
func TestRulesStreamKeepsAlive(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(within(t))
	s := follow(ctx, t, w)
	if _, err := s.Next(nil); err != nil {
		t.Fatal(err)
	}
	seen := func() time.Time {
		list, err := w.client.Gateways(context.WithoutCancel(ctx))
		if err != nil || len(list.Gateways) != 1 {
			t.Fatalf("gateways %+v, %v", list, err)
		}
		return list.Gateways[0].LastSeenAt
	}
	start, lines, later := seen(), 0, time.Time{}
	_, err := s.Next(func() {
		if lines++; lines >= 3 && later.IsZero() {
			if at := seen(); at.After(start) {
				later = at
				cancel()
			}
		}
	})
	if err == nil || later.IsZero() {
		t.Errorf("%d empty lines, error %v, seen first at %v and then at %v", lines, err, start, later)
	}
}

func TestRulesStreamEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	s := follow(within(t), t, w)
	if _, err := s.Next(nil); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if _, err := s.Next(nil); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want EOF: an end that is one", err)
	}
}

func TestRulesStreamLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	http.DefaultClient.CloseIdleConnections()
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(within(t))
	transport := &http.Transport{}
	c := api.New(w.url, gatewayToken, api.WithHTTPClient(&http.Client{Transport: transport}))
	for range 5 {
		s, err := c.Rules(ctx, hello)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(nil); err != nil {
			t.Fatal(err)
		}
	}
	cancel() // the gateway vanishes
	transport.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

// Many gateways follow at once, each at its own pace: all of them end with the same rules, though no two need to have been
// told the same changes.
func TestManyGatewaysFollow(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	list, err := w.client.Gateways(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const gateways, changes = 12, 25
	last := list.RulesRevision + changes
	var following sync.WaitGroup
	for i := range gateways {
		s := follow(ctx, t, w)
		following.Go(func() {
			for at := (api.GatewayRules{}); at.Revision < last; {
				doc, err := s.Next(nil)
				if err != nil || doc.From != at.Revision || doc.Revision <= at.Revision || len(doc.Clusters) != 1 {
					t.Errorf("gateway %d, after revision %d: %+v, %v", i, at.Revision, doc, err)
					return
				}
				if at = doc; at.Revision == last && at.Clusters[0].PublicAccess != "DISABLED" {
					t.Errorf("gateway %d ends with public access %s", i, at.Clusters[0].PublicAccess)
				}
			}
		})
	}
	for i := range changes {
		if _, err := w.client.SetPublicAccess(ctx, w.cluster.ID, []string{"DISABLED", "ENABLED"}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	following.Wait()
}
