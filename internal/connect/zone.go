package connect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/internal/dnsplan"
	"github.com/postern/postern/internal/link"
)

// zoneFacts is a private hosted zone of the VPC with its records.
type zoneFacts struct {
	id      string // without /hostedzone/
	name    string // without the final dot
	ours    bool   // made by connect
	vpcs    []string
	records []types.ResourceRecordSet
}

// findZone returns the private hosted zone of exactly this name that the VPC sees; nil when there is none.
func (a *account) findZone(ctx context.Context, name, vpcID string) (*zoneFacts, error) {
	in := &route53.ListHostedZonesByNameInput{DNSName: aws.String(name)}
	for {
		out, err := a.route53.ListHostedZonesByName(ctx, in)
		if err != nil {
			return nil, awsError("list the hosted zones", err)
		}
		for _, z := range out.HostedZones {
			if plainName(deref(z.Name)) != name {
				return nil, nil // zones come in order of name, beginning with the one asked for
			}
			if z.Config == nil || !z.Config.PrivateZone {
				continue
			}
			f, err := a.zone(ctx, deref(z.Id))
			if err != nil || f != nil && slices.Contains(f.vpcs, vpcID) {
				return f, err
			}
		}
		if !out.IsTruncated {
			return nil, nil
		}
		in.DNSName, in.HostedZoneId = out.NextDNSName, out.NextHostedZoneId
	}
}

// zone reads a zone with its records; nil when it is gone.
func (a *account) zone(ctx context.Context, id string) (*zoneFacts, error) {
	id = plainID(id)
	out, err := a.route53.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: aws.String(id)})
	if codeOf(err) == "NoSuchHostedZone" {
		return nil, nil
	}
	if err != nil {
		return nil, awsError("read the private zone", err)
	}
	f := &zoneFacts{
		id: id, name: plainName(deref(out.HostedZone.Name)),
		ours: strings.HasPrefix(deref(out.HostedZone.CallerReference), referencePrefix),
	}
	for _, v := range out.VPCs {
		f.vpcs = append(f.vpcs, deref(v.VPCId))
	}
	pages := route53.NewListResourceRecordSetsPaginator(a.route53, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(id)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if codeOf(err) == "NoSuchHostedZone" {
			return nil, nil
		}
		if err != nil {
			return nil, awsError("read the private zone's records", err)
		}
		f.records = append(f.records, page.ResourceRecordSets...)
	}
	return f, nil
}

// createZone makes the private zone of z. It returns the id of the change too, to be waited for.
func (a *account) createZone(ctx context.Context, clusterID string, z dnsplan.Zone) (*zoneFacts, string, error) {
	const generations = 16
	for generation := range generations {
		out, err := a.route53.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{
			Name:             aws.String(z.Name),
			CallerReference:  aws.String(callerReference(clusterID, z.VPCID, z.Name, generation)),
			VPC:              &types.VPC{VPCId: aws.String(z.VPCID), VPCRegion: types.VPCRegion(z.Region)},
			HostedZoneConfig: &types.HostedZoneConfig{Comment: aws.String("made by postern"), PrivateZone: true},
		})
		switch code := codeOf(err); {
		case err == nil:
			f, err := a.zone(ctx, deref(out.HostedZone.Id))
			if err != nil {
				return nil, "", err
			}
			if f == nil {
				return nil, "", fmt.Errorf("create the private zone: it was gone at once")
			}
			return f, changeID(out.ChangeInfo), nil
		case code == "HostedZoneAlreadyExists":
			// The reference was spent: by a run that was cut off after it (the zone is found now), or by a zone that
			// was deleted since.
			f, err := a.findZone(ctx, z.Name, z.VPCID)
			if err != nil || f != nil {
				return f, "", err
			}
		case code == "ConflictingDomainExists":
			return nil, "", &link.Error{
				Kind: link.Precondition, Reason: "ZONE_CONFLICT",
				Message: fmt.Sprintf("the VPC already sees another private zone for %s, which this account does not own", z.Name),
				Hint:    "take that zone away from the VPC (or let its owner add the records), then run it again",
				Err:     err,
			}
		default:
			return nil, "", awsError("create the private zone", err)
		}
	}
	return nil, "", &link.Error{
		Kind: link.Precondition, Reason: "ZONE_REFERENCES_SPENT",
		Message: fmt.Sprintf("%d private zones for %s were created and deleted before", generations, z.Name),
		Hint:    "create the zone with aws route53 create-hosted-zone and run this again",
	}
}

// missing returns the changes that make z hold want's records towards target. A name that leads elsewhere is changed.
func (f *zoneFacts) missing(want dnsplan.Zone, target dnsplan.Target) []types.Change {
	var out []types.Change
	for _, r := range want.Records {
		if i := f.find(r); i >= 0 && leadsTo(f.records[i], target) {
			continue
		}
		out = append(out, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &types.ResourceRecordSet{
			Name: aws.String(r.Name), Type: types.RRType(r.Type),
			AliasTarget: &types.AliasTarget{
				DNSName: aws.String(target.Name), HostedZoneId: aws.String(target.HostedZoneID), EvaluateTargetHealth: false,
			},
		}})
	}
	return out
}

// elsewhere returns the names among want's that exist with the same type and do not lead to an endpoint: somebody made
// them for another purpose.
func (f *zoneFacts) elsewhere(want dnsplan.Zone) []string {
	var out []string
	for _, r := range want.Records {
		if i := f.find(r); i >= 0 && !leadsToEndpoint(f.records[i]) {
			out = append(out, r.Name)
		}
	}
	return out
}

// removable returns the deletions that take away what connect made: everything but SOA and NS when the zone is ours,
// else only the aliases to target.
func (f *zoneFacts) removable(target dnsplan.Target) []types.Change {
	var out []types.Change
	for _, r := range f.records {
		apexOnly := (r.Type == types.RRTypeSoa || r.Type == types.RRTypeNs) && plainName(deref(r.Name)) == f.name
		mine := f.ours || target.Known() && leadsTo(r, target)
		if apexOnly || !mine {
			continue
		}
		out = append(out, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: &r})
	}
	return out
}

func (f *zoneFacts) find(want dnsplan.Record) int {
	return slices.IndexFunc(f.records, func(r types.ResourceRecordSet) bool {
		return plainName(deref(r.Name)) == want.Name && string(r.Type) == want.Type
	})
}

func leadsTo(r types.ResourceRecordSet, t dnsplan.Target) bool {
	return r.AliasTarget != nil && plainName(deref(r.AliasTarget.DNSName)) == plainName(t.Name) &&
		deref(r.AliasTarget.HostedZoneId) == t.HostedZoneID
}

func leadsToEndpoint(r types.ResourceRecordSet) bool {
	return r.AliasTarget != nil && strings.HasPrefix(plainName(deref(r.AliasTarget.DNSName)), "vpce-")
}

// change sends changes and returns the id to wait for.
func (a *account) change(ctx context.Context, zoneID string, changes []types.Change) (string, error) {
	out, err := a.route53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(zoneID),
		ChangeBatch:  &types.ChangeBatch{Comment: aws.String("private endpoint names, made by postern"), Changes: changes},
	})
	if err != nil {
		return "", awsError("change the private zone's records", err)
	}
	return changeID(out.ChangeInfo), nil
}

// inSync reports whether every name server of Route 53 answers with the change.
func (a *account) inSync(ctx context.Context, changeID string) (bool, error) {
	out, err := a.route53.GetChange(ctx, &route53.GetChangeInput{Id: aws.String(changeID)})
	if err != nil {
		return false, awsError("see whether the records are in sync", err)
	}
	return out.ChangeInfo != nil && out.ChangeInfo.Status == types.ChangeStatusInsync, nil
}

// deleteZone removes an empty zone; one that is gone already is no error.
func (a *account) deleteZone(ctx context.Context, id string) error {
	_, err := a.route53.DeleteHostedZone(ctx, &route53.DeleteHostedZoneInput{Id: aws.String(id)})
	if codeOf(err) == "NoSuchHostedZone" {
		return nil
	}
	return awsError("delete the private zone", err)
}

func changeID(c *types.ChangeInfo) string {
	if c == nil {
		return ""
	}
	return strings.TrimPrefix(deref(c.Id), "/change/")
}

func plainID(id string) string { return strings.TrimPrefix(id, "/hostedzone/") }

// plainName takes away the final dot and Route 53's way of writing a wildcard.
func plainName(name string) string {
	return strings.Replace(strings.TrimSuffix(strings.ToLower(name), "."), `\052`, "*", 1)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
