package awsprivatelink_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
)

func TestASecondServiceOfTheSameKeyIsToldAndNotUsed(t *testing.T) {
	w := newWorld(t)
	d := newDriver(t, w.fabric, nil)
	first := ensured(t, d, w.Spec)
	lbs, err := w.vendorELB.CreateLoadBalancer(t.Context(), &elb.CreateLoadBalancerInput{
		Name: aws.String("by-hand"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: elbtypes.LoadBalancerSchemeEnumInternal,
		Subnets: w.Spec.SubnetIDs,
	})
	must(t, err)
	out, err := w.vendorEC2.CreateVpcEndpointServiceConfiguration(t.Context(), &ec2.CreateVpcEndpointServiceConfigurationInput{
		NetworkLoadBalancerArns: []string{aws.ToString(lbs.LoadBalancers[0].LoadBalancerArn)},
		AcceptanceRequired:      aws.Bool(true),
		TagSpecifications: []ec2types.TagSpecification{{
			ResourceType: ec2types.ResourceTypeVpcEndpointService,
			Tags:         []ec2types.Tag{{Key: aws.String("postern:key"), Value: aws.String(w.Spec.Key)}},
		}},
	})
	must(t, err)
	twin := aws.ToString(out.ServiceConfiguration.ServiceId)
	w.connect(t, first.Name) // the one in use is the one to keep, whatever its id

	got, err := d.EnsureService(t.Context(), w.Spec)
	must(t, err)
	if got.ServiceID != first.ServiceID {
		t.Errorf("now uses %s, was %s", got.ServiceID, first.ServiceID)
	}
	if !strings.Contains(got.Problem, twin) {
		t.Errorf("the problem %q does not name the second service %s", got.Problem, twin)
	}
}

func TestServiceTellsWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	d := newDriver(t, w.fabric, nil)
	svc := ensured(t, d, w.Spec)
	drift := w.drift()
	drift["PROXY protocol turned off"](t, svc)
	drift["acceptance no longer required"](t, svc)
	got, err := d.Service(t.Context(), w.Spec.Key)
	must(t, err)
	for _, want := range []string{"PROXY protocol v2 is off", "without acceptance"} {
		if !strings.Contains(got.Problem, want) {
			t.Errorf("the problem %q does not say %q", got.Problem, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(*cloud.ServiceSpec)
		reason string
	}{
		{"no key", func(s *cloud.ServiceSpec) { s.Key = "" }, "INCOMPLETE_SPEC"},
		{"no subnet", func(s *cloud.ServiceSpec) { s.SubnetIDs = nil }, "INCOMPLETE_SPEC"},
		{"no port", func(s *cloud.ServiceSpec) { s.Ports = nil }, "INCOMPLETE_SPEC"},
		{"principal that is none", func(s *cloud.ServiceSpec) { s.Principals = []string{"arn:aws:sts::222222222222:assumed-role/a/b"} }, "REQUEST_REFUSED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := w.Spec
			tt.change(&spec)
			var refused *cloud.Refusal
			for refused == nil { // until AWS has provisioned what comes before
				_, err := newDriver(t, w.fabric, nil).EnsureService(t.Context(), spec)
				if err != nil && !errors.As(err, &refused) {
					t.Fatalf("got %v, want a refusal", err)
				}
			}
			if refused.Reason != tt.reason {
				t.Errorf("reason %s (%v), want %s", refused.Reason, refused, tt.reason)
			}
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		d, err := awsprivatelink.New(t.Context(), awsprivatelink.Config{
			Region: region, EndpointURL: w.fabric.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "wrong",
		})
		must(t, err)
		_, err = d.EnsureService(t.Context(), w.Spec)
		refused, ok := errors.AsType[*cloud.Refusal](err)
		if !ok || refused.Reason != "CREDENTIALS_REFUSED" {
			t.Errorf("got %v, want a refusal with reason CREDENTIALS_REFUSED", err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("the error shows the secret: %v", err)
		}
	})
}

func ensured(t *testing.T, d *awsprivatelink.Driver, spec cloud.ServiceSpec) cloud.Service {
	t.Helper()
	for {
		svc, err := d.EnsureService(t.Context(), spec)
		must(t, err)
		if svc.ServiceID != "" {
			return svc
		}
	}
}
