package fabric

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Every VPC has the network ACL and the route table that it came with, which their clients find by id and by filter.
func TestFixturesOfVPCs(t *testing.T) {
	c := startCloud(t)
	ctx, client := t.Context(), c.ec2(customer)
	home := c.home(customer)
	second := *ok(client.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.90.0.0/16")}))(t).Vpc.VpcId
	both := []string{home.VPCID, second}
	slices.Sort(both)
	tail := func(vpcID string) string { return strings.TrimPrefix(vpcID, "vpc-") }
	acls := func(in *ec2.DescribeNetworkAclsInput) (vpcs []string) {
		for _, acl := range ok(client.DescribeNetworkAcls(ctx, in))(t).NetworkAcls {
			vpcs = append(vpcs, *acl.VpcId)
		}
		return vpcs
	}
	tables := func(in *ec2.DescribeRouteTablesInput) (vpcs []string) {
		for _, table := range ok(client.DescribeRouteTables(ctx, in))(t).RouteTables {
			vpcs = append(vpcs, *table.VpcId)
		}
		return vpcs
	}
	by := func(name, value string) []ec2types.Filter {
		return []ec2types.Filter{{Name: &name, Values: []string{value}}}
	}
	for name, test := range map[string]struct{ got, want []string }{
		"ACLs: all":              {acls(&ec2.DescribeNetworkAclsInput{}), both},
		"ACLs: by id":            {acls(&ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{"acl-" + tail(second)}}), []string{second}},
		"ACLs: by VPC":           {acls(&ec2.DescribeNetworkAclsInput{Filters: by("vpc-id", home.VPCID)}), []string{home.VPCID}},
		"ACLs: default":          {acls(&ec2.DescribeNetworkAclsInput{Filters: by("default", "true")}), both},
		"ACLs: of a subnet":      {acls(&ec2.DescribeNetworkAclsInput{Filters: by("association.subnet-id", home.SubnetIDs[0])}), nil},
		"tables: all":            {tables(&ec2.DescribeRouteTablesInput{}), both},
		"tables: by id":          {tables(&ec2.DescribeRouteTablesInput{RouteTableIds: []string{"rtb-" + tail(second)}}), []string{second}},
		"tables: by VPC":         {tables(&ec2.DescribeRouteTablesInput{Filters: by("vpc-id", home.VPCID)}), []string{home.VPCID}},
		"tables: main":           {tables(&ec2.DescribeRouteTablesInput{Filters: by("association.main", "true")}), both},
		"tables: of a subnet":    {tables(&ec2.DescribeRouteTablesInput{Filters: by("association.subnet-id", home.SubnetIDs[0])}), nil},
		"tables: by association": {tables(&ec2.DescribeRouteTablesInput{Filters: by("association.route-table-id", "rtb-"+tail(home.VPCID))}), []string{home.VPCID}},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
	if _, err := client.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: by("association.main", "true")}); code(err) != "InvalidParameterValue" {
		t.Errorf("a route table's filter for ACLs: %v", err)
	}
	foreign := tail(c.home(vendor).VPCID)
	if _, err := client.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{"acl-" + foreign}}); code(err) != "InvalidNetworkAclID.NotFound" {
		t.Errorf("the ACL of another account: %v", err)
	}
	if _, err := client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{"rtb-" + foreign}}); code(err) != "InvalidRouteTableID.NotFound" {
		t.Errorf("the route table of another account: %v", err)
	}
}
