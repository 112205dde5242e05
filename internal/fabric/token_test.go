package fabric

import (
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A client token makes a create call idempotent, however often and from however many places it is made.
func TestClientToken(t *testing.T) {
	c := startCloud(t)
	service := c.service()
	ask := func(change func(*ec2.CreateVpcEndpointInput)) (*ec2.CreateVpcEndpointOutput, error) {
		in := c.ask(service)
		in.ClientToken = aws.String("connect-acme")
		change(in)
		return c.ec2(customer).CreateVpcEndpoint(t.Context(), in)
	}
	unchanged := func(*ec2.CreateVpcEndpointInput) {}
	ids := make([]string, 8)
	var calls sync.WaitGroup
	for i := range ids {
		calls.Go(func() {
			out, err := ask(unchanged)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = *out.VpcEndpoint.VpcEndpointId
		})
	}
	calls.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one token made several endpoints: %v", ids)
		}
	}
	c.unchanged(func() {
		if _, err := ask(func(in *ec2.CreateVpcEndpointInput) { in.SubnetIds = in.SubnetIds[:1] }); code(err) != "IdempotentParameterMismatch" {
			t.Errorf("the token with other parameters: %v", err)
		}
	})
	if other := c.endpoint(service); *other.VpcEndpointId == ids[0] {
		t.Error("without the token the call is a new one")
	}
	ok(c.ec2(customer).DeleteVpcEndpoints(t.Context(), &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: ids[:1]}))(t)
	c.awaitState(ids[0], "")
	again, err := ask(unchanged)
	if err != nil || *again.VpcEndpoint.VpcEndpointId == ids[0] {
		t.Errorf("after the deletion the token makes a new endpoint: %v", err)
	}
}

// Filters: values of one are alternatives, several have all to match.
func TestFilters(t *testing.T) {
	c := startCloud(t)
	service := c.service()
	endpoint := c.endpoint(service)
	id := *endpoint.VpcEndpointId
	ok(c.ec2(customer).CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("network")}}}))(t)
	for _, test := range []struct {
		name    string
		filters map[string][]string
		want    int
	}{
		{"none", nil, 1},
		{"one that matches", map[string][]string{"vpc-endpoint-id": {id}}, 1},
		{"one of several values", map[string][]string{"vpc-endpoint-state": {"available", "pendingAcceptance"}}, 1},
		{"a state in another case", map[string][]string{"vpc-endpoint-state": {"PendingAcceptance"}}, 0},
		{"two that match", map[string][]string{"service-name": {*service.ServiceName}, "vpc-endpoint-type": {"Interface"}}, 1},
		{"one of two matches", map[string][]string{"service-name": {*service.ServiceName}, "vpc-endpoint-type": {"Gateway"}}, 0},
		{"a wildcard", map[string][]string{"service-name": {"com.amazonaws.vpce.*"}}, 1},
		{"a tag", map[string][]string{"tag:team": {"network"}}, 1},
		{"a tag's other value", map[string][]string{"tag:team": {"sales"}}, 0},
		{"a tag's key", map[string][]string{"tag-key": {"team"}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := &ec2.DescribeVpcEndpointsInput{}
			for name, values := range test.filters {
				in.Filters = append(in.Filters, ec2types.Filter{Name: &name, Values: values})
			}
			if got := ok(c.ec2(customer).DescribeVpcEndpoints(t.Context(), in))(t); len(got.VpcEndpoints) != test.want {
				t.Errorf("%d endpoints, want %d", len(got.VpcEndpoints), test.want)
			}
		})
	}
}
