package fabric

import "context"

// TargetHealth is how a target looks to the load balancer.
type TargetHealth struct {
	State       string // initial, healthy, unhealthy, unused, draining or unavailable, as Elastic Load Balancing writes it
	Reason      string // such as Target.FailedHealthChecks; empty when healthy
	Description string
}

// network is the data plane. (Placeholder so that the package compiles: the data plane's author owns this file.)
type network struct{}

func startNetwork(ctx context.Context, f *Fabric) (*network, error) { return &network{}, nil }

func (n *network) close() error { return nil }

// targetHealth answers DescribeTargetHealth. zoneID is not needed: a target has one health for all nodes.
func (n *network) targetHealth(targetGroupARN string, t Target) TargetHealth {
	return TargetHealth{State: "initial", Reason: "Elb.RegistrationInProgress", Description: "Target registration is in progress"}
}
