package awsprivatelink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// EnsureNames gives each name's domain a private hosted zone in the network, with an alias of the endpoint. The zones are
// told from others by their comment, which is set with their creation and holds the key.
func (d *Driver) EnsureNames(ctx context.Context, spec cloud.NamesSpec) error {
	wanted := map[string][]string{} // by zone
	for _, name := range spec.Names {
		wanted[link.NameZone(name)] = append(wanted[link.NameZone(name)], name)
	}
	for _, name := range spec.Gone {
		zone := link.NameZone(name)
		if wanted[zone] != nil {
			continue // the zone stays, and loses the name below
		}
		if err := d.removeNameZone(ctx, spec.Key, zone); err != nil {
			return err
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	found, err := d.egressEndpoints(ctx, spec.Key)
	if err != nil {
		return err
	}
	if len(found) == 0 || len(found[0].DnsEntries) == 0 {
		return fmt.Errorf("name the egress endpoint: %w", cloud.ErrNotFound)
	}
	to := found[0].DnsEntries[0]
	target := r53types.AliasTarget{HostedZoneId: to.HostedZoneId, DNSName: to.DnsName}
	for _, name := range spec.Names { // in their order, so that who reads the calls sees what was asked for
		zone := link.NameZone(name)
		names := wanted[zone]
		if names == nil {
			continue // done with its sibling
		}
		delete(wanted, zone)
		if err := d.ensureNameZone(ctx, spec, zone, names, target); err != nil {
			return err
		}
	}
	return nil
}

// nameComment marks a hosted zone as made for a key.
func nameComment(key string) string { return "postern " + key }

// nameZone returns the id of the private hosted zone of a name that was made for key, "" when there is none.
func (d *Driver) nameZone(ctx context.Context, key, name string) (string, error) {
	in := &route53.ListHostedZonesByNameInput{DNSName: aws.String(name + ".")}
	for {
		out, err := d.route53.ListHostedZonesByName(ctx, in)
		if err != nil {
			return "", translate("find the hosted zone of "+name, err)
		}
		for _, z := range out.HostedZones { // sorted by name, beginning with ours
			if deref(z.Name) != name+"." {
				return "", nil
			}
			if z.Config != nil && z.Config.PrivateZone && deref(z.Config.Comment) == nameComment(key) {
				return deref(z.Id), nil
			}
		}
		if !out.IsTruncated {
			return "", nil
		}
		in.DNSName, in.HostedZoneId = out.NextDNSName, out.NextHostedZoneId
	}
}

// ensureNameZone makes the zone and makes it hold the names and no other.
func (d *Driver) ensureNameZone(ctx context.Context, spec cloud.NamesSpec, zone string, names []string, target r53types.AliasTarget) error {
	id, err := d.nameZone(ctx, spec.Key, zone)
	if err != nil {
		return err
	}
	if id == "" {
		if id, err = d.createNameZone(ctx, spec, zone); err != nil {
			return err
		}
	}
	have, err := d.zoneRecords(ctx, id, zone)
	if err != nil {
		return err
	}
	var changes []r53types.Change
	for _, r := range have {
		if !slices.Contains(names, recordName(r)) || r.Type != r53types.RRTypeA {
			changes = append(changes, r53types.Change{Action: r53types.ChangeActionDelete, ResourceRecordSet: &r})
		}
	}
	for _, name := range names {
		if slices.ContainsFunc(have, func(r r53types.ResourceRecordSet) bool { return leadsTo(r, name, target) }) {
			continue
		}
		changes = append(changes, r53types.Change{
			Action: r53types.ChangeActionUpsert,
			ResourceRecordSet: &r53types.ResourceRecordSet{
				Name: aws.String(name + "."), Type: r53types.RRTypeA, AliasTarget: &target,
			},
		})
	}
	return d.changeRecords(ctx, id, changes)
}

func (d *Driver) changeRecords(ctx context.Context, zoneID string, changes []r53types.Change) error {
	if len(changes) == 0 {
		return nil
	}
	_, err := d.route53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(zoneID),
		ChangeBatch:  &r53types.ChangeBatch{Comment: aws.String("names of an egress private endpoint"), Changes: changes},
	})
	return translate("change the names' records", err)
}

// createNameZone makes the zone. A caller reference is good once for all time, also when what it made is gone, so it
// carries a generation.
func (d *Driver) createNameZone(ctx context.Context, spec cloud.NamesSpec, zone string) (string, error) {
	const generations = 20
	for generation := range generations {
		out, err := d.route53.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{
			Name:             aws.String(zone),
			CallerReference:  aws.String(clientToken("names", spec.Key, spec.VPCID, zone, strconv.Itoa(generation))),
			VPC:              &r53types.VPC{VPCId: aws.String(spec.VPCID), VPCRegion: r53types.VPCRegion(d.region)},
			HostedZoneConfig: &r53types.HostedZoneConfig{Comment: aws.String(nameComment(spec.Key)), PrivateZone: true},
		})
		switch codeOf(err) {
		case "HostedZoneAlreadyExists":
			// Made by whoever was here at the same time, or deleted long ago.
			if id, err := d.nameZone(ctx, spec.Key, zone); err != nil || id != "" {
				return id, err
			}
			continue
		case "ConflictingDomainExists":
			return "", &cloud.Refusal{
				Reason: cloud.ReasonNameTaken, Code: "ConflictingDomainExists",
				Message: "the vendor's network already has a private hosted zone " + zone,
			}
		}
		if err != nil {
			return "", translate("create the hosted zone of "+zone, err)
		}
		d.log.InfoContext(ctx, "hosted zone created", "key", spec.Key, "zone", zone)
		return deref(out.HostedZone.Id), nil
	}
	return "", fmt.Errorf("create the hosted zone of %s: %d caller references are used up", zone, generations)
}

// zoneRecords are a zone's records but for those that it cannot be without.
func (d *Driver) zoneRecords(ctx context.Context, id, zone string) ([]r53types.ResourceRecordSet, error) {
	pages := route53.NewListResourceRecordSetsPaginator(d.route53, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(id)})
	var out []r53types.ResourceRecordSet
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("read the zone of "+zone, err)
		}
		for _, r := range page.ResourceRecordSets {
			if recordName(r) == zone && (r.Type == r53types.RRTypeNs || r.Type == r53types.RRTypeSoa) {
				continue
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// recordName is a record's name as this package writes it: Route 53 writes a star in octal and ends names with a dot.
func recordName(r r53types.ResourceRecordSet) string {
	return strings.TrimSuffix(strings.Replace(deref(r.Name), `\052`, "*", 1), ".")
}

func leadsTo(r r53types.ResourceRecordSet, name string, to r53types.AliasTarget) bool {
	return recordName(r) == name && r.Type == r53types.RRTypeA && r.AliasTarget != nil &&
		strings.EqualFold(strings.TrimSuffix(deref(r.AliasTarget.DNSName), "."), strings.TrimSuffix(deref(to.DNSName), "."))
}

// unlessMissing returns err, unless it says that what was to go is gone.
func unlessMissing(err error) error {
	if codeOf(err) == "NoSuchHostedZone" || errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// removeNameZone deletes the zone of a name that was made for key, with all that is in it.
func (d *Driver) removeNameZone(ctx context.Context, key, zone string) error {
	id, err := d.nameZone(ctx, key, zone)
	if err != nil || id == "" {
		return err
	}
	have, err := d.zoneRecords(ctx, id, zone)
	if err != nil {
		return unlessMissing(err)
	}
	var changes []r53types.Change
	for _, r := range have {
		changes = append(changes, r53types.Change{Action: r53types.ChangeActionDelete, ResourceRecordSet: &r})
	}
	if err := d.changeRecords(ctx, id, changes); err != nil {
		return unlessMissing(err)
	}
	if _, err = d.route53.DeleteHostedZone(ctx, &route53.DeleteHostedZoneInput{Id: aws.String(id)}); err != nil {
		return unlessMissing(translate("delete the hosted zone of "+zone, err))
	}
	d.log.InfoContext(ctx, "hosted zone deleted", "key", key, "zone", zone)
	return nil
}
