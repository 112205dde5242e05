package connect

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// findProblems looks at what was read for everything that would fail later, or fail in silence.
func (p *Plan) findProblems() {
	switch p.ServiceState {
	case string(link.ServiceAvailable):
	case string(link.ServiceCreateFailed), string(link.ServiceDeleting), string(link.ServiceDeleteFailed):
		p.problem("SERVICE_FAILED", "region", "the vendor's service in "+p.Request.Region+" is "+p.ServiceState,
			"tell the vendor; nothing on this side helps")
	default:
		p.warn("SERVICE_NOT_READY", "region", "the vendor's service in "+p.Request.Region+" is not available yet",
			"postern connect asks for it and waits")
	}
	if !p.vpc.found {
		p.problem("VPC_NOT_FOUND", "vpc_id",
			fmt.Sprintf("account %s has no VPC %s in %s", p.AccountID, link.Quote(p.Request.VPCID), p.Request.Region),
			"aws ec2 describe-vpcs --region "+p.Request.Region+" lists them")
		p.sortProblems()
		return
	}
	p.subnetProblems()
	p.groupProblems()
	p.dnsProblems()
	p.endpointProblems()
	p.sortProblems()
}

func (p *Plan) subnetProblems() {
	if p.ServiceName == "" {
		return // its zones are not known yet
	}
	if len(p.Request.SubnetIDs) == 0 {
		p.problem("NO_COMMON_ZONE", "subnet_ids",
			fmt.Sprintf("the service is in the zones %s, the VPC has subnets in %s: they have none in common",
				list(p.ServiceZones), list(p.VPCZones)),
			"create a subnet in one of the service's zones; compare zone ids, as zone names mean another place in every account")
		return
	}
	taken := make(map[string]string)
	for _, id := range p.Request.SubnetIDs {
		s, ok := p.vpc.subnet(id)
		switch {
		case !ok:
			p.problem("SUBNET_NOT_IN_VPC", "subnet_ids", fmt.Sprintf("the VPC %s has no subnet %s", p.Request.VPCID, link.Quote(id)),
				"aws ec2 describe-subnets --filters Name=vpc-id,Values="+p.Request.VPCID+" lists them")
		case !slices.Contains(p.ServiceZones, s.zoneID):
			p.problem("ZONE_NOT_SUPPORTED", "subnet_ids",
				fmt.Sprintf("subnet %s is in zone %s (%s here), and the service is in %s", id, s.zoneID, s.zoneName, list(p.ServiceZones)),
				"take a subnet in one of the service's zones, or leave the choice to postern")
		case taken[s.zoneID] != "":
			p.problem("TWO_SUBNETS_IN_ONE_ZONE", "subnet_ids",
				fmt.Sprintf("subnets %s and %s are both in zone %s", taken[s.zoneID], id, s.zoneID), "give one subnet per zone")
		case s.free == 0 && p.endpoint == nil:
			p.problem("SUBNET_FULL", "subnet_ids", "subnet "+id+" has no address left", "free one, or take another subnet in its zone")
		}
		if ok {
			taken[s.zoneID] = id
		}
	}
	if len(p.Request.SubnetIDs) == 1 && len(p.ServiceZones) > 1 {
		p.warn("ONE_ZONE_ONLY", "subnet_ids", "the endpoint will stand in one zone only",
			"a second subnet in another zone keeps the path up when a zone fails")
	}
}

func (p *Plan) groupProblems() {
	var best admission
	for _, id := range p.Request.SecurityGroupIDs {
		g, ok := p.vpc.group(id)
		if !ok {
			p.problem("GROUP_NOT_IN_VPC", "security_group_ids",
				fmt.Sprintf("the VPC %s has no security group %s", p.Request.VPCID, link.Quote(id)),
				"aws ec2 describe-security-groups --filters Name=vpc-id,Values="+p.Request.VPCID+" lists them")
			return
		}
		best = max(best, g.admits(Port, p.vpc.cidrs))
	}
	ids := list(p.Request.SecurityGroupIDs)
	switch best {
	case admitsNobody:
		hint := "give a security group that admits TCP 443"
		if len(p.Request.SecurityGroupIDs) > 0 && len(p.vpc.cidrs) > 0 {
			hint = fmt.Sprintf("aws ec2 authorize-security-group-ingress --region %s --group-id %s --protocol tcp --port %d --cidr %s",
				p.Request.Region, p.Request.SecurityGroupIDs[0], Port, p.vpc.cidrs[0])
		}
		p.problem("NO_INBOUND_443", "security_group_ids",
			"no rule of "+ids+" lets TCP 443 in from the VPC: every connection would time out in silence", hint)
	case admitsMembers:
		p.warn("INBOUND_FROM_MEMBERS_ONLY", "security_group_ids",
			"only members of "+ids+" itself reach the endpoint; everything else times out in silence",
			fmt.Sprintf("if clients are in other groups: aws ec2 authorize-security-group-ingress --region %s --group-id %s --protocol tcp --port %d --cidr <their range>",
				p.Request.Region, p.Request.SecurityGroupIDs[0], Port))
	}
}

func (p *Plan) dnsProblems() {
	for _, need := range p.DNS.Requires {
		on, option := p.vpc.dnsSupport, "--enable-dns-support"
		if need == "enableDnsHostnames" {
			on, option = p.vpc.dnsHostnames, "--enable-dns-hostnames"
		}
		if !on {
			p.problem("VPC_DNS_OFF", "vpc_id", fmt.Sprintf("%s is off in %s: private names would not be answered", need, p.Request.VPCID),
				fmt.Sprintf("aws ec2 modify-vpc-attribute --region %s --vpc-id %s %s", p.Request.Region, p.Request.VPCID, option))
		}
	}
	if p.Request.DNS == DNSPrivate && p.ServiceName != "" {
		repositories := p.Proxy.RepositoryNames(p.PrivateName)
		switch {
		case p.privateDNS == "":
			p.problem("NO_PRIVATE_DNS_NAME", "dns", "the vendor's service has no private DNS name", "use the DNS mode zone")
		case !covers(p.privateDNS, p.PrivateName):
			p.problem("OTHER_PRIVATE_DNS_NAME", "dns",
				fmt.Sprintf("the private DNS name of the vendor's service, %s, does not cover %s", p.privateDNS, p.PrivateName),
				"use the DNS mode zone")
		case !p.privateDNSVerified:
			p.problem("PRIVATE_DNS_NOT_VERIFIED", "dns",
				fmt.Sprintf("the vendor has not proven yet that %s is its own: AWS does not let endpoints answer it", p.privateDNS),
				"ask the vendor, or use the DNS mode zone")
		case len(repositories) > 0 && !covers(p.privateDNS, repositories[0]):
			p.warn("REPOSITORIES_NOT_COVERED", "dns",
				fmt.Sprintf("the private DNS name of the vendor's service, %s, does not cover the names of Docker repositories, as %s", p.privateDNS, repositories[0]),
				"use the DNS mode zone if Docker clients are to reach them")
		}
	}
	if p.zone != nil && !p.zone.ours {
		if names := p.zone.elsewhere(p.DNS.Zones[0]); len(names) > 0 {
			p.problem("RECORD_CONFLICT", "dns",
				fmt.Sprintf("the zone %s (%s) was not made by postern and already answers %s with something else", p.zone.name, p.zone.id, list(names)),
				"remove those records, or use the DNS mode none and keep the names yourself")
		} else {
			p.warn("ZONE_NOT_OURS", "dns", fmt.Sprintf("the zone %s (%s) was not made by postern", p.zone.name, p.zone.id),
				"its records are added to; disconnecting removes those records and leaves the zone")
		}
	}
}

// covers reports whether a private DNS name, with or without a wildcard, answers name. The cloud's own zone answers a
// wildcard at every depth.
func covers(private, name string) bool {
	domain, wildcard := strings.CutPrefix(private, "*.")
	return domain == name || wildcard && strings.HasSuffix(name, "."+domain)
}

func (p *Plan) endpointProblems() {
	if p.endpoint == nil {
		return
	}
	if p.endpoint.state == link.Failed || p.endpoint.state == link.Expired {
		p.problem("ENDPOINT_DEAD", "", fmt.Sprintf("the endpoint %s is %s %s", p.endpoint.id, p.endpoint.state, p.endpoint.problem),
			fmt.Sprintf("aws ec2 delete-vpc-endpoints --region %s --vpc-endpoint-ids %s, then run it again", p.Request.Region, p.endpoint.id))
	}
	if len(p.endpoint.subnets) == 0 && len(p.Request.SubnetIDs) > 0 {
		p.problem("ENDPOINT_WITHOUT_SUBNETS", "subnet_ids", fmt.Sprintf("the endpoint %s that is there already stands in no subnet", p.endpoint.id),
			fmt.Sprintf("aws ec2 modify-vpc-endpoint --region %s --vpc-endpoint-id %s --add-subnet-ids %s",
				p.Request.Region, p.endpoint.id, strings.Join(p.Request.SubnetIDs, " ")))
		return
	}
	for _, want := range p.Request.SubnetIDs {
		if !slices.Contains(p.endpoint.subnets, want) {
			p.warn("ENDPOINT_DIFFERS", "subnet_ids", fmt.Sprintf("the endpoint %s that is there already has no interface in %s", p.endpoint.id, want),
				fmt.Sprintf("aws ec2 modify-vpc-endpoint --region %s --vpc-endpoint-id %s --add-subnet-ids %s", p.Request.Region, p.endpoint.id, want))
		}
	}
	for _, want := range p.Request.SecurityGroupIDs {
		if !slices.Contains(p.endpoint.groups, want) {
			p.warn("ENDPOINT_DIFFERS", "security_group_ids", fmt.Sprintf("the endpoint %s that is there already is not in the group %s", p.endpoint.id, want),
				fmt.Sprintf("aws ec2 modify-vpc-endpoint --region %s --vpc-endpoint-id %s --add-security-group-ids %s", p.Request.Region, p.endpoint.id, want))
		}
	}
}

func (p *Plan) problem(reason, field, message, hint string) {
	p.Problems = append(p.Problems, Problem{Reason: reason, Field: field, Message: message, Hint: hint})
}

func (p *Plan) warn(reason, field, message, hint string) {
	p.Problems = append(p.Problems, Problem{Reason: reason, Field: field, Message: message, Hint: hint, Warning: true})
}

func (p *Plan) sortProblems() {
	slices.SortStableFunc(p.Problems, func(a, b Problem) int { return b2i(a.Warning) - b2i(b.Warning) })
}

// refusal is the error of a run that problems keep from starting. All problems are in its text, the first gives the
// reason.
func refusal(problems []Problem) error {
	var all []error
	for _, p := range problems {
		all = append(all, p)
	}
	first := problems[0]
	e := &link.Error{
		Kind: link.Precondition, Reason: first.Reason, Field: first.Field, Message: first.Message, Hint: first.Hint,
	}
	if len(all) > 1 {
		e.Err = errors.Join(all[1:]...)
	}
	return e
}

// apiError puts an answer of Postern's API into the context of what was attempted.
func apiError(doing string, err error) error {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return &link.Error{
			Kind: link.Unavailable, Reason: "API_UNREACHABLE", Message: "could not " + doing,
			Hint: "check the URL of Postern's API and that this machine reaches it", Err: err,
		}
	}
	out := &link.Error{Kind: link.Precondition, Reason: api.Reason(err), Message: "could not " + doing + ": " + e.Message}
	if len(e.Details) > 0 {
		out.Field, out.Hint = e.Details[0].Field, e.Details[0].Hint
	}
	switch e.Status {
	case http.StatusUnauthorized:
		out.Kind = link.Unauthenticated
	case http.StatusForbidden:
		out.Kind = link.Denied
	case http.StatusNotFound:
		out.Kind = link.NotFound
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		out.Kind = link.Invalid
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		out.Kind = link.Unavailable
	case http.StatusInternalServerError:
		out.Kind = link.Internal
	}
	return out
}

func list(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, ", ")
}
