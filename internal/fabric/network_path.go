package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// place is the instance that a vantage point stands for: what the network needs to know of a client. The zero place is
// on the internet.
type place struct {
	vpcID  string // "" on the internet
	addr   netip.Addr
	groups []string // security groups
}

// outsideAddr is the client's address on the internet: TEST-NET-2 (RFC 5737).
var outsideAddr = netip.MustParseAddr("198.51.100.10")

// placeOf finds the instance behind a vantage point: a member of its VPC's own security group in the VPC's first subnet
// or in the one that is named.
func placeOf(s *State, from vantage) (place, error) {
	if from.outside() {
		return place{addr: outsideAddr}, nil
	}
	vpc := s.VPCs[from.vpcID]
	if vpc == nil {
		return place{}, fmt.Errorf("no VPC %.64q", from.vpcID)
	}
	here := place{vpcID: vpc.ID, addr: vantageAddress(vpc.CIDR)}
	subnets := s.subnetsOf(vpc.ID)
	if from.subnetID != "" {
		i := slices.IndexFunc(subnets, func(n *Subnet) bool { return n.ID == from.subnetID })
		if i < 0 {
			return place{}, fmt.Errorf("no subnet %.64q in %s", from.subnetID, vpc.ID)
		}
		subnets = subnets[i:]
	}
	if len(subnets) > 0 {
		here.addr = vantageAddress(subnets[0].CIDR)
	}
	if group := s.defaultGroup(vpc.ID); group != nil {
		here.groups = []string{group.ID}
	}
	return here, nil
}

// fate is what becomes of a connection attempt.
type fate uint8

const (
	dropped    fate = iota // nobody answers
	carried                // a target is dialled
	refused                // a host answers that it does not listen
	unroutable             // the client's own host knows no way there
	reset                  // it stands, and is reset at once: a load balancer without targets
)

// way is where one connection attempt goes, found out from one State. The zero way leads nowhere.
type way struct {
	fate       fate
	why        string   // for the log, when the fate is not carried
	targets    []string // where to dial on this machine, when carried: one of these
	endpointID string   // of the endpoint that it goes through; "" for none
	proxyV2    bool     // the target is told who comes
	idle       time.Duration
}

// healthOf says whether a target is known to be healthy.
type healthOf func(targetGroupARN string, t Target) bool

// findRoute decides where a connection attempt of here to an address goes.
func findRoute(s *State, here place, to netip.AddrPort, h *hosts, healthy healthOf) way {
	if !to.Addr().Is4() {
		return way{fate: unroutable, why: "the fabric carries IPv4 only"}
	}
	var nic *NetworkInterface
	if here.vpcID != "" {
		nic = s.interfaceAt(here.vpcID, to.Addr())
	}
	if here.vpcID != "" && !groupsAllow(s, here.groups, true, to.Addr(), groupsOf(nic), to.Port()) {
		return way{why: "no egress rule of the client's security group allows it"}
	}
	switch {
	case nic != nil:
		return routeToInterface(s, here, nic, to.Port(), healthy)
	case here.vpcID != "" && s.VPCs[here.vpcID].CIDR.Contains(to.Addr()):
		return way{why: "no interface of the VPC has the address"}
	}
	served, known := h.at(to)
	switch {
	case known && served == "":
		return way{fate: refused, why: "the internet host does not listen on the port"}
	case known:
		return way{fate: carried, targets: []string{served}}
	case here.vpcID == "" && to.Addr().IsPrivate():
		return way{fate: unroutable, why: "private addresses are not routed on the internet"}
	}
	return way{why: "nobody has the address"}
}

// routeToInterface goes on from an interface in the client's VPC: an endpoint's, or a load balancer's node.
func routeToInterface(s *State, here place, nic *NetworkInterface, port uint16, healthy healthOf) way {
	if len(nic.GroupIDs) > 0 && !groupsAllow(s, nic.GroupIDs, false, here.addr, here.groups, port) {
		return way{why: "no ingress rule of the interface's security groups allows it"}
	}
	switch nic.Type {
	case InterfaceLoadBalancer:
		lb := s.LoadBalancers[nic.OwnerID]
		if lb == nil {
			return way{why: "the load balancer is gone"}
		}
		return routeToNode(s, []*LoadBalancer{lb}, nic.ZoneID, port, healthy)
	case InterfaceEndpoint:
		e := s.Endpoints[nic.OwnerID]
		if e == nil || e.State != EndpointAvailable {
			return way{why: "the endpoint is not available"}
		}
		svc := s.Services[e.ServiceID]
		if svc == nil {
			return way{why: "the endpoint service is gone"}
		}
		var lbs []*LoadBalancer
		for _, arn := range svc.LoadBalancerARNs {
			if lb := s.LoadBalancers[arn]; lb != nil {
				lbs = append(lbs, lb)
			}
		}
		r := routeToNode(s, lbs, nic.ZoneID, port, healthy)
		r.endpointID = e.ID
		return r
	}
	return way{why: "nothing answers at the interface"}
}

// routeToNode goes on from the load balancers' nodes in one zone. Of several load balancers the first with a listener
// for the port serves.
func routeToNode(s *State, lbs []*LoadBalancer, zoneID string, port uint16, healthy healthOf) way {
	standing := false
	for _, lb := range lbs {
		if lb.State != "active" || !slices.ContainsFunc(lb.Nodes, func(n Node) bool { return n.ZoneID == zoneID }) {
			continue
		}
		standing = true
		for _, l := range s.listenersOf(lb.ARN) {
			if l.Port == int(port) {
				return routeToTargets(s, lb, l, zoneID, healthy)
			}
		}
	}
	if !standing {
		return way{why: "no active load balancer has a node in zone " + zoneID}
	}
	return way{fate: refused, why: "no listener on the port"}
}

// defaultIdle is how long a network load balancer keeps a silent flow.
const defaultIdle = 350 * time.Second

// routeToTargets chooses among the targets that a node may use: those of its zone and of "all", or every one with
// cross-zone balancing. When none of them is known to be healthy it fails open to all of them.
func routeToTargets(s *State, lb *LoadBalancer, l *Listener, zoneID string, healthy healthOf) way {
	tg := s.TargetGroups[l.TargetGroupARN]
	if tg == nil {
		return way{fate: reset, why: "the listener has no target group"}
	}
	crossZone := lb.Attributes[AttrCrossZone] == "true"
	if own := tg.Attributes[AttrCrossZone]; own == "true" || own == "false" {
		crossZone = own == "true"
	}
	var all, well []string
	for _, t := range tg.Targets {
		if t.Zone != "all" && t.Zone != zoneID && !crossZone {
			continue
		}
		address := t.hostAddress()
		all = append(all, address)
		if healthy(tg.ARN, t) {
			well = append(well, address)
		}
	}
	if len(all) == 0 {
		return way{fate: reset, why: "no target for zone " + zoneID}
	}
	if len(well) == 0 {
		well = all
	}
	well = slices.DeleteFunc(well, func(address string) bool { return address == "" })
	if len(well) == 0 {
		return way{why: "no target is on this machine"}
	}
	r := way{fate: carried, targets: well, proxyV2: tg.Attributes[AttrProxyProtocolV2] == "true", idle: defaultIdle}
	if l.IdleSeconds > 0 {
		r.idle = time.Duration(l.IdleSeconds) * time.Second
	}
	return r
}

// hostAddress is where a target is on this machine: those in 127.0.0.0/8 are. "" for any other: behind it is nothing.
func (t Target) hostAddress() string {
	addr, err := netip.ParseAddr(t.ID)
	if err != nil || !addr.Is4() || !addr.IsLoopback() || t.Port < 1 || t.Port > 65535 {
		return ""
	}
	return netip.AddrPortFrom(addr, uint16(t.Port)).String()
}

// groupsOf returns the security groups of an interface; none of nil.
func groupsOf(nic *NetworkInterface) []string {
	if nic == nil {
		return nil
	}
	return nic.GroupIDs
}

// groupsAllow says whether any rule of any of the groups allows TCP to the port: outgoing to the peer or incoming from
// it. The peer is matched by its address and by the groups that it is a member of.
func groupsAllow(s *State, groups []string, egress bool, peer netip.Addr, peerGroups []string, port uint16) bool {
	for _, id := range groups {
		group := s.SecurityGroups[id]
		if group == nil {
			continue
		}
		for _, rule := range group.Rules {
			if rule.Egress == egress && rule.allowsTCP(port) && rule.matchesPeer(peer, peerGroups) {
				return true
			}
		}
	}
	return false
}

func (r Rule) allowsTCP(port uint16) bool {
	switch strings.ToLower(r.Protocol) {
	case "-1":
		return true
	case "tcp", "6":
		return r.FromPort == -1 || r.FromPort <= int(port) && int(port) <= r.ToPort
	}
	return false
}

func (r Rule) matchesPeer(peer netip.Addr, peerGroups []string) bool {
	if r.GroupID != "" {
		return slices.Contains(peerGroups, r.GroupID)
	}
	return r.CIDR.IsValid() && r.CIDR.Contains(peer)
}
