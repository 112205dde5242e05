package awsprivatelink

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/internal/cloud"
)

// claimTTL is how long resolvers may remember the TXT record that proves a private DNS name, in seconds.
const claimTTL = 300

// ensurePrivateDNS makes the service carry the private DNS name of spec, and has it verified: when this account holds a
// public hosted zone for the domain, the TXT record that AWS asks for is published there. When it does not, the record
// is named in what Service observes, for a person to publish.
//
// https://docs.aws.amazon.com/vpc/latest/privatelink/manage-dns-names.html
func (d *Driver) ensurePrivateDNS(ctx context.Context, spec cloud.ServiceSpec, serviceID string) error {
	cfg, err := d.endpointService(ctx, serviceID)
	if err != nil {
		return err
	}
	if deref(cfg.PrivateDnsName) != spec.PrivateDNSName {
		change := &ec2.ModifyVpcEndpointServiceConfigurationInput{ServiceId: aws.String(serviceID)}
		if spec.PrivateDNSName == "" {
			change.RemovePrivateDnsName = aws.Bool(true)
		} else {
			change.PrivateDnsName = aws.String(spec.PrivateDNSName)
		}
		if _, err := d.ec2.ModifyVpcEndpointServiceConfiguration(ctx, change); err != nil {
			return translate("set the service's private DNS name", err)
		}
		d.log.InfoContext(ctx, "private DNS name set", "key", spec.Key, "name", spec.PrivateDNSName)
		if cfg, err = d.endpointService(ctx, serviceID); err != nil {
			return err
		}
	}
	if deref(cfg.PrivateDnsName) == "" || verified(cfg) {
		return nil
	}
	claim := cfg.PrivateDnsNameConfiguration
	if claim == nil || deref(claim.Name) == "" {
		return nil // AWS has not said yet what it wants to see
	}
	published, err := d.publishClaim(ctx, deref(cfg.PrivateDnsName), deref(claim.Name), deref(claim.Value))
	if err != nil || !published {
		return err
	}
	_, err = d.ec2.StartVpcEndpointServicePrivateDnsVerification(ctx, &ec2.StartVpcEndpointServicePrivateDnsVerificationInput{
		ServiceId: aws.String(serviceID),
	})
	return translate("verify the private DNS name", err)
}

func (d *Driver) endpointService(ctx context.Context, id string) (types.ServiceConfiguration, error) {
	out, err := d.ec2.DescribeVpcEndpointServiceConfigurations(ctx, &ec2.DescribeVpcEndpointServiceConfigurationsInput{ServiceIds: []string{id}})
	if err != nil {
		return types.ServiceConfiguration{}, translate("read the endpoint service", err)
	}
	if len(out.ServiceConfigurations) == 0 {
		return types.ServiceConfiguration{}, cloud.ErrNotFound
	}
	return out.ServiceConfigurations[0], nil
}

func verified(cfg types.ServiceConfiguration) bool {
	c := cfg.PrivateDnsNameConfiguration
	return c != nil && strings.EqualFold(string(c.State), string(types.DnsNameStateVerified))
}

// claimName is the full name of the TXT record that proves the private name: a wildcard is proven for the domain below
// its star.
func claimName(label, private string) string { return label + "." + strings.TrimPrefix(private, "*.") }

// unverified says what a person has to publish; empty when nothing has to be.
func unverified(cfg types.ServiceConfiguration) string {
	c := cfg.PrivateDnsNameConfiguration
	if deref(cfg.PrivateDnsName) == "" || verified(cfg) || c == nil {
		return ""
	}
	return fmt.Sprintf("the private DNS name %s is not verified: publish the TXT record %s with the text %q in public DNS",
		*cfg.PrivateDnsName, claimName(deref(c.Name), *cfg.PrivateDnsName), deref(c.Value))
}

// publishClaim puts the TXT record into the account's public hosted zone for the longest suffix of the name. It reports
// false when the account holds none.
func (d *Driver) publishClaim(ctx context.Context, private, label, value string) (bool, error) {
	name := claimName(label, private)
	for _, suffix, ok := strings.Cut(name, "."); ok && strings.Contains(suffix, "."); _, suffix, ok = strings.Cut(suffix, ".") {
		zone, err := d.publicZone(ctx, suffix)
		if err != nil {
			return false, err
		}
		if zone == "" {
			continue
		}
		_, err = d.route53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String(zone),
			ChangeBatch: &r53types.ChangeBatch{
				Comment: aws.String("proves a private DNS name of PrivateLink"),
				Changes: []r53types.Change{{
					Action: r53types.ChangeActionUpsert,
					ResourceRecordSet: &r53types.ResourceRecordSet{
						Name: aws.String(name + "."), Type: r53types.RRTypeTxt, TTL: aws.Int64(claimTTL),
						ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(`"` + value + `"`)}},
					},
				}},
			},
		})
		if err != nil {
			return false, translate("publish the TXT record of the private DNS name", err)
		}
		return true, nil
	}
	return false, nil
}

// publicZone returns the id of the account's public hosted zone of exactly this name, "" when it has none.
func (d *Driver) publicZone(ctx context.Context, name string) (string, error) {
	out, err := d.route53.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String(name + ".")})
	if err != nil {
		return "", translate("find the public hosted zone of "+name, err)
	}
	for _, z := range out.HostedZones { // sorted by name, beginning with ours
		if deref(z.Name) != name+"." {
			break
		}
		if z.Config == nil || !z.Config.PrivateZone {
			return deref(z.Id), nil
		}
	}
	return "", nil
}
