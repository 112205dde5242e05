package fabric

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// change is one change of a batch.
func change(action types.ChangeAction, name string, kind types.RRType, values ...string) types.Change {
	set := &types.ResourceRecordSet{Name: &name, Type: kind, TTL: aws.Int64(60)}
	for _, value := range values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: &value})
	}
	return types.Change{Action: action, ResourceRecordSet: set}
}

func alias(name, target, zoneID string) types.Change {
	return types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &types.ResourceRecordSet{
		Name: &name, Type: types.RRTypeA, AliasTarget: &types.AliasTarget{DNSName: &target, HostedZoneId: &zoneID},
	}}
}

func TestHostedZones(t *testing.T) {
	c := startCloud(t)
	ctx, client := t.Context(), c.route53(customer)
	vpc := &types.VPC{VPCId: aws.String(c.home(customer).VPCID), VPCRegion: types.VPCRegionUsEast1}
	zone := ok(client.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("Acme.PE.vendor.example"), CallerReference: aws.String("one"), VPC: vpc}))(t)
	if *zone.HostedZone.Name != "acme.pe.vendor.example." || !zone.HostedZone.Config.PrivateZone || !strings.HasSuffix(*zone.Location, *zone.HostedZone.Id) {
		t.Errorf("a VPC alone makes the zone private: %+v", zone.HostedZone)
	}
	id := *zone.HostedZone.Id
	batch := func(changes ...types.Change) error {
		_, err := client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: &id, ChangeBatch: &types.ChangeBatch{Changes: changes}})
		return err
	}
	const create, upsert, remove = types.ChangeActionCreate, types.ChangeActionUpsert, types.ChangeActionDelete
	if err := batch(
		change(create, "b.acme.pe.vendor.example", types.RRTypeA, "10.0.0.1"),
		change(create, `\052.acme.pe.vendor.example.`, types.RRTypeCname, "acme.pe.vendor.example"),
		alias("acme.pe.vendor.example", "vpce-0-x.vpce-svc-0.us-east-1.vpce.amazonaws.com", "Z7HUB22UULQXV"),
	); err != nil {
		t.Fatal(err)
	}
	names := func(in *route53.ListResourceRecordSetsInput) (list []string) {
		in.HostedZoneId = &id
		for _, set := range ok(client.ListResourceRecordSets(ctx, in))(t).ResourceRecordSets {
			list = append(list, *set.Name+" "+string(set.Type))
		}
		return list
	}
	apex := "acme.pe.vendor.example."
	if got, want := names(&route53.ListResourceRecordSetsInput{}), []string{apex + " A", apex + " NS", apex + " SOA", `\052.` + apex + " CNAME", "b." + apex + " A"}; !slices.Equal(got, want) {
		t.Errorf("the records are\n%q, want\n%q", got, want)
	}
	if got := names(&route53.ListResourceRecordSetsInput{StartRecordName: aws.String("b." + apex), StartRecordType: types.RRTypeA, MaxItems: aws.Int32(1)}); !slices.Equal(got, []string{"b." + apex + " A"}) {
		t.Errorf("from b on: %q", got)
	}

	for _, test := range []struct {
		name, want, message string
		do                  func() error
	}{
		{"the same caller reference", "HostedZoneAlreadyExists", "caller reference", func() error {
			_, err := client.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("other.example"), CallerReference: aws.String("one")})
			return err
		}},
		{"the same name in the VPC", "ConflictingDomainExists", *vpc.VPCId, func() error {
			_, err := client.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String(apex), CallerReference: aws.String("two"), VPC: vpc})
			return err
		}},
		{"another account's VPC", "NotAuthorizedException", c.home(vendor).VPCID, func() error {
			_, err := client.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("x.example"), CallerReference: aws.String("three"), VPC: &types.VPC{VPCId: aws.String(c.home(vendor).VPCID), VPCRegion: types.VPCRegionUsEast1}})
			return err
		}},
		{"a name with an empty label", "InvalidDomainName", "a..b", func() error {
			_, err := client.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("a..b"), CallerReference: aws.String("four")})
			return err
		}},
		{"a zone with records", "HostedZoneNotEmpty", "", func() error {
			_, err := client.DeleteHostedZone(ctx, &route53.DeleteHostedZoneInput{Id: &id})
			return err
		}},
		{"another account's zone", "NoSuchHostedZone", strings.TrimPrefix(id, "/hostedzone/"), func() error {
			_, err := c.route53(vendor).GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &id})
			return err
		}},
		{"leaving the last VPC", "LastVPCAssociation", "", func() error {
			_, err := client.DisassociateVPCFromHostedZone(ctx, &route53.DisassociateVPCFromHostedZoneInput{HostedZoneId: &id, VPC: vpc})
			return err
		}},
		{"creating what exists", "InvalidChangeBatch", "Tried to create resource record set [name='b." + apex + "', type='A'] but it already exists", func() error {
			return batch(change(create, "b."+apex, types.RRTypeA, "10.0.0.2"))
		}},
		{"one bad change in a batch", "InvalidChangeBatch", "Tried to delete resource record set [name='nope." + apex + "', type='A'] but it was not found", func() error {
			return batch(change(create, "good."+apex, types.RRTypeA, "10.0.0.2"), change(remove, "nope."+apex, types.RRTypeA, "10.0.0.2"))
		}},
		{"deleting with other values", "InvalidChangeBatch", "do not match the current values", func() error {
			return batch(change(remove, "b."+apex, types.RRTypeA, "10.0.0.2"))
		}},
		{"a name outside the zone", "InvalidChangeBatch", "RRSet with DNS name elsewhere.example. is not permitted in zone " + apex, func() error {
			return batch(change(upsert, "elsewhere.example", types.RRTypeA, "10.0.0.2"))
		}},
		{"a CNAME at the apex", "InvalidChangeBatch", "not permitted at apex", func() error {
			return batch(change(upsert, apex, types.RRTypeCname, "x.example"))
		}},
		{"a CNAME beside another record", "InvalidChangeBatch", "conflicts with other records", func() error {
			return batch(change(upsert, "b."+apex, types.RRTypeCname, "x.example"))
		}},
		{"an A record without an address", "InvalidChangeBatch", "not a valid IPv4 address", func() error {
			return batch(change(upsert, "b."+apex, types.RRTypeA, "b.example"))
		}},
		{"an alias with the wrong zone id", "InvalidChangeBatch", "does not lie within the target zone", func() error {
			return batch(alias("c."+apex, "vpce-0-x.vpce-svc-0.us-east-1.vpce.amazonaws.com", "Z1YSA3EXCYUU9Z"))
		}},
		{"deleting the zone's SOA", "InvalidChangeBatch", "", func() error {
			return batch(types.Change{Action: remove, ResourceRecordSet: &types.ResourceRecordSet{Name: &apex, Type: types.RRTypeNs, TTL: aws.Int64(172800), ResourceRecords: func() (r []types.ResourceRecord) {
				for _, name := range nameServers {
					r = append(r, types.ResourceRecord{Value: &name})
				}
				return r
			}()}})
		}},
		{"a change that does not exist", "NoSuchChange", "", func() error {
			_, err := client.GetChange(ctx, &route53.GetChangeInput{Id: aws.String("C000")})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.unchanged(func() {
				if err := test.do(); code(err) != test.want || !strings.Contains(err.Error(), test.message) {
					t.Errorf("got %v, want %s …%s…", err, test.want, test.message)
				}
			})
		})
	}

	second := ok(c.ec2(customer).CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.250.0.0/16")}))(t)
	other := &types.VPC{VPCId: second.Vpc.VpcId, VPCRegion: types.VPCRegionUsEast1}
	associated := ok(client.AssociateVPCWithHostedZone(ctx, &route53.AssociateVPCWithHostedZoneInput{HostedZoneId: &id, VPC: other}))(t)
	c.settledChange(associated.ChangeInfo)
	if got := ok(client.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &id}))(t); len(got.VPCs) != 2 || *got.HostedZone.ResourceRecordSetCount != 5 {
		t.Errorf("the zone: %+v", got)
	}
	byVPC := ok(client.ListHostedZonesByVPC(ctx, &route53.ListHostedZonesByVPCInput{VPCId: other.VPCId, VPCRegion: other.VPCRegion}))(t)
	byName := ok(client.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String(apex)}))(t)
	all := ok(client.ListHostedZones(ctx, &route53.ListHostedZonesInput{}))(t)
	if len(byVPC.HostedZoneSummaries) != 1 || len(byName.HostedZones) != 1 || len(all.HostedZones) != 1 {
		t.Errorf("listed %d, %d and %d times", len(byVPC.HostedZoneSummaries), len(byName.HostedZones), len(all.HostedZones))
	}
	ok(client.DisassociateVPCFromHostedZone(ctx, &route53.DisassociateVPCFromHostedZoneInput{HostedZoneId: &id, VPC: other}))(t)

	var removals []types.Change
	for _, set := range ok(client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: &id}))(t).ResourceRecordSets {
		if set.Type != types.RRTypeNs && set.Type != types.RRTypeSoa {
			removals = append(removals, types.Change{Action: remove, ResourceRecordSet: &set})
		}
	}
	if err := batch(removals...); err != nil {
		t.Fatal(err)
	}
	ok(client.DeleteHostedZone(ctx, &route53.DeleteHostedZoneInput{Id: &id}))(t)
	if left := c.snapshot().HostedZones; len(left) != 0 {
		t.Errorf("zones are left: %+v", left)
	}
}

// settledChange checks that a change is pending at first and in sync when everything has settled.
func (c *cloud) settledChange(info *types.ChangeInfo) {
	c.t.Helper()
	if info.Status != types.ChangeStatusPending {
		c.t.Errorf("a new change is %s", info.Status)
	}
	due := c.snapshot().Changes[strings.TrimPrefix(*info.Id, "/change/")].Due
	for c.now().Before(due) {
		<-c.after(due)
	}
	if got := ok(c.route53(customer).GetChange(c.t.Context(), &route53.GetChangeInput{Id: info.Id}))(c.t); got.ChangeInfo.Status != types.ChangeStatusInsync {
		c.t.Errorf("after its time the change is %s", got.ChangeInfo.Status)
	}
}
