package awsprivatelink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// EnsureService makes what spec describes. While AWS still provisions the load balancer the answer has the state
// CREATING and no service id: call again.
func (d *Driver) EnsureService(ctx context.Context, spec cloud.ServiceSpec) (cloud.Service, error) {
	if spec.Key == "" || spec.VPCID == "" || len(spec.SubnetIDs) == 0 || len(spec.Ports) == 0 {
		return cloud.Service{}, &cloud.Refusal{
			Reason: reasonSpec, Code: "IncompleteSpec",
			Message: "a service needs a key, a VPC, at least one subnet and at least one port",
		}
	}
	lb, err := d.ensureLoadBalancer(ctx, spec)
	if err != nil {
		return cloud.Service{}, err
	}
	lbARN := deref(lb.LoadBalancerArn)
	groups, stale, err := d.ensureTargetGroups(ctx, spec)
	if err != nil {
		return cloud.Service{}, err
	}
	if err := d.ensureListeners(ctx, spec.Key, lbARN, groups); err != nil {
		return cloud.Service{}, err
	}
	for _, arn := range stale { // only now: a group cannot go while a listener forwards to it
		if err := d.deleteTargetGroup(ctx, spec.Key, arn); err != nil {
			return cloud.Service{}, err
		}
	}
	if !active(lb) {
		// It may have become active while its parts were made.
		if lb, err = d.loadBalancer(ctx, spec.Key); err != nil {
			return cloud.Service{}, err
		}
		if lb == nil || !active(lb) {
			return d.Service(ctx, spec.Key)
		}
	}
	serviceID, err := d.ensureEndpointService(ctx, spec.Key, lbARN)
	if err != nil {
		return cloud.Service{}, err
	}
	if err := d.ensurePrincipals(ctx, spec, serviceID); err != nil {
		return cloud.Service{}, err
	}
	if err := d.ensurePrivateDNS(ctx, spec, serviceID); err != nil {
		return cloud.Service{}, err
	}
	return d.Service(ctx, spec.Key)
}

// Service observes. Its Problem joins everything that EnsureService would mend or that a person has to look at.
func (d *Driver) Service(ctx context.Context, key string) (cloud.Service, error) {
	lb, err := d.loadBalancer(ctx, key)
	if err != nil {
		return cloud.Service{}, err
	}
	configs, err := d.endpointServices(ctx, key)
	if err != nil {
		return cloud.Service{}, err
	}
	if lb == nil && len(configs) == 0 {
		return cloud.Service{}, cloud.ErrNotFound
	}
	svc := cloud.Service{Key: key, State: link.ServiceCreating}
	var problems []string
	if lb == nil {
		problems = append(problems, "the load balancer "+loadBalancerName(key)+" is missing")
	} else {
		if svc.ZoneIDs, err = d.zoneIDs(ctx, lb); err != nil {
			return cloud.Service{}, err
		}
		if lb.State != nil && lb.State.Reason != nil && !active(lb) {
			problems = append(problems, "load balancer: "+*lb.State.Reason)
		}
		var off []string
		if svc.Targets, off, err = d.observeTargets(ctx, key); err != nil {
			return cloud.Service{}, err
		}
		problems = append(problems, off...)
	}
	if len(configs) > 0 {
		cfg := configs[0]
		svc.ServiceID, svc.Name = deref(cfg.ServiceId), deref(cfg.ServiceName)
		svc.State = serviceState(cfg.ServiceState)
		svc.PrivateDNSName, svc.PrivateDNSVerified, svc.PrivateDNSMissing = deref(cfg.PrivateDnsName), verified(cfg), unverified(cfg)
		if svc.Principals, err = d.principals(ctx, svc.ServiceID); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return cloud.Service{}, err
		}
		if !aws.ToBool(cfg.AcceptanceRequired) {
			problems = append(problems, "the service "+svc.ServiceID+" lets endpoints in without acceptance")
		}
		for _, twin := range configs[1:] {
			if live(twin) {
				problems = append(problems, "a second endpoint service carries the same key and is not used: "+deref(twin.ServiceId))
			}
		}
	}
	svc.Problem = strings.Join(problems, "; ")
	return svc, nil
}

// DeleteService removes endpoint services, load balancer and target groups, in the only order that AWS allows.
func (d *Driver) DeleteService(ctx context.Context, key string) error {
	configs, err := d.endpointServices(ctx, key)
	if err != nil {
		return err
	}
	for _, cfg := range configs {
		if !live(cfg) {
			continue
		}
		out, err := d.ec2.DeleteVpcEndpointServiceConfigurations(ctx, &ec2.DeleteVpcEndpointServiceConfigurationsInput{
			ServiceIds: []string{deref(cfg.ServiceId)},
		})
		const doing = "delete the endpoint service"
		if err = translate(doing, err); err == nil {
			err = unsuccessful(doing, out.Unsuccessful)
		}
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return err
		}
		d.log.InfoContext(ctx, "endpoint service deleted", "key", key, "service", deref(cfg.ServiceId))
	}
	lb, err := d.loadBalancer(ctx, key)
	if err != nil {
		return err
	}
	if lb != nil {
		_, err := d.elb.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn})
		if err != nil && codeOf(err) != "LoadBalancerNotFound" {
			return translate("delete the load balancer", err)
		}
		d.log.InfoContext(ctx, "load balancer deleted", "key", key)
	}
	groups, err := d.targetGroups(ctx, key)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := d.deleteTargetGroup(ctx, key, deref(g.TargetGroupArn)); err != nil {
			return err
		}
	}
	return nil
}

// endpointServices returns the endpoint services tagged with key that still exist, the one to use first. There is more
// than one only when something outside Postern made it, or when AWS forgot a ClientToken; then the one with the most
// endpoints is kept, and the lowest id among equals, so that every caller keeps the same.
func (d *Driver) endpointServices(ctx context.Context, key string) ([]types.ServiceConfiguration, error) {
	pages := ec2.NewDescribeVpcEndpointServiceConfigurationsPaginator(d.ec2,
		&ec2.DescribeVpcEndpointServiceConfigurationsInput{
			Filters:    []types.Filter{{Name: aws.String("tag:" + keyTag), Values: []string{key}}},
			MaxResults: d.pageSize,
		})
	var out []types.ServiceConfiguration
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("find the endpoint service", err)
		}
		for _, c := range page.ServiceConfigurations {
			if !strings.EqualFold(string(c.ServiceState), string(types.ServiceStateDeleted)) {
				out = append(out, c)
			}
		}
	}
	if len(out) < 2 {
		return out, nil
	}
	attached := make(map[string]int, len(out))
	for _, c := range out {
		conns, err := d.connections(ctx, deref(c.ServiceId), cloud.Query{})
		if err != nil {
			return nil, err
		}
		attached[deref(c.ServiceId)] = len(conns)
	}
	slices.SortFunc(out, func(a, b types.ServiceConfiguration) int {
		ida, idb := deref(a.ServiceId), deref(b.ServiceId)
		return cmp.Or(-cmp.Compare(btoi(live(a)), btoi(live(b))), -cmp.Compare(attached[ida], attached[idb]), cmp.Compare(ida, idb))
	})
	return out, nil
}

// ensureEndpointService returns the id of the endpoint service of key, made or mended so that it stands before lbARN
// and asks for acceptance.
func (d *Driver) ensureEndpointService(ctx context.Context, key, lbARN string) (string, error) {
	configs, err := d.endpointServices(ctx, key)
	if err != nil {
		return "", err
	}
	if len(configs) == 0 {
		return d.createEndpointService(ctx, key, lbARN)
	}
	if !live(configs[0]) { // it holds the load balancer until it is gone
		return "", fmt.Errorf("create the endpoint service: %s is still being deleted", deref(configs[0].ServiceId))
	}
	cfg := configs[0]
	mend := &ec2.ModifyVpcEndpointServiceConfigurationInput{ServiceId: cfg.ServiceId}
	wrong := false
	if !aws.ToBool(cfg.AcceptanceRequired) {
		mend.AcceptanceRequired, wrong = aws.Bool(true), true
	}
	if !slices.Contains(cfg.NetworkLoadBalancerArns, lbARN) {
		mend.AddNetworkLoadBalancerArns, wrong = []string{lbARN}, true
	}
	if wrong {
		if _, err := d.ec2.ModifyVpcEndpointServiceConfiguration(ctx, mend); err != nil {
			return "", translate("mend the endpoint service", err)
		}
		d.log.InfoContext(ctx, "endpoint service mended", "key", key, "service", deref(cfg.ServiceId))
	}
	return deref(cfg.ServiceId), nil
}

// createEndpointService makes the endpoint service. AWS answers a ClientToken that it has seen with what it made then,
// even when that was deleted since; so the token carries the load balancer's ARN and a generation, which grows past
// the tokens of services that are gone.
func (d *Driver) createEndpointService(ctx context.Context, key, lbARN string) (string, error) {
	const generations = 5
	for generation := range generations {
		out, err := d.ec2.CreateVpcEndpointServiceConfiguration(ctx, &ec2.CreateVpcEndpointServiceConfigurationInput{
			AcceptanceRequired:      aws.Bool(true),
			NetworkLoadBalancerArns: []string{lbARN},
			ClientToken:             aws.String(clientToken("service", key, lbARN, strconv.Itoa(generation))),
			TagSpecifications: []types.TagSpecification{{
				ResourceType: types.ResourceTypeVpcEndpointService,
				Tags: []types.Tag{
					{Key: aws.String(keyTag), Value: aws.String(key)},
					{Key: aws.String("Name"), Value: aws.String("postern " + key)},
				},
			}},
		})
		if err != nil {
			return "", translate("create the endpoint service", err)
		}
		if cfg := out.ServiceConfiguration; cfg != nil && live(*cfg) {
			d.log.InfoContext(ctx, "endpoint service created", "key", key, "service", deref(cfg.ServiceId))
			return deref(cfg.ServiceId), nil
		}
	}
	return "", fmt.Errorf("create the endpoint service: AWS answered %d times with one that is already deleted", generations)
}

// ensurePrincipals lets exactly spec's accounts create endpoints. Endpoints that exist keep their connection when their
// account goes: AWS looks at the list only when an endpoint is created.
func (d *Driver) ensurePrincipals(ctx context.Context, spec cloud.ServiceSpec, serviceID string) error {
	have, err := d.principals(ctx, serviceID)
	if err != nil {
		return err
	}
	change := &ec2.ModifyVpcEndpointServicePermissionsInput{ServiceId: aws.String(serviceID)}
	for _, p := range spec.Principals {
		if !slices.Contains(have, p) && !slices.Contains(change.AddAllowedPrincipals, principalARN(d.region, p)) {
			change.AddAllowedPrincipals = append(change.AddAllowedPrincipals, principalARN(d.region, p))
		}
	}
	for _, p := range have {
		if !slices.Contains(spec.Principals, p) {
			arn := p
			if p == "*" || !strings.Contains(p, ":") {
				arn = principalARN(d.region, p)
			}
			change.RemoveAllowedPrincipals = append(change.RemoveAllowedPrincipals, arn)
		}
	}
	if len(change.AddAllowedPrincipals)+len(change.RemoveAllowedPrincipals) == 0 {
		return nil
	}
	if _, err := d.ec2.ModifyVpcEndpointServicePermissions(ctx, change); err != nil {
		return translate("set who may create endpoints", err)
	}
	d.log.InfoContext(ctx, "principals changed", "key", spec.Key,
		"added", change.AddAllowedPrincipals, "removed", change.RemoveAllowedPrincipals)
	return nil
}

// principals returns who may create endpoints, as accounts, sorted.
func (d *Driver) principals(ctx context.Context, serviceID string) ([]string, error) {
	pages := ec2.NewDescribeVpcEndpointServicePermissionsPaginator(d.ec2, &ec2.DescribeVpcEndpointServicePermissionsInput{
		ServiceId: aws.String(serviceID), MaxResults: d.pageSize,
	})
	var out []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("read who may create endpoints", err)
		}
		for _, p := range page.AllowedPrincipals {
			out = append(out, principalAccount(deref(p.Principal)))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// observeTargets returns the targets behind all ports, healthy only when they are on every port, and the groups whose
// PROXY protocol is off.
func (d *Driver) observeTargets(ctx context.Context, key string) (targets []cloud.Target, problems []string, err error) {
	groups, err := d.targetGroups(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		on, err := d.proxyProtocolOn(ctx, deref(g.TargetGroupArn))
		if err != nil {
			return nil, nil, err
		}
		if !on {
			problems = append(problems, "PROXY protocol v2 is off at the target group "+deref(g.TargetGroupName))
		}
		health, err := d.targetHealth(ctx, deref(g.TargetGroupArn))
		if err != nil {
			return nil, nil, err
		}
		for _, h := range health {
			addr, ok := targetAddr(h.Target)
			if !ok || h.TargetHealth == nil || strings.EqualFold(string(h.TargetHealth.State), "draining") {
				continue
			}
			t := cloud.Target{Addr: addr, Healthy: strings.EqualFold(string(h.TargetHealth.State), "healthy")}
			if !t.Healthy {
				t.Reason = strings.TrimSpace(string(h.TargetHealth.Reason) + " " + deref(h.TargetHealth.Description))
				if t.Reason == "" {
					t.Reason = string(h.TargetHealth.State)
				}
			}
			i := slices.IndexFunc(targets, func(o cloud.Target) bool { return o.Addr == addr })
			switch {
			case i < 0:
				targets = append(targets, t)
			case !t.Healthy:
				targets[i] = t
			}
		}
	}
	slices.SortFunc(targets, func(a, b cloud.Target) int { return a.Addr.Compare(b.Addr) })
	return targets, problems, nil
}

// live reports whether a service can be used or still become so.
func live(c types.ServiceConfiguration) bool {
	return !strings.EqualFold(string(c.ServiceState), string(types.ServiceStateDeleting)) &&
		!strings.EqualFold(string(c.ServiceState), string(types.ServiceStateDeleted))
}

func serviceState(s types.ServiceState) link.ServiceState {
	switch strings.ToLower(string(s)) {
	case "available":
		return link.ServiceAvailable
	case "pending":
		return link.ServiceCreating
	case "deleting", "deleted":
		return link.ServiceDeleting
	default:
		return link.ServiceCreateFailed
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
