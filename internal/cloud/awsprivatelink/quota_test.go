package awsprivatelink_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/cloud/cloudtest"
	"github.com/postern/postern/internal/link"
)

// counter is a limiter that lets everything pass and writes down what it is told.
type counter struct {
	mu    sync.Mutex
	waits int
	sent  map[string]int // by API and outcome
	names map[string]cloud.Bucket
	fail  error
}

func (c *counter) Wait(_ context.Context, r cloud.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	c.names[r.Bucket.Name] = r.Bucket
	return c.fail
}

func (c *counter) Sent(r cloud.Request, o cloud.Outcome, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[r.API+" "+string(o)]++
}

// Every try of every request, each page of a list, takes a token and says what came of it.
func TestEveryTryTakesAToken(t *testing.T) {
	w := newWorld(t)
	wire := cloudtest.NewWire(nil, mutates)
	c := &counter{sent: map[string]int{}, names: map[string]cloud.Bucket{}}
	d, err := awsprivatelink.New(t.Context(), awsprivatelink.Config{
		Region: region, EndpointURL: w.fabric.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret",
		Transport: wire, MaxBackoff: time.Millisecond, PageSize: pageSize, Limiter: c,
	})
	must(t, err)
	svc := ensured(t, d, w.Spec)
	for range pageSize + 1 {
		w.connect(t, svc.Name)
	}
	if c.waits != wire.Calls() {
		t.Errorf("%d requests took %d tokens", wire.Calls(), c.waits)
	}

	const list = "ec2:DescribeVpcEndpointConnections "
	for _, tt := range []struct {
		name string
		do   func() error
		want map[string]int
	}{
		{"two pages", func() error { _, err := d.Endpoints(t.Context(), svc.ServiceID, cloud.Query{}); return err }, map[string]int{list + "done": 2}},
		{"throttled twice", func() error {
			wire.AnswerFirst(2, throttled)
			_, err := d.Endpoints(t.Context(), svc.ServiceID, cloud.Query{Owners: []string{"000000000000"}})
			return err
		}, map[string]int{list + "throttled": 2, list + "done": 1}},
		{"an outage", func() error {
			wire.AnswerFirst(1, outage)
			_, err := d.Endpoints(t.Context(), svc.ServiceID, cloud.Query{Owners: []string{"000000000000"}})
			return err
		}, map[string]int{list + "lost": 1, list + "done": 1}},
		{"a refusal", func() error {
			wire.Heal()
			for _, err := range d.Accept(t.Context(), "vpce-svc-00000000000000000", link.EndpointID("vpce-00000000000000000")) {
				if !errors.Is(err, cloud.ErrNotFound) {
					return err
				}
			}
			return nil
		}, map[string]int{"ec2:AcceptVpcEndpointConnections refused": 1}},
	} {
		clear(c.sent)
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		for what, n := range tt.want {
			if c.sent[what] != n {
				t.Errorf("%s: told of %v, want %v", tt.name, c.sent, tt.want)
			}
		}
	}
	for name, b := range c.names {
		if !strings.HasPrefix(name, "AWS/"+region+"/") || b.Burst < 1 || b.PerSecond <= 0 {
			t.Errorf("bucket %+v", b)
		}
	}

	// Who may not send does not.
	c.fail = context.DeadlineExceeded
	wire.AnswerAll(func(*http.Request) *http.Response { t.Error("sent without a token"); return nil })
	if _, err := d.Service(t.Context(), w.Spec.Key); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no token: %v", err)
	}
}
