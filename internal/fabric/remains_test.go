package fabric

import (
	"errors"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// What is deleted takes its tags along, those of its parts too, and its client tokens: a fabric whose users come and go does not grow.
func TestDeletedLeavesNothing(t *testing.T) {
	c := startCloud(t)
	ctx, client := t.Context(), c.ec2(customer)
	service := c.service()
	c.settled()
	before := c.snapshot()

	vpc := *ok(client.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.90.0.0/16")}))(t).Vpc.VpcId
	subnet := *ok(client.CreateSubnet(ctx, &ec2.CreateSubnetInput{
		VpcId: &vpc, CidrBlock: aws.String("10.90.1.0/24"), AvailabilityZoneId: aws.String("use1-az1"),
	}))(t).Subnet.SubnetId
	endpoint := ok(client.CreateVpcEndpoint(ctx, &ec2.CreateVpcEndpointInput{
		VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: &vpc, ServiceName: service.ServiceName, SubnetIds: []string{subnet},
		ClientToken: aws.String("deterministic"),
	}))(t).VpcEndpoint
	own := c.snapshot().defaultGroup(vpc)
	tagged := []string{vpc, subnet, *endpoint.VpcEndpointId, endpoint.NetworkInterfaceIds[0], own.ID, own.Rules[0].ID}
	ok(client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: tagged, Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}}))(t)
	server := c.DNSAddr(vpc)
	if server == "" || c.DNSAddr(vpc) != server {
		t.Errorf("the VPC's DNS server is at %q, then at %q", server, c.DNSAddr(vpc))
	}

	ok(client.DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{*endpoint.VpcEndpointId}}))(t)
	c.awaitState(*endpoint.VpcEndpointId, "")
	ok(client.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &subnet}))(t)
	ok(client.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &vpc}))(t)

	after := c.snapshot()
	if got, want := slices.Sorted(maps.Keys(after.Tags)), slices.Sorted(maps.Keys(before.Tags)); !slices.Equal(got, want) {
		t.Errorf("tags stayed: %v, want those of %v", got, want)
	}
	if len(after.Tokens) != len(before.Tokens) {
		t.Errorf("%d client tokens, want %d", len(after.Tokens), len(before.Tokens))
	}
	if len(after.NetworkInterfaces) != len(before.NetworkInterfaces) || len(after.SecurityGroups) != len(before.SecurityGroups) {
		t.Errorf("%d interfaces and %d security groups, want %d and %d", len(after.NetworkInterfaces), len(after.SecurityGroups), len(before.NetworkInterfaces), len(before.SecurityGroups))
	}
	await(t, "the VPC's DNS server has ended", func() bool {
		conn, err := net.Dial("tcp", server)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if again := c.DNSAddr(vpc); again != "" {
		t.Errorf("a VPC that is gone has a DNS server at %s", again)
	}
}

// Deleted endpoints, changes and client tokens are remembered for their time and no longer.
func TestForgotten(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &State{settle: time.Second}
	s.makeTables()
	s.Endpoints["vpce-1"] = &Endpoint{ID: "vpce-1", State: EndpointDeleting, Due: start}
	s.Changes["C1"] = &Change{ID: "C1", Due: start}
	s.Tokens["t"] = &Token{ResourceID: "vpce-2", UsedAt: start}
	for _, step := range []struct {
		after                      time.Duration
		endpoints, changes, tokens int
	}{
		{0, 1, 1, 1},
		{remembered - 1, 1, 1, 1},
		{remembered, 0, 0, 1},
		{tokenCounted - 1, 0, 0, 1},
		{tokenCounted, 0, 0, 0},
	} {
		s.advance(start.Add(step.after))
		if len(s.Endpoints) != step.endpoints || len(s.Changes) != step.changes || len(s.Tokens) != step.tokens {
			t.Errorf("after %s: %d endpoints, %d changes, %d tokens; want %d, %d, %d", step.after,
				len(s.Endpoints), len(s.Changes), len(s.Tokens), step.endpoints, step.changes, step.tokens)
		}
	}
	if !s.due.IsZero() {
		t.Errorf("nothing is left to do, and yet something at %s", s.due)
	}
}

// After its end a fabric writes nothing: its directory may be another process' by then.
func TestNoTransitionAfterClose(t *testing.T) {
	c := startCloud(t, func(cfg *Config) { cfg.Dir = t.TempDir() })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.update(func(*State, time.Time) error { t.Error("a transition ran"); return nil }); !errors.Is(err, errClosed) {
		t.Errorf("err %v, want %v", err, errClosed)
	}
}
