package fabric

import (
	"slices"
	"strings"
)

// Network ACLs, route tables and prefix lists are not modelled: every VPC has the ones it came with, which allow
// everything and route the VPC's own range, and clients that look for them find them. They follow from the VPC.

// withSuffix makes the id of something that a VPC comes with.
func (v *VPC) withSuffix(prefix string) string {
	return prefix + "-" + strings.TrimPrefix(v.ID, "vpc-")
}

// fixtureInput asks for things of one kind that VPCs come with.
type fixtureInput struct {
	kind    string // "networkAcl" or "routeTable"
	ids     []string
	filters []ec2Filter
	paging
}

// fixturesOf lists one page of the caller's VPCs by what each has of a kind: id is that one's id, and known its filters
// besides vpc-id and association.subnet-id. No subnet is associated with any by name: all are, through their VPC.
func (c *call) fixturesOf(in fixtureInput, id func(*VPC) string, known filters[*VPC]) (vpcs []*VPC, nextToken string, err error) {
	for vpc := range inOrder(c.s.VPCs) {
		if vpc.AccountID == c.account && vpc.Region == c.region && (len(in.ids) == 0 || slices.Contains(in.ids, id(vpc))) {
			vpcs = append(vpcs, vpc)
		}
	}
	for _, wanted := range in.ids {
		if !slices.ContainsFunc(vpcs, func(v *VPC) bool { return id(v) == wanted }) {
			code := "Invalid" + strings.ToUpper(in.kind[:1]) + in.kind[1:] + "ID.NotFound"
			return nil, "", fail(code, "The %s ID '%s' does not exist", in.kind, wanted)
		}
	}
	known["vpc-id"] = one((*VPC).id)
	known["association.subnet-id"] = func(*VPC) []string { return nil }
	if vpcs, err = selected(c, vpcs, in.filters, known, id); err != nil {
		return nil, "", err
	}
	return page(in.paging, vpcs, id)
}

type aclEntryXML struct {
	Number   int    `xml:"ruleNumber"`
	Protocol string `xml:"protocol"`
	Action   string `xml:"ruleAction"`
	Egress   bool   `xml:"egress"`
	CIDR     string `xml:"cidrBlock"`
}

type aclXML struct {
	ID           string           `xml:"networkAclId"`
	VPCID        string           `xml:"vpcId"`
	Default      bool             `xml:"default"`
	Entries      set[aclEntryXML] `xml:"entrySet"`
	Associations set[struct{}]    `xml:"associationSet"`
	Tags         set[tagXML]      `xml:"tagSet"`
	Owner        string           `xml:"ownerId"`
}

type describeACLsInput struct {
	IDs     []string    `q:"NetworkAclId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeACLsOutput struct {
	ACLs      set[aclXML] `xml:"networkAclSet"`
	NextToken string      `xml:"nextToken,omitempty"`
}

func describeNetworkACLs(c *call, in *describeACLsInput) (*describeACLsOutput, error) {
	id := func(v *VPC) string { return v.withSuffix("acl") }
	vpcs, next, err := c.fixturesOf(fixtureInput{"networkAcl", in.IDs, in.Filters, in.paging}, id, filters[*VPC]{
		"network-acl-id": one(id), "default": one(func(*VPC) string { return "true" }),
	})
	if err != nil {
		return nil, err
	}
	out := &describeACLsOutput{NextToken: next}
	for _, vpc := range vpcs {
		acl := aclXML{ID: id(vpc), VPCID: vpc.ID, Default: true, Owner: vpc.AccountID}
		for _, egress := range []bool{true, false} {
			acl.Entries.Items = append(acl.Entries.Items,
				aclEntryXML{100, "-1", "allow", egress, everywhere.String()}, aclEntryXML{32767, "-1", "deny", egress, everywhere.String()})
		}
		out.ACLs.Items = append(out.ACLs.Items, acl)
	}
	return out, nil
}

type routeXML struct {
	CIDR    string `xml:"destinationCidrBlock"`
	Gateway string `xml:"gatewayId"`
	Origin  string `xml:"origin"`
	State   string `xml:"state"`
}

type routeAssociationXML struct {
	Main    bool   `xml:"main"`
	ID      string `xml:"routeTableAssociationId"`
	TableID string `xml:"routeTableId"`
	State   string `xml:"associationState>state"`
}

type routeTableXML struct {
	ID           string                   `xml:"routeTableId"`
	VPCID        string                   `xml:"vpcId"`
	Routes       set[routeXML]            `xml:"routeSet"`
	Associations set[routeAssociationXML] `xml:"associationSet"`
	Gateways     set[struct{}]            `xml:"propagatingVgwSet"`
	Tags         set[tagXML]              `xml:"tagSet"`
	Owner        string                   `xml:"ownerId"`
}

type describeRouteTablesInput struct {
	IDs     []string    `q:"RouteTableId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeRouteTablesOutput struct {
	Tables    set[routeTableXML] `xml:"routeTableSet"`
	NextToken string             `xml:"nextToken,omitempty"`
}

func describeRouteTables(c *call, in *describeRouteTablesInput) (*describeRouteTablesOutput, error) {
	id := func(v *VPC) string { return v.withSuffix("rtb") }
	vpcs, next, err := c.fixturesOf(fixtureInput{"routeTable", in.IDs, in.Filters, in.paging}, id, filters[*VPC]{
		"route-table-id": one(id), "association.route-table-id": one(id), "association.main": one(func(*VPC) string { return "true" }),
	})
	if err != nil {
		return nil, err
	}
	out := &describeRouteTablesOutput{NextToken: next}
	for _, vpc := range vpcs {
		out.Tables.Items = append(out.Tables.Items, routeTableXML{
			ID: id(vpc), VPCID: vpc.ID, Owner: vpc.AccountID,
			Routes:       setOf([]routeXML{{vpc.CIDR.String(), "local", "CreateRouteTable", "active"}}),
			Associations: setOf([]routeAssociationXML{{true, vpc.withSuffix("rtbassoc"), id(vpc), "associated"}}),
		})
	}
	return out, nil
}

type describePrefixListsInput struct {
	IDs     []string    `q:"PrefixListId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describePrefixListsOutput struct {
	Lists set[struct{}] `xml:"prefixListSet"`
}

// describePrefixLists knows none: only gateway endpoints have them.
func describePrefixLists(c *call, in *describePrefixListsInput) (*describePrefixListsOutput, error) {
	if len(in.IDs) > 0 {
		return nil, fail("InvalidPrefixListId.NotFound", "The prefix list '%s' does not exist", in.IDs[0])
	}
	return &describePrefixListsOutput{}, nil
}
