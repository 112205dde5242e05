package awsprivatelink

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// What one request may name: EC2 takes 200 values in a filter. For the endpoints of one decision no bound is documented;
// this is well within what a request may hold.
const (
	mostFiltered = 200
	mostDecided  = 100
)

// Endpoints lists endpoint connections of a service, in AWS's order.
func (d *Driver) Endpoints(ctx context.Context, serviceID string, q cloud.Query) ([]link.Endpoint, error) {
	conns, err := d.connections(ctx, serviceID, q)
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

// Accept lets endpoints in.
func (d *Driver) Accept(ctx context.Context, serviceID string, ids ...link.EndpointID) []error {
	return d.decide(ctx, serviceID, ids, decision{
		doing: "accept the endpoint", holds: []link.State{link.Pending, link.Available},
		send: func(ctx context.Context, ids []string) ([]types.UnsuccessfulItem, error) {
			out, err := d.ec2.AcceptVpcEndpointConnections(ctx, &ec2.AcceptVpcEndpointConnectionsInput{ServiceId: aws.String(serviceID), VpcEndpointIds: ids})
			if err != nil {
				return nil, err
			}
			return out.Unsuccessful, nil
		},
	})
}

// Reject refuses endpoints, also ones that were let in.
func (d *Driver) Reject(ctx context.Context, serviceID string, ids ...link.EndpointID) []error {
	return d.decide(ctx, serviceID, ids, decision{
		doing: "reject the endpoint", holds: []link.State{link.Rejected},
		send: func(ctx context.Context, ids []string) ([]types.UnsuccessfulItem, error) {
			out, err := d.ec2.RejectVpcEndpointConnections(ctx, &ec2.RejectVpcEndpointConnectionsInput{ServiceId: aws.String(serviceID), VpcEndpointIds: ids})
			if err != nil {
				return nil, err
			}
			return out.Unsuccessful, nil
		},
	})
}

// decision is one of the two things that can be decided about endpoints.
type decision struct {
	doing string
	holds []link.State // in which there was nothing to decide
	send  func(ctx context.Context, ids []string) ([]types.UnsuccessfulItem, error)
}

// decide decides about endpoints, one error for each.
func (d *Driver) decide(ctx context.Context, serviceID string, ids []link.EndpointID, what decision) []error {
	var out []error
	for part := range slices.Chunk(ids, mostDecided) {
		out = append(out, d.decidePart(ctx, part, what)...)
	}
	d.forgiveDone(ctx, serviceID, ids, out, what.holds)
	return out
}

// decidePart decides about as many endpoints as one request may name. A request that AWS refuses as a whole for one of
// them is made for each alone.
func (d *Driver) decidePart(ctx context.Context, ids []link.EndpointID, what decision) []error {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	out := make([]error, len(ids))
	items, err := what.send(ctx, names)
	if err = translate(what.doing, err); err != nil {
		_, refused := errors.AsType[*cloud.Refusal](err)
		if len(ids) > 1 && (refused || errors.Is(err, cloud.ErrNotFound)) {
			for i := range ids {
				out[i] = d.decidePart(ctx, ids[i:i+1], what)[0]
			}
			return out
		}
		for i := range out {
			out[i] = err
		}
		return out
	}
	for _, item := range items {
		problem := unsuccessful(what.doing, []types.UnsuccessfulItem{item})
		if i := slices.Index(names, deref(item.ResourceId)); i >= 0 {
			out[i] = problem
		}
	}
	return out
}

// forgiveDone takes back the refusals of what turns out to hold already: AWS refuses to accept what is accepted, and the
// driver's promise is that it is no error.
func (d *Driver) forgiveDone(ctx context.Context, serviceID string, ids []link.EndpointID, problems []error, holds []link.State) {
	refused := func(err error) *cloud.Refusal {
		no, _ := errors.AsType[*cloud.Refusal](err)
		return no
	}
	if !slices.ContainsFunc(problems, func(err error) bool { return refused(err) != nil }) {
		return
	}
	conns, err := d.connections(ctx, serviceID, cloud.Query{})
	states := make(map[link.EndpointID]link.State, len(conns))
	for _, c := range conns {
		states[link.EndpointID(deref(c.VpcEndpointId))] = cloud.EndpointState(string(c.VpcEndpointState))
	}
	for i, problem := range problems {
		no := refused(problem)
		state, there := states[ids[i]]
		switch {
		case no == nil:
		case err != nil:
			problems[i] = errors.Join(problem, err)
		case slices.Contains(holds, state):
			problems[i] = nil
		case there && no.Reason == reasonRefused:
			no.Reason = reasonState
		}
	}
}

// connections returns all pages of what a query is for of a service's endpoint connections.
func (d *Driver) connections(ctx context.Context, serviceID string, q cloud.Query) ([]types.VpcEndpointConnection, error) {
	filters := []types.Filter{{Name: aws.String("service-id"), Values: []string{serviceID}}}
	if q.Arriving {
		filters = append(filters, types.Filter{Name: aws.String("vpc-endpoint-state"), Values: []string{"pendingAcceptance", "pending"}})
	}
	if len(q.Owners) == 0 {
		return d.pages(ctx, filters)
	}
	var out []types.VpcEndpointConnection
	for owners := range slices.Chunk(q.Owners, mostFiltered) {
		some, err := d.pages(ctx, append(slices.Clone(filters), types.Filter{Name: aws.String("vpc-endpoint-owner"), Values: owners}))
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

func (d *Driver) pages(ctx context.Context, filters []types.Filter) ([]types.VpcEndpointConnection, error) {
	pages := ec2.NewDescribeVpcEndpointConnectionsPaginator(d.ec2, &ec2.DescribeVpcEndpointConnectionsInput{Filters: filters, MaxResults: d.listSize})
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
