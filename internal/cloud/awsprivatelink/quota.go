package awsprivatelink

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/postern/postern/internal/cloud"
)

// The sizes of AWS's token buckets as its documentation gives them: "Request throttling for the Amazon EC2 API", "Request
// throttling for the ELB API", "Quotas: Amazon Route 53 API". An account's own may be larger; one that is smaller is
// found out by its answers. EC2 has a bucket per action and region, Elastic Load Balancing one per kind of action and
// region, Route 53 one for the account.
var (
	ec2Describe = rate{100, 20}
	ec2Mutate   = rate{50, 5}
	elbDescribe = rate{40, 10}
	elbRegister = rate{20, 4}
	elbMutate   = rate{20, 3}
	route53All  = rate{5, 5}

	// Actions of EC2 that have a smaller bucket than others of their kind.
	ec2Actions = map[string]rate{
		"AcceptVpcEndpointConnections":                  {10, 1},
		"RejectVpcEndpointConnections":                  {10, 1},
		"CreateVpcEndpointServiceConfiguration":         {10, 1},
		"DeleteVpcEndpointServiceConfigurations":        {10, 1},
		"ModifyVpcEndpointServicePermissions":           {10, 1},
		"StartVpcEndpointServicePrivateDnsVerification": {10, 1},
	}
)

type rate struct{ burst, perSecond float64 }

// requestOf says which bucket a request takes its token from.
func requestOf(region, serviceID, operation string) cloud.Request {
	describes := strings.HasPrefix(operation, "Describe")
	req := func(service, family string, r rate) cloud.Request {
		return cloud.Request{
			API:    service + ":" + operation,
			Bucket: cloud.Bucket{Name: "AWS/" + family, Burst: r.burst, PerSecond: r.perSecond},
		}
	}
	switch serviceID {
	case "EC2":
		r, own := ec2Actions[operation]
		switch {
		case own:
		case describes:
			r = ec2Describe
		default:
			r = ec2Mutate
		}
		return req("ec2", region+"/ec2/"+operation, r)
	case "Elastic Load Balancing v2":
		switch operation {
		case "RegisterTargets", "DeregisterTargets":
			return req("elb", region+"/elb/register", elbRegister)
		}
		if describes {
			return req("elb", region+"/elb/describe", elbDescribe)
		}
		return req("elb", region+"/elb/mutate", elbMutate)
	}
	return req("route53", "route53", route53All)
}

// limited makes every try of every request wait for the limiter and tell it what came of it.
func limited(region string, l cloud.Limiter) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		m := middleware.FinalizeMiddlewareFunc("PosternLimiter", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error,
		) {
			r := requestOf(region, awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx))
			if err := l.Wait(ctx, r); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			began := time.Now()
			out, meta, err := next.HandleFinalize(ctx, in)
			l.Sent(r, outcomeOf(err), time.Since(began))
			return out, meta, err
		})
		return stack.Finalize.Insert(m, "Retry", middleware.After)
	}
}

// outcomeOf sorts a try's end.
func outcomeOf(err error) cloud.Outcome {
	if err == nil {
		return cloud.Done
	}
	if _, throttled := retry.DefaultThrottleErrorCodes[codeOf(err)]; throttled {
		return cloud.Throttled
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() < http.StatusInternalServerError {
		return cloud.Refused
	}
	return cloud.Lost
}
