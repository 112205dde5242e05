package connect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/dnsplan"
	"github.com/postern/postern/internal/link"
)

// endpointFacts is an endpoint as its owner sees it.
type endpointFacts struct {
	id         link.EndpointID
	state      link.State
	problem    string // AWS's words when it failed
	created    time.Time
	subnets    []string
	groups     []string
	interfaces []string
	target     dnsplan.Target // zero until AWS has named it
	privateDNS bool
	madeBy     string
	clusters   []string // ids of the clusters that use it, by its tags
}

func endpointOf(e types.VpcEndpoint) endpointFacts {
	f := endpointFacts{
		id:         link.EndpointID(deref(e.VpcEndpointId)),
		state:      cloud.EndpointState(string(e.State)),
		created:    aws.ToTime(e.CreationTimestamp),
		subnets:    e.SubnetIds,
		interfaces: e.NetworkInterfaceIds,
		privateDNS: aws.ToBool(e.PrivateDnsEnabled),
	}
	if e.LastError != nil {
		f.problem = deref(e.LastError.Code) + ": " + deref(e.LastError.Message)
	}
	for _, g := range e.Groups {
		f.groups = append(f.groups, deref(g.GroupId))
	}
	if len(e.DnsEntries) > 0 { // the regional name comes first: it has the addresses of every zone
		f.target = dnsplan.Target{Name: deref(e.DnsEntries[0].DnsName), HostedZoneID: deref(e.DnsEntries[0].HostedZoneId)}
	}
	for _, t := range e.Tags {
		if deref(t.Key) == tagMadeBy {
			f.madeBy = deref(t.Value)
		}
		if id, ok := strings.CutPrefix(deref(t.Key), tagClusterPrefix); ok {
			f.clusters = append(f.clusters, id)
		}
	}
	return f
}

// there reports whether the endpoint exists and is not on its way out.
func (f endpointFacts) there() bool { return f.state != link.Deleting && f.state != link.Deleted }

// findEndpoint returns the endpoint in the VPC that leads to the service; nil when there is none. When people made
// several, it is the one that is tagged for the cluster, else the oldest.
func (a *account) findEndpoint(ctx context.Context, vpcID, serviceName, clusterID string) (*endpointFacts, error) {
	pages := ec2.NewDescribeVpcEndpointsPaginator(a.ec2, &ec2.DescribeVpcEndpointsInput{Filters: []types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{vpcID}},
		{Name: aws.String("service-name"), Values: []string{serviceName}},
	}})
	var found []endpointFacts
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError("list the VPC's endpoints", err)
		}
		for _, e := range page.VpcEndpoints {
			if f := endpointOf(e); f.there() {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	slices.SortFunc(found, func(x, y endpointFacts) int {
		return cmp.Or(
			-cmp.Compare(b2i(slices.Contains(x.clusters, clusterID)), b2i(slices.Contains(y.clusters, clusterID))),
			x.created.Compare(y.created), cmp.Compare(x.id, y.id))
	})
	return &found[0], nil
}

// endpoint returns one endpoint; nil when it does not exist any more.
func (a *account) endpoint(ctx context.Context, id link.EndpointID) (*endpointFacts, error) {
	out, err := a.ec2.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{VpcEndpointIds: []string{string(id)}})
	if codeOf(err) == "InvalidVpcEndpointId.NotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, awsError("read the endpoint", err)
	}
	for _, e := range out.VpcEndpoints {
		if f := endpointOf(e); f.state != link.Deleted {
			return &f, nil
		}
	}
	return nil, nil
}

// createEndpoint makes the endpoint that p plans.
func (a *account) createEndpoint(ctx context.Context, p *Plan, poll time.Duration) (*endpointFacts, error) {
	const generations = 16
	for generation := range generations {
		out, err := a.ec2.CreateVpcEndpoint(ctx, &ec2.CreateVpcEndpointInput{
			VpcEndpointType:   types.VpcEndpointTypeInterface,
			VpcId:             aws.String(p.Request.VPCID),
			ServiceName:       aws.String(p.ServiceName),
			SubnetIds:         p.Request.SubnetIDs,
			SecurityGroupIds:  p.Request.SecurityGroupIDs,
			PrivateDnsEnabled: aws.Bool(false), // AWS refuses it before acceptance
			ClientToken:       aws.String(clientToken(p.Request.ClusterID, p.Request.VPCID, generation)),
			TagSpecifications: []types.TagSpecification{{
				ResourceType: types.ResourceTypeVpcEndpoint,
				Tags: []types.Tag{
					{Key: aws.String("Name"), Value: aws.String("postern " + p.ClusterName)},
					{Key: aws.String(tagMadeBy), Value: aws.String(madeByConnect)},
					{Key: aws.String(tagClusterPrefix + p.Request.ClusterID), Value: aws.String(p.ClusterName)},
				},
			}},
		})
		if codeOf(err) == "IdempotentParameterMismatch" {
			// The token was spent on other parameters: by a run with another choice of subnets, whose endpoint may
			// still live and is then the one to use.
			live, findErr := a.findEndpoint(ctx, p.Request.VPCID, p.ServiceName, p.Request.ClusterID)
			if findErr != nil || live != nil {
				return live, findErr
			}
			continue
		}
		if err != nil {
			return nil, awsError("create the endpoint", err)
		}
		if out.VpcEndpoint == nil {
			return nil, fmt.Errorf("create the endpoint: AWS answered without one")
		}
		live, err := a.settled(ctx, link.EndpointID(deref(out.VpcEndpoint.VpcEndpointId)), poll)
		if err != nil {
			return nil, err
		}
		if live != nil && live.there() {
			return live, nil
		}
	}
	return nil, &link.Error{
		Kind: link.Precondition, Reason: "ENDPOINT_TOKENS_SPENT",
		Message: fmt.Sprintf("%d endpoints of this cluster were created and deleted in this VPC in a short time", generations),
		Hint:    "AWS forgets them within a day: try again then, or create the endpoint with aws ec2 create-vpc-endpoint and run this again",
	}
}

// settled reads an endpoint that was just created. The answer to a token seen before shows it as it was then, so it is
// read anew; and EC2 may need some seconds until a new endpoint is found at all, so not finding it is believed only
// after several looks.
func (a *account) settled(ctx context.Context, id link.EndpointID, poll time.Duration) (*endpointFacts, error) {
	const looks = 8
	for range looks {
		f, err := a.endpoint(ctx, id)
		if err != nil || f != nil {
			return f, err
		}
		if err := pause(ctx, poll); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// setPrivateDNS enables the service's private name on the endpoint, or disables it.
func (a *account) setPrivateDNS(ctx context.Context, id link.EndpointID, on bool) error {
	_, err := a.ec2.ModifyVpcEndpoint(ctx, &ec2.ModifyVpcEndpointInput{
		VpcEndpointId: aws.String(string(id)), PrivateDnsEnabled: aws.Bool(on),
	})
	return awsError("set private DNS on the endpoint", err)
}

// tagEndpoint notes on the endpoint that the cluster uses it.
func (a *account) tagEndpoint(ctx context.Context, id link.EndpointID, clusterID, clusterName string) error {
	_, err := a.ec2.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{string(id)},
		Tags:      []types.Tag{{Key: aws.String(tagClusterPrefix + clusterID), Value: aws.String(clusterName)}},
	})
	return awsError("tag the endpoint", err)
}

func (a *account) untagEndpoint(ctx context.Context, id link.EndpointID, clusterID string) error {
	_, err := a.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{
		Resources: []string{string(id)}, Tags: []types.Tag{{Key: aws.String(tagClusterPrefix + clusterID)}},
	})
	return awsError("remove the cluster's tag from the endpoint", err)
}

func (a *account) deleteEndpoint(ctx context.Context, id link.EndpointID) error {
	out, err := a.ec2.DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{string(id)}})
	if codeOf(err) == "InvalidVpcEndpointId.NotFound" {
		return nil
	}
	if err != nil {
		return awsError("delete the endpoint", err)
	}
	for _, u := range out.Unsuccessful {
		if u.Error == nil || deref(u.Error.Code) == "InvalidVpcEndpointId.NotFound" {
			continue
		}
		return &link.Error{
			Kind: link.Precondition, Reason: "AWS_REFUSED",
			Message: fmt.Sprintf("could not delete the endpoint: AWS answered %s: %s", deref(u.Error.Code), deref(u.Error.Message)),
			Hint:    "mend what AWS says and run it again",
		}
	}
	return nil
}

// servicePrivateDNS returns the service's private DNS name as the customer sees it, empty when it has none, and whether
// the vendor has proven that it owns it.
func (a *account) servicePrivateDNS(ctx context.Context, serviceName string) (name string, verified bool, err error) {
	out, err := a.ec2.DescribeVpcEndpointServices(ctx, &ec2.DescribeVpcEndpointServicesInput{ServiceNames: []string{serviceName}})
	if err != nil {
		return "", false, awsError("read the vendor's service", err)
	}
	for _, d := range out.ServiceDetails {
		if name := deref(d.PrivateDnsName); name != "" {
			return name, strings.EqualFold(string(d.PrivateDnsNameVerificationState), string(types.DnsNameStateVerified)), nil
		}
	}
	return "", false, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
