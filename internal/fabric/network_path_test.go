package fabric

import (
	"net/netip"
	"strings"
	"testing"
)

// What becomes of a connection attempt from the customer's VPC to the endpoint's first interface, port 443, when the
// world differs from one in which it is carried.
func TestFindRoute(t *testing.T) {
	group := func(s *State, w *world) *SecurityGroup { return s.SecurityGroups[s.Endpoints[w.endpoint].GroupIDs[0]] }
	own := func(s *State, w *world) *SecurityGroup { return s.defaultGroup(w.customer.VPCID) }
	only := func(g *SecurityGroup, egress bool, rules ...Rule) {
		kept := rules
		for _, r := range g.Rules {
			if r.Egress != egress {
				kept = append(kept, r)
			}
		}
		g.Rules = kept
	}
	cidr := netip.MustParsePrefix
	for _, c := range []struct {
		name   string
		change func(s *State, w *world)
		want   fate
		why    string
	}{
		{"as it stands", func(*State, *world) {}, carried, ""},

		{"client may send nothing", func(s *State, w *world) { only(own(s, w), true) }, dropped, "egress"},
		{"client may send elsewhere", func(s *State, w *world) {
			only(own(s, w), true, Rule{Egress: true, Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: cidr("192.0.2.0/24")})
		}, dropped, "egress"},
		{"client may send to another port", func(s *State, w *world) {
			only(own(s, w), true, Rule{Egress: true, Protocol: "tcp", FromPort: 444, ToPort: 500, CIDR: everywhere})
		}, dropped, "egress"},
		{"client may send to the endpoint's group", func(s *State, w *world) {
			only(own(s, w), true, Rule{Egress: true, Protocol: "tcp", FromPort: 1, ToPort: 443, GroupID: group(s, w).ID})
		}, carried, ""},
		{"client may send to another group", func(s *State, w *world) {
			only(own(s, w), true, Rule{Egress: true, Protocol: "-1", FromPort: -1, ToPort: -1, GroupID: own(s, w).ID})
		}, dropped, "egress"},

		{"endpoint takes nothing", func(s *State, w *world) { only(group(s, w), false) }, dropped, "ingress"},
		{"endpoint takes UDP", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "udp", FromPort: 443, ToPort: 443, CIDR: everywhere})
		}, dropped, "ingress"},
		{"endpoint takes another port", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "tcp", FromPort: 80, ToPort: 442, CIDR: everywhere})
		}, dropped, "ingress"},
		{"endpoint takes others", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: cidr("192.0.2.0/24")})
		}, dropped, "ingress"},
		{"endpoint takes the client's very address", func(s *State, w *world) {
			only(group(s, w), false, Rule{
				Protocol: "tcp", FromPort: 443, ToPort: 443,
				CIDR: netip.PrefixFrom(vantageAddress(s.Subnets[w.customer.SubnetIDs[0]].CIDR), 32),
			})
		}, carried, ""},
		{"endpoint takes members of the client's group", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "6", FromPort: 0, ToPort: 65535, GroupID: own(s, w).ID})
		}, carried, ""},
		{"endpoint takes members of its own group", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "tcp", FromPort: 443, ToPort: 443, GroupID: group(s, w).ID})
		}, dropped, "ingress"},
		{"endpoint takes everything", func(s *State, w *world) {
			only(group(s, w), false, Rule{Protocol: "-1", FromPort: -1, ToPort: -1, CIDR: everywhere})
		}, carried, ""},
		{"endpoint in the default group", func(s *State, w *world) {
			s.NetworkInterfaces["eni-ep0"].GroupIDs = []string{own(s, w).ID}
		}, carried, ""},
		{"one of two groups lets in", func(s *State, w *world) {
			empty := s.newGroup(s.VPCs[w.customer.VPCID], "empty", "")
			s.NetworkInterfaces["eni-ep0"].GroupIDs = []string{empty.ID, group(s, w).ID}
		}, carried, ""},

		{"endpoint waits for acceptance", func(s *State, w *world) { s.Endpoints[w.endpoint].State = EndpointPendingAcceptance }, dropped, "not available"},
		{"endpoint is being set up", func(s *State, w *world) { s.Endpoints[w.endpoint].State = EndpointPending }, dropped, "not available"},
		{"endpoint was rejected", func(s *State, w *world) { s.Endpoints[w.endpoint].State = EndpointRejected }, dropped, "not available"},
		{"endpoint is being deleted", func(s *State, w *world) { s.Endpoints[w.endpoint].State = EndpointDeleting }, dropped, "not available"},
		{"interface is gone", func(s *State, w *world) { delete(s.NetworkInterfaces, "eni-ep0") }, dropped, "no interface"},
		{"service is gone", func(s *State, w *world) { delete(s.Services, w.service) }, dropped, "service is gone"},

		{"load balancer is being set up", func(s *State, w *world) { s.LoadBalancers[w.lb].State = "provisioning" }, dropped, "no active load balancer"},
		{"load balancer has no node in the zone", func(s *State, w *world) {
			s.LoadBalancers[w.lb].Nodes = s.LoadBalancers[w.lb].Nodes[1:]
		}, dropped, "no active load balancer"},
		{"no listener", func(s *State, w *world) { delete(s.Listeners, w.listener) }, refused, "no listener"},
		{"listener on another port", func(s *State, w *world) { s.Listeners[w.listener].Port = 444 }, refused, "no listener"},
		{"no target", func(s *State, w *world) { s.TargetGroups[w.tg].Targets = nil }, reset, "no target"},
		{"target in another zone", func(s *State, w *world) {
			s.TargetGroups[w.tg].Targets = []Target{{ID: "127.0.0.1", Port: 1, Zone: w.zones[1]}}
		}, reset, "no target"},
		{"target in another zone, cross-zone on", func(s *State, w *world) {
			s.TargetGroups[w.tg].Targets = []Target{{ID: "127.0.0.1", Port: 1, Zone: w.zones[1]}}
			s.LoadBalancers[w.lb].Attributes[AttrCrossZone] = "true"
		}, carried, ""},
		{"target in another zone, cross-zone off for the group", func(s *State, w *world) {
			s.TargetGroups[w.tg].Targets = []Target{{ID: "127.0.0.1", Port: 1, Zone: w.zones[1]}}
			s.LoadBalancers[w.lb].Attributes[AttrCrossZone] = "true"
			s.TargetGroups[w.tg].Attributes[AttrCrossZone] = "false"
		}, reset, "no target"},
		{"target in the zone", func(s *State, w *world) {
			s.TargetGroups[w.tg].Targets = []Target{{ID: "127.0.0.1", Port: 1, Zone: w.zones[0]}}
		}, carried, ""},
		{"target is no machine", func(s *State, w *world) {
			s.TargetGroups[w.tg].Targets = []Target{{ID: "10.0.0.77", Port: 1, Zone: "all"}, {ID: "i-0123", Port: 1, Zone: "all"}}
		}, dropped, "no target is on this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil).build(Target{ID: "127.0.0.1", Port: 1, Zone: "all"})
			to := netip.AddrPortFrom(w.interfaceAddr(0), 443)
			w.change(func(s *State) { c.change(s, w) })
			s := w.f.snapshot()
			here, err := placeOf(s, vantage{vpcID: w.customer.VPCID})
			if err != nil {
				t.Fatal(err)
			}
			r := findRoute(s, here, to, nil, func(string, Target) bool { return false })
			if r.fate != c.want || !strings.Contains(r.why, c.why) {
				t.Errorf("fate %d, %q; want %d, %q", r.fate, r.why, c.want, c.why)
			}
		})
	}
}

// Where a connection attempt from a VPC or from outside ends that does not go to an endpoint.
func TestFindRouteElsewhere(t *testing.T) {
	h, err := newHosts([]InternetHost{{Name: "www.test", Ports: map[uint16]string{443: "127.0.0.1:9"}}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil).build(Target{ID: "127.0.0.1", Port: 1, Zone: "all"})
	s := w.f.snapshot()
	node := s.NetworkInterfaces["eni-lb0"].Address
	endpoint := w.interfaceAddr(0)
	for _, c := range []struct {
		from, to string
		want     fate
	}{
		{Internet, "203.0.113.1:443", carried},
		{Internet, "203.0.113.1:80", refused},
		{Internet, "203.0.113.2:443", dropped},
		{Internet, endpoint.String() + ":443", unroutable},
		{Internet, "[2001:db8::1]:443", unroutable},
		{Internet, "192.0.2.1:443", dropped},
		{Internet, "127.0.0.1:443", dropped}, // this machine's own services are not the world's
		{w.customer.VPCID, "203.0.113.1:443", carried},
		{w.customer.VPCID, "203.0.113.1:80", refused},
		{w.customer.VPCID, node.String() + ":443", dropped}, // another VPC's address
		{w.customer.VPCID, "127.0.0.1:443", dropped},
		{w.vendor.VPCID, node.String() + ":443", carried},
		{w.vendor.VPCID, endpoint.String() + ":443", dropped},
		{w.vendor.VPCID, vantageAddress(s.Subnets[w.vendor.SubnetIDs[0]].CIDR).String() + ":22", dropped},
	} {
		from, _ := parseVantage(c.from)
		here, err := placeOf(s, from)
		if err != nil {
			t.Fatal(err)
		}
		r := findRoute(s, here, netip.MustParseAddrPort(c.to), h, func(string, Target) bool { return true })
		if r.fate != c.want {
			t.Errorf("%s to %s: fate %d (%s), want %d", c.from, c.to, r.fate, r.why, c.want)
		}
	}
}

// Targets are chosen by zone and health: those of the node's zone and of "all" that are healthy, or all of those when
// none is.
func TestRouteChoosesTargets(t *testing.T) {
	w := newWorld(t, nil).build()
	w.change(func(s *State) {
		s.TargetGroups[w.tg].Targets = []Target{
			{ID: "127.0.0.1", Port: 1, Zone: "all"},
			{ID: "127.0.0.2", Port: 1, Zone: w.zones[0]},
			{ID: "127.0.0.3", Port: 1, Zone: w.zones[1]},
		}
	})
	for _, c := range []struct {
		healthy string
		node    int
		want    string
	}{
		{"127.0.0.1 127.0.0.2 127.0.0.3", 0, "127.0.0.1:1 127.0.0.2:1"},
		{"127.0.0.1 127.0.0.2 127.0.0.3", 1, "127.0.0.1:1 127.0.0.3:1"},
		{"127.0.0.2 127.0.0.3", 0, "127.0.0.2:1"},
		{"127.0.0.3", 0, "127.0.0.1:1 127.0.0.2:1"},
		{"", 1, "127.0.0.1:1 127.0.0.3:1"},
	} {
		s := w.f.snapshot()
		here, _ := placeOf(s, vantage{vpcID: w.customer.VPCID})
		r := findRoute(s, here, netip.AddrPortFrom(w.interfaceAddr(c.node), 443), nil, func(_ string, target Target) bool {
			return strings.Contains(c.healthy, target.ID)
		})
		if got := strings.Join(r.targets, " "); got != c.want || !r.proxyV2 || r.endpointID != w.endpoint {
			t.Errorf("healthy %q, node %d: %q %+v, want %q", c.healthy, c.node, got, r, c.want)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	w := newWorld(t, nil)
	s := w.f.snapshot()
	second := s.Subnets[w.customer.SubnetIDs[1]]
	here, err := placeOf(s, vantage{w.customer.VPCID, second.ID})
	if err != nil || !second.CIDR.Contains(here.addr) || here.groups[0] != w.customer.SecurityGroupID {
		t.Errorf("in the second subnet: %+v, %v", here, err)
	}
	if _, err := placeOf(s, vantage{w.vendor.VPCID, second.ID}); err == nil {
		t.Error("a subnet of another VPC was taken")
	}
	if _, err := placeOf(s, vantage{vpcID: "vpc-unknown"}); err == nil {
		t.Error("an unknown VPC was taken")
	}
}
