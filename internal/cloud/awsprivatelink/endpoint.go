package awsprivatelink

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// Endpoints lists the endpoint connections of a service, in AWS's order.
func (d *Driver) Endpoints(ctx context.Context, serviceID string) ([]link.Endpoint, error) {
	conns, err := d.connections(ctx, serviceID)
	if err != nil {
		return nil, err
	}
	seen := d.now()
	out := make([]link.Endpoint, 0, len(conns))
	for _, c := range conns {
		out = append(out, link.Endpoint{
			Provider:  link.AWS,
			Region:    d.region,
			ServiceID: deref(c.ServiceId),
			ID:        link.EndpointID(deref(c.VpcEndpointId)),
			OwnerID:   deref(c.VpcEndpointOwner),
			State:     cloud.EndpointState(string(c.VpcEndpointState)),
			SeenAt:    seen,
		})
	}
	return out, nil
}

// Accept lets an endpoint in.
func (d *Driver) Accept(ctx context.Context, serviceID string, id link.EndpointID) error {
	out, err := d.ec2.AcceptVpcEndpointConnections(ctx, &ec2.AcceptVpcEndpointConnectionsInput{
		ServiceId: aws.String(serviceID), VpcEndpointIds: []string{string(id)},
	})
	const doing = "accept the endpoint"
	if err != nil {
		return d.unlessAlready(ctx, serviceID, id, translate(doing, err), link.Pending, link.Available)
	}
	return d.unlessAlready(ctx, serviceID, id, unsuccessful(doing, out.Unsuccessful), link.Pending, link.Available)
}

// Reject refuses an endpoint, also one that was let in.
func (d *Driver) Reject(ctx context.Context, serviceID string, id link.EndpointID) error {
	out, err := d.ec2.RejectVpcEndpointConnections(ctx, &ec2.RejectVpcEndpointConnectionsInput{
		ServiceId: aws.String(serviceID), VpcEndpointIds: []string{string(id)},
	})
	const doing = "reject the endpoint"
	if err != nil {
		return d.unlessAlready(ctx, serviceID, id, translate(doing, err), link.Rejected)
	}
	return d.unlessAlready(ctx, serviceID, id, unsuccessful(doing, out.Unsuccessful), link.Rejected)
}

// unlessAlready returns problem, unless it is a refusal and the endpoint turns out to be in one of the states that the
// call was to bring about. AWS refuses to accept what is accepted; the driver's promise is that it is no error.
func (d *Driver) unlessAlready(
	ctx context.Context, serviceID string, id link.EndpointID, problem error, states ...link.State,
) error {
	refused, ok := errors.AsType[*cloud.Refusal](problem)
	if !ok {
		return problem
	}
	conns, err := d.connections(ctx, serviceID)
	if err != nil {
		return errors.Join(problem, err)
	}
	for _, c := range conns {
		if deref(c.VpcEndpointId) != string(id) {
			continue
		}
		state := cloud.EndpointState(string(c.VpcEndpointState))
		for _, s := range states {
			if state == s {
				return nil
			}
		}
		if refused.Reason == reasonRefused {
			refused.Reason = reasonState
		}
	}
	return problem
}

// connections returns all pages of a service's endpoint connections. The filter is on the service alone: AWS refuses
// one on the endpoint's id.
func (d *Driver) connections(ctx context.Context, serviceID string) ([]types.VpcEndpointConnection, error) {
	pages := ec2.NewDescribeVpcEndpointConnectionsPaginator(d.ec2, &ec2.DescribeVpcEndpointConnectionsInput{
		Filters:    []types.Filter{{Name: aws.String("service-id"), Values: []string{serviceID}}},
		MaxResults: d.pageSize,
	})
	var out []types.VpcEndpointConnection
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("list the service's endpoints", err)
		}
		out = append(out, page.VpcEndpointConnections...)
	}
	return out, nil
}
