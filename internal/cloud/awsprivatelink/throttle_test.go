package awsprivatelink_test

import (
	"context"
	"testing"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/link"
)

// A cloud that throttles is told from one that refuses, and many decisions fit through a narrow door.
func TestThrottlingCloud(t *testing.T) {
	w := newWorldWith(t, func(cfg *fabric.Config) {
		cfg.Limit = func(action string) fabric.Limit {
			switch action {
			case "AcceptVpcEndpointConnections", "DescribeLoadBalancers":
				return fabric.Limit{Burst: 1, PerSecond: 20}
			}
			return fabric.Limit{}
		}
	})
	c := &counter{sent: map[string]int{}, names: map[string]cloud.Bucket{}}
	d, err := awsprivatelink.New(t.Context(), awsprivatelink.Config{
		Region: region, EndpointURL: w.fabric.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret",
		MaxBackoff: 100 * time.Millisecond, Limiter: c,
	})
	must(t, err)
	svc := ensured(t, d, w.Spec)
	var ids []link.EndpointID
	for range 20 {
		ids = append(ids, w.connect(t, svc.Name))
	}
	for range 3 {
		for i, err := range d.Accept(context.WithoutCancel(t.Context()), svc.ServiceID, ids...) {
			if err != nil {
				t.Errorf("%s: %v", ids[i], err)
			}
		}
	}
	for _, api := range []string{"ec2:AcceptVpcEndpointConnections", "elb:DescribeLoadBalancers"} {
		if c.sent[api+" throttled"] == 0 || c.sent[api+" done"] == 0 || c.sent[api+" lost"] > 0 {
			t.Errorf("%s: told of %v", api, c.sent)
		}
	}
	if n := c.sent["ec2:AcceptVpcEndpointConnections done"]; n != 3 {
		t.Errorf("%d requests for three decisions", n)
	}
}
