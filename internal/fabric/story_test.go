package fabric

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The life of an endpoint, from both sides.
func TestEndpointLifeCycle(t *testing.T) {
	c := startCloud(t)
	ctx := t.Context()
	service := c.service()
	if got := service.ServiceState; got != "Available" {
		t.Errorf("a new service is %s", got)
	}

	seen := ok(c.ec2(customer).DescribeVpcEndpointServices(ctx, &ec2.DescribeVpcEndpointServicesInput{ServiceNames: []string{*service.ServiceName}}))(t)
	if len(seen.ServiceDetails) != 1 || !slices.Equal(seen.ServiceDetails[0].AvailabilityZoneIds, []string{"use1-az1", "use1-az2"}) {
		t.Fatalf("the customer sees %+v", seen.ServiceDetails)
	}
	if slices.Equal(seen.ServiceDetails[0].AvailabilityZones, service.AvailabilityZones) {
		t.Errorf("both accounts call the zones %v; names differ between accounts", service.AvailabilityZones)
	}

	endpoint := c.endpoint(service)
	id := *endpoint.VpcEndpointId
	if endpoint.State != "pendingAcceptance" {
		t.Errorf("a new endpoint is %s", endpoint.State)
	}
	regional := *endpoint.DnsEntries[0].DnsName
	if len(endpoint.DnsEntries) != 3 || !strings.HasPrefix(regional, id+"-") || !strings.HasSuffix(regional, "."+*service.ServiceId+".us-east-1.vpce.amazonaws.com") ||
		*endpoint.DnsEntries[0].HostedZoneId != "Z7HUB22UULQXV" {
		t.Errorf("DNS entries: %v", endpoint.DnsEntries)
	}
	if len(endpoint.Groups) != 1 || *endpoint.Groups[0].GroupId != c.home(customer).SecurityGroupID {
		t.Errorf("security groups: %v; the default is the VPC's own", endpoint.Groups)
	}

	connections := ok(c.ec2(vendor).DescribeVpcEndpointConnections(ctx, &ec2.DescribeVpcEndpointConnectionsInput{
		Filters: []ec2types.Filter{{Name: aws.String("service-id"), Values: []string{*service.ServiceId}}},
	}))(t).VpcEndpointConnections
	if len(connections) != 1 || *connections[0].VpcEndpointId != id || *connections[0].VpcEndpointOwner != customer.ID || connections[0].VpcEndpointState != "pendingAcceptance" {
		t.Fatalf("the vendor sees %+v", connections)
	}

	c.accept(*service.ServiceId, id)
	ok(c.ec2(vendor).RejectVpcEndpointConnections(ctx, &ec2.RejectVpcEndpointConnectionsInput{ServiceId: service.ServiceId, VpcEndpointIds: []string{id}}))(t)
	if got := c.state(id); got != "rejected" {
		t.Errorf("after a rejection the endpoint is %q and stays with its owner", got)
	}
	c.accept(*service.ServiceId, id)

	held := ok(c.ec2(vendor).DeleteVpcEndpointServiceConfigurations(ctx, &ec2.DeleteVpcEndpointServiceConfigurationsInput{ServiceIds: []string{*service.ServiceId}}))(t)
	if len(held.Unsuccessful) != 1 || *held.Unsuccessful[0].Error.Code != "ExistingVpcEndpointConnections" {
		t.Errorf("deleting a service in use: %+v", held.Unsuccessful)
	}

	ok(c.ec2(customer).DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{id}}))(t)
	c.awaitState(id, "")
	interfaces := ok(c.ec2(customer).DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{}))(t)
	if len(interfaces.NetworkInterfaces) != 0 {
		t.Errorf("a deleted endpoint leaves %d interfaces", len(interfaces.NetworkInterfaces))
	}
	gone := ok(c.ec2(vendor).DeleteVpcEndpointServiceConfigurations(ctx, &ec2.DeleteVpcEndpointServiceConfigurationsInput{ServiceIds: []string{*service.ServiceId}}))(t)
	if len(gone.Unsuccessful) != 0 {
		t.Errorf("deleting a service nobody uses: %+v", gone.Unsuccessful)
	}
}

// Private DNS: the name is verified through a public zone, and enabled after acceptance only.
func TestPrivateDNSName(t *testing.T) {
	c := startCloud(t)
	ctx := t.Context()
	service := c.service(func(in *ec2.CreateVpcEndpointServiceConfigurationInput) {
		in.PrivateDnsName = aws.String("api.vendor.example")
	})
	proof := service.PrivateDnsNameConfiguration
	if proof.State != "pendingVerification" || *proof.Type != "TXT" {
		t.Fatalf("the name's proof: %+v", proof)
	}
	zone := ok(c.route53(vendor).CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("vendor.example"), CallerReference: aws.String("1")}))(t)
	ok(c.route53(vendor).ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: zone.HostedZone.Id,
		ChangeBatch: &r53types.ChangeBatch{Changes: []r53types.Change{{Action: r53types.ChangeActionCreate, ResourceRecordSet: &r53types.ResourceRecordSet{
			Name: aws.String(*proof.Name + ".api.vendor.example"), Type: r53types.RRTypeTxt, TTL: aws.Int64(60),
			ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(`"` + *proof.Value + `"`)}},
		}}}},
	}))(t)
	endpoint := c.endpoint(service)
	enable := &ec2.ModifyVpcEndpointInput{VpcEndpointId: endpoint.VpcEndpointId, PrivateDnsEnabled: aws.Bool(true)}

	_, err := c.ec2(customer).ModifyVpcEndpoint(ctx, enable)
	if code(err) != "InvalidParameter" || !strings.Contains(err.Error(), "does not provide a private DNS name") {
		t.Errorf("before verification: %v", err)
	}
	ok(c.ec2(vendor).StartVpcEndpointServicePrivateDnsVerification(ctx, &ec2.StartVpcEndpointServicePrivateDnsVerificationInput{ServiceId: service.ServiceId}))(t)
	for changed := c.changes(); c.snapshot().Services[*service.ServiceId].PrivateDNS.State != "verified"; changed = c.changes() {
		<-changed
	}
	_, err = c.ec2(customer).ModifyVpcEndpoint(ctx, enable)
	if code(err) != "InvalidParameter" || !strings.Contains(err.Error(), "after the endpoint connection is accepted") {
		t.Errorf("before acceptance: %v", err)
	}
	c.accept(*service.ServiceId, *endpoint.VpcEndpointId)
	ok(c.ec2(customer).ModifyVpcEndpoint(ctx, enable))(t)
	c.awaitState(*endpoint.VpcEndpointId, "available")
	out := ok(c.ec2(customer).DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{}))(t)
	entries := out.VpcEndpoints[0].DnsEntries
	if last := entries[len(entries)-1]; *last.DnsName != "api.vendor.example" {
		t.Errorf("the private name is missing in %v", entries)
	}
	addresses, err := c.LookupHost(ctx, c.home(customer).VPCID, "api.vendor.example")
	if err != nil || len(addresses) != 2 {
		t.Errorf("the private name inside the VPC: %v, %v", addresses, err)
	}
}

func TestCallerIdentity(t *testing.T) {
	c := startCloud(t)
	out := ok(c.sts(customer).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))(t)
	if *out.Account != customer.ID || *out.Arn != "arn:aws:iam::222222222222:user/customer" {
		t.Errorf("got %s, %s", *out.Account, *out.Arn)
	}
}
