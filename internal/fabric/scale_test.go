package fabric

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/miekg/dns"
)

// crowd gives the customer so many endpoints to the service, fifty to a VPC as the quota has it, through the API's own
// transition. It returns a request for one more, in a VPC that has none.
func (c *cloud) crowd(endpoints int) *ec2.CreateVpcEndpointInput {
	c.t.Helper()
	service := c.service()
	ctx, client := c.t.Context(), c.ec2(customer)
	ask := func(n int) *ec2.CreateVpcEndpointInput {
		vpc := ok(client.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String(fmt.Sprintf("10.%d.0.0/16", n))}))(c.t).Vpc
		in := &ec2.CreateVpcEndpointInput{VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: vpc.VpcId, ServiceName: service.ServiceName}
		for i := range 2 {
			in.SubnetIds = append(in.SubnetIds, *ok(client.CreateSubnet(ctx, &ec2.CreateSubnetInput{
				VpcId: vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.%d.%d.0/24", n, i)), AvailabilityZoneId: aws.String(fmt.Sprintf("use1-az%d", i+1)),
			}))(c.t).Subnet.SubnetId)
		}
		return in
	}
	var in *ec2.CreateVpcEndpointInput
	for n := range endpoints {
		if n%mostEndpoints == 0 {
			in = ask(n / mostEndpoints)
		}
		in.ClientToken = aws.String(fmt.Sprint("crowd-", n))
		ok(client.CreateVpcEndpoint(ctx, in))(c.t)
	}
	return ask(endpoints/mostEndpoints + 1)
}

// BenchmarkThousandEndpoints is what one more costs in a fabric of that many: creating it through the API, in memory and
// on disk, and what the first names to be resolved afterwards cost, once for all VPCs and once for each.
func BenchmarkThousandEndpoints(b *testing.B) {
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("disk=%v", kept), func(b *testing.B) {
			c := startCloud(b, func(cfg *Config) {
				if kept {
					cfg.Dir = b.TempDir()
				}
			})
			in, client := c.crowd(1000), c.ec2(customer)
			in.ClientToken = nil
			b.Run("CreateVpcEndpoint", func(b *testing.B) {
				for b.Loop() {
					made := ok(client.CreateVpcEndpoint(b.Context(), in))(b).VpcEndpoint
					b.StopTimer()
					if err := c.update(func(s *State, _ time.Time) error { delete(s.Endpoints, *made.VpcEndpointId); return nil }); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
			s := c.snapshot()
			names := newPublicNames(s)
			b.Run("PublicNames", func(b *testing.B) {
				for b.Loop() {
					newPublicNames(s)
				}
			})
			b.Run("View", func(b *testing.B) {
				for b.Loop() {
					newView(s, names, *in.VpcId, nil).resolve("www.vendor.example.", dns.TypeA)
				}
			})
		})
	}
}
