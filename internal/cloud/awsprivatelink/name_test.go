package awsprivatelink

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

func TestNamesFitAWS(t *testing.T) {
	for _, key := range []string{"a", "AWS/us-east-1", strings.Repeat("long", 100)} {
		lb, tg := loadBalancerName(key), targetGroupName(key, 65535)
		for _, name := range []string{lb, tg} {
			if len(name) > 32 || strings.HasPrefix(name, "internal-") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Errorf("ELB does not take the name %q", name)
			}
		}
		if lb != loadBalancerName(key) {
			t.Errorf("the name of %q is not always the same", key)
		}
	}
	if loadBalancerName("a") == loadBalancerName("b") {
		t.Error("two keys share a name")
	}
	if tok := clientToken("service", "key", "arn", "0"); len(tok) > 64 || tok == clientToken("service", "key", "arn", "1") {
		t.Errorf("bad client token %q", tok)
	}
	if digest("ab", "c") == digest("a", "bc") {
		t.Error("parts of a digest run into each other")
	}
}

func TestPrincipals(t *testing.T) {
	for _, tt := range []struct{ region, account, arn string }{
		{"us-east-1", "*", "*"},
		{"us-east-1", "123456789012", "arn:aws:iam::123456789012:root"},
		{"cn-north-1", "123456789012", "arn:aws-cn:iam::123456789012:root"},
		{"us-gov-west-1", "123456789012", "arn:aws-us-gov:iam::123456789012:root"},
	} {
		if got := principalARN(tt.region, tt.account); got != tt.arn {
			t.Errorf("principalARN(%q, %q) = %q, want %q", tt.region, tt.account, got, tt.arn)
		}
		if got := principalAccount(tt.arn); got != tt.account {
			t.Errorf("principalAccount(%q) = %q, want %q", tt.arn, got, tt.account)
		}
	}
	const user = "arn:aws:iam::123456789012:user/x"
	if got := principalAccount(user); got != user {
		t.Errorf("a user's ARN became %q", got)
	}
}

func TestServiceState(t *testing.T) {
	for wire, want := range map[string]link.ServiceState{
		"Available": link.ServiceAvailable, "available": link.ServiceAvailable, "Pending": link.ServiceCreating,
		"Deleting": link.ServiceDeleting, "Failed": link.ServiceCreateFailed, "": link.ServiceCreateFailed,
	} {
		if got := serviceState(types.ServiceState(wire)); got != want {
			t.Errorf("%q is %s, want %s", wire, got, want)
		}
	}
}

func TestTranslate(t *testing.T) {
	const passing, absent = "passing", "absent"
	for code, want := range map[string]string{
		"RequestLimitExceeded":                 passing,
		"Throttling":                           passing,
		"Unavailable":                          passing,
		"ResourceInUse":                        passing,
		"ExpiredToken":                         passing,
		"InvalidVpcEndpointServiceId.NotFound": absent,
		"LoadBalancerNotFound":                 absent,
		"InvalidVpcEndpointId.NotFound":        absent,
		"ExistingVpcEndpointConnections":       cloud.EndpointsAttached,
		"AuthFailure":                          reasonCredentials,
		"UnauthorizedOperation":                reasonNotAllowed,
		"VpcEndpointServiceLimitExceeded":      reasonQuota,
		"TooManyTargetGroups":                  reasonQuota,
		"InvalidPrincipal":                     reasonRefused,
		"SomethingNew":                         reasonRefused,
	} {
		t.Run(code, func(t *testing.T) {
			err := translate("do it", &smithy.GenericAPIError{Code: code, Message: "words"})
			refused, final := errors.AsType[*cloud.Refusal](err)
			got := passing
			switch {
			case final:
				got = refused.Reason
				if refused.Code != code || refused.Message != "words" {
					t.Errorf("the cloud's own words are lost: %+v", refused)
				}
			case errors.Is(err, cloud.ErrNotFound):
				got = absent
			}
			if got != want {
				t.Errorf("is %s, want %s", got, want)
			}
		})
	}
	server := translate("do it", &smithy.GenericAPIError{Code: "New5xx", Message: "words", Fault: smithy.FaultServer})
	if _, final := errors.AsType[*cloud.Refusal](server); final {
		t.Error("a fault of the server is final")
	}
	if translate("do it", nil) != nil {
		t.Error("no error became one")
	}
}
