package fabric

import (
	"slices"
	"strings"
)

// networkInterfaceXML is a network interface on the wire.
type networkInterfaceXML struct {
	ZoneName         string           `xml:"availabilityZone"`
	Description      string           `xml:"description"`
	Groups           set[groupRefXML] `xml:"groupSet"`
	Type             InterfaceType    `xml:"interfaceType"`
	MAC              string           `xml:"macAddress"`
	ID               string           `xml:"networkInterfaceId"`
	Owner            string           `xml:"ownerId"`
	Address          string           `xml:"privateIpAddress"`
	Addresses        set[addressXML]  `xml:"privateIpAddressesSet"`
	RequesterManaged bool             `xml:"requesterManaged"`
	SourceDestCheck  bool             `xml:"sourceDestCheck"`
	Status           string           `xml:"status"`
	SubnetID         string           `xml:"subnetId"`
	Tags             set[tagXML]      `xml:"tagSet"`
	VPCID            string           `xml:"vpcId"`
	ZoneID           string           `xml:"availabilityZoneId"`
}

type addressXML struct {
	Primary bool   `xml:"primary"`
	Address string `xml:"privateIpAddress"`
}

func (n *NetworkInterface) id() string { return n.ID }

// mac is a locally administered hardware address that follows from the id.
func (n *NetworkInterface) mac() string {
	digits := strings.TrimPrefix(n.ID, "eni-")
	return "02:" + digits[0:2] + ":" + digits[2:4] + ":" + digits[4:6] + ":" + digits[6:8] + ":" + digits[8:10]
}

// unplug deletes a network interface.
func (s *State) unplug(id string) {
	delete(s.NetworkInterfaces, id)
	delete(s.Tags, id)
}

type describeInterfacesInput struct {
	IDs     []string    `q:"NetworkInterfaceId"`
	Managed *bool       `q:"IncludeManagedResources"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeInterfacesOutput struct {
	Interfaces set[networkInterfaceXML] `xml:"networkInterfaceSet"`
	NextToken  string                   `xml:"nextToken,omitempty"`
}

func describeNetworkInterfaces(c *call, in *describeInterfacesInput) (*describeInterfacesOutput, error) {
	home := func(n *NetworkInterface) (string, string) { return n.AccountID, n.Region }
	for _, id := range in.IDs {
		if !wellFormed("eni", id) {
			return nil, fail("InvalidNetworkInterfaceId.Malformed", "Invalid id: \"%s\" (expecting \"eni-...\")", id)
		}
		if _, found := owned(c, c.s.NetworkInterfaces, id, home); !found {
			return nil, fail("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", id)
		}
	}
	var nics []*NetworkInterface
	for nic := range inOrder(c.s.NetworkInterfaces) {
		if nic.AccountID == c.account && nic.Region == c.region && (len(in.IDs) == 0 || slices.Contains(in.IDs, nic.ID)) {
			nics = append(nics, nic)
		}
	}
	zoneName := func(n *NetworkInterface) string { return c.s.Accounts[n.AccountID].zoneName(n.Region, n.ZoneID) }
	address := one(func(n *NetworkInterface) string { return n.Address.String() })
	groupNames := func(n *NetworkInterface) (names []string) {
		for _, ref := range c.groupRefs(n.GroupIDs).Items {
			names = append(names, ref.Name)
		}
		return names
	}
	nics, err := selected(c, nics, in.Filters, filters[*NetworkInterface]{
		"network-interface-id":         one((*NetworkInterface).id),
		"vpc-id":                       one(func(n *NetworkInterface) string { return n.VPCID }),
		"subnet-id":                    one(func(n *NetworkInterface) string { return n.SubnetID }),
		"availability-zone":            one(zoneName),
		"availability-zone-id":         one(func(n *NetworkInterface) string { return n.ZoneID }),
		"description":                  one(func(n *NetworkInterface) string { return n.Description }),
		"interface-type":               one(func(n *NetworkInterface) string { return string(n.Type) }),
		"owner-id":                     one(func(n *NetworkInterface) string { return n.AccountID }),
		"status":                       one(func(*NetworkInterface) string { return "in-use" }),
		"requester-managed":            one(func(*NetworkInterface) string { return "true" }),
		"group-id":                     func(n *NetworkInterface) []string { return n.GroupIDs },
		"group-name":                   groupNames,
		"addresses.private-ip-address": address, "private-ip-address": address,
		// Nothing in the fabric is attached to instances or has public addresses.
		"attachment.instance-id": func(*NetworkInterface) []string { return nil },
		"attachment.status":      func(*NetworkInterface) []string { return nil },
	}, (*NetworkInterface).id)
	if err != nil {
		return nil, err
	}
	nics, next, err := page(in.paging, nics, (*NetworkInterface).id)
	if err != nil {
		return nil, err
	}
	out := &describeInterfacesOutput{NextToken: next}
	for _, nic := range nics {
		out.Interfaces.Items = append(out.Interfaces.Items, networkInterfaceXML{
			ZoneName: zoneName(nic), Description: nic.Description, Groups: c.groupRefs(nic.GroupIDs), Type: nic.Type,
			MAC: nic.mac(), ID: nic.ID, Owner: nic.AccountID, Address: nic.Address.String(),
			Addresses:        setOf([]addressXML{{true, nic.Address.String()}}),
			RequesterManaged: true, SourceDestCheck: true, Status: "in-use", SubnetID: nic.SubnetID, Tags: c.s.tagsOf(nic.ID),
			VPCID: nic.VPCID, ZoneID: nic.ZoneID,
		})
	}
	return out, nil
}

type zoneXML struct {
	OptIn       string `xml:"optInStatus"`
	Region      string `xml:"regionName"`
	Name        string `xml:"zoneName"`
	ID          string `xml:"zoneId"`
	Group       string `xml:"groupName"`
	BorderGroup string `xml:"networkBorderGroup"`
	Type        string `xml:"zoneType"`
	State       string `xml:"zoneState"`
}

type describeZonesInput struct {
	Names   []string    `q:"ZoneName"`
	IDs     []string    `q:"ZoneId"`
	All     *bool       `q:"AllAvailabilityZones"`
	Filters []ec2Filter `q:"Filter"`
}

type describeZonesOutput struct {
	Zones set[zoneXML] `xml:"availabilityZoneInfo"`
}

var zoneFilters = filters[zoneXML]{
	"zone-name":     one(func(z zoneXML) string { return z.Name }),
	"zone-id":       one(func(z zoneXML) string { return z.ID }),
	"region-name":   one(func(z zoneXML) string { return z.Region }),
	"group-name":    one(func(z zoneXML) string { return z.Group }),
	"state":         one(func(z zoneXML) string { return z.State }),
	"zone-type":     one(func(z zoneXML) string { return z.Type }),
	"opt-in-status": one(func(z zoneXML) string { return z.OptIn }),
}

func describeAvailabilityZones(c *call, in *describeZonesInput) (*describeZonesOutput, error) {
	account := c.s.Accounts[c.account]
	var zones []zoneXML
	for _, id := range account.Zones[c.region] {
		name := account.zoneName(c.region, id)
		if (len(in.Names) > 0 || len(in.IDs) > 0) && !slices.Contains(in.Names, name) && !slices.Contains(in.IDs, id) {
			continue
		}
		zones = append(zones, zoneXML{
			OptIn: "opt-in-not-required", Region: c.region, Name: name, ID: id, Group: c.region + "-zg-1",
			BorderGroup: c.region, Type: "availability-zone", State: "available",
		})
	}
	if len(zones) < len(in.Names)+len(in.IDs) {
		return nil, fail("InvalidParameterValue", "Invalid availability zones: %s", strings.Join(append(in.Names, in.IDs...), ", "))
	}
	zones, err := selected(c, zones, in.Filters, zoneFilters, nil)
	return &describeZonesOutput{setOf(zones)}, err
}

type regionXML struct {
	OptIn    string `xml:"optInStatus"`
	Name     string `xml:"regionName"`
	Endpoint string `xml:"regionEndpoint"`
}

type describeRegionsInput struct {
	Names   []string    `q:"RegionName"`
	All     *bool       `q:"AllRegions"`
	Filters []ec2Filter `q:"Filter"`
}

type describeRegionsOutput struct {
	Regions set[regionXML] `xml:"regionInfo"`
}

func describeRegions(c *call, in *describeRegionsInput) (*describeRegionsOutput, error) {
	var regions []regionXML
	for _, name := range c.f.cfg.Regions {
		if len(in.Names) == 0 || slices.Contains(in.Names, name) {
			regions = append(regions, regionXML{"opt-in-not-required", name, "ec2." + name + ".amazonaws.com"})
		}
	}
	if len(regions) < len(in.Names) {
		return nil, fail("InvalidParameterValue", "Invalid region names: %s", strings.Join(in.Names, ", "))
	}
	regions, err := selected(c, regions, in.Filters, filters[regionXML]{
		"region-name":   one(func(r regionXML) string { return r.Name }),
		"endpoint":      one(func(r regionXML) string { return r.Endpoint }),
		"opt-in-status": one(func(r regionXML) string { return r.OptIn }),
	}, nil)
	return &describeRegionsOutput{setOf(regions)}, err
}

type accountAttributesInput struct {
	Names []string `q:"AttributeName"`
}

type accountAttributeXML struct {
	Name   string `xml:"attributeName"`
	Values set[struct {
		Value string `xml:"attributeValue"`
	}] `xml:"attributeValueSet"`
}

type accountAttributesOutput struct {
	Attributes set[accountAttributeXML] `xml:"accountAttributeSet"`
}

func describeAccountAttributes(c *call, in *accountAttributesInput) (*accountAttributesOutput, error) {
	defaultVPC := "none"
	for vpc := range inOrder(c.s.VPCs) {
		if vpc.Default && vpc.AccountID == c.account && vpc.Region == c.region {
			defaultVPC = vpc.ID
		}
	}
	out := &accountAttributesOutput{}
	for _, attribute := range [][2]string{{"supported-platforms", "VPC"}, {"default-vpc", defaultVPC}} {
		if len(in.Names) > 0 && !slices.Contains(in.Names, attribute[0]) {
			continue
		}
		item := accountAttributeXML{Name: attribute[0]}
		item.Values.Items = append(item.Values.Items, struct {
			Value string `xml:"attributeValue"`
		}{attribute[1]})
		out.Attributes.Items = append(out.Attributes.Items, item)
	}
	return out, nil
}
