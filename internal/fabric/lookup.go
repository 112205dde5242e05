package fabric

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// inOrder walks a table of the state by key, so that everything derived from it is the same in every run.
func inOrder[V any](table map[string]V) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			if !yield(table[key]) {
				return
			}
		}
	}
}

// subnetsOf lists the subnets of a VPC by their first address: the first is where vantage points stand.
func (s *State) subnetsOf(vpcID string) []*Subnet {
	var subnets []*Subnet
	for subnet := range inOrder(s.Subnets) {
		if subnet.VPCID == vpcID {
			subnets = append(subnets, subnet)
		}
	}
	slices.SortFunc(subnets, func(a, b *Subnet) int { return a.CIDR.Addr().Compare(b.CIDR.Addr()) })
	return subnets
}

// defaultGroup is the VPC's own security group; nil for an unknown VPC.
func (s *State) defaultGroup(vpcID string) *SecurityGroup {
	for group := range inOrder(s.SecurityGroups) {
		if group.VPCID == vpcID && group.Name == "default" {
			return group
		}
	}
	return nil
}

// interfaceAt is the network interface with that address in the VPC; nil when there is none.
func (s *State) interfaceAt(vpcID string, address netip.Addr) *NetworkInterface {
	for _, nic := range s.NetworkInterfaces {
		if nic.VPCID == vpcID && nic.Address == address {
			return nic
		}
	}
	return nil
}

// endpointsIn lists the endpoints of a VPC, those that are being deleted included and deleted ones not.
func (s *State) endpointsIn(vpcID string) []*Endpoint {
	var endpoints []*Endpoint
	for endpoint := range inOrder(s.Endpoints) {
		if endpoint.VPCID == vpcID && endpoint.State != EndpointDeleted {
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints
}

// privateZonesOf lists the private zones that answer in a VPC, the most specific name first.
func (s *State) privateZonesOf(vpcID string) []*HostedZone {
	var zones []*HostedZone
	for zone := range inOrder(s.HostedZones) {
		if zone.Private && slices.ContainsFunc(zone.VPCs, func(v ZoneVPC) bool { return v.ID == vpcID }) {
			zones = append(zones, zone)
		}
	}
	slices.SortStableFunc(zones, func(a, b *HostedZone) int {
		return cmp.Compare(strings.Count(b.Name, "."), strings.Count(a.Name, "."))
	})
	return zones
}

// listenersOf lists a load balancer's listeners by port.
func (s *State) listenersOf(loadBalancerARN string) []*Listener {
	var listeners []*Listener
	for listener := range inOrder(s.Listeners) {
		if listener.LoadBalancerARN == loadBalancerARN {
			listeners = append(listeners, listener)
		}
	}
	slices.SortStableFunc(listeners, func(a, b *Listener) int { return cmp.Compare(a.Port, b.Port) })
	return listeners
}

// addresses lists the endpoint's interface addresses.
func (e *Endpoint) addresses(s *State) []netip.Addr {
	var addresses []netip.Addr
	for _, id := range e.InterfaceIDs {
		if nic := s.NetworkInterfaces[id]; nic != nil {
			addresses = append(addresses, nic.Address)
		}
	}
	return addresses
}

// vantageAddress is the address of the instance that a vantage point in a subnet stands for. Allocation keeps it free.
func vantageAddress(subnet netip.Prefix) netip.Addr {
	return nth(subnet.Masked().Addr(), vantageOffset)
}

// Offsets into a subnet. EC2 keeps the first four addresses and the last for itself; the fabric adds the vantage point.
const (
	vantageOffset = 4
	firstOffset   = 10
)

// nth is the IPv4 address n after address.
func nth(address netip.Addr, n uint32) netip.Addr {
	var bytes [4]byte
	four := address.As4()
	binary.BigEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(four[:])+n)
	return netip.AddrFrom4(bytes)
}

// freeAddress is the lowest address of the subnet that no interface has; false when the subnet is full.
func (s *State) freeAddress(subnet *Subnet) (netip.Addr, bool) {
	taken := map[netip.Addr]bool{}
	for _, nic := range s.NetworkInterfaces {
		if nic.SubnetID == subnet.ID {
			taken[nic.Address] = true
		}
	}
	size := uint32(1) << (32 - subnet.CIDR.Bits())
	for n := uint32(firstOffset); n+1 < size; n++ {
		if address := nth(subnet.CIDR.Masked().Addr(), n); !taken[address] {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// makeTables replaces the tables that are missing, as they are in a state that has just been made.
func (s *State) makeTables() {
	makeTable(&s.Accounts)
	makeTable(&s.VPCs)
	makeTable(&s.Subnets)
	makeTable(&s.SecurityGroups)
	makeTable(&s.NetworkInterfaces)
	makeTable(&s.LoadBalancers)
	makeTable(&s.TargetGroups)
	makeTable(&s.Listeners)
	makeTable(&s.Services)
	makeTable(&s.Endpoints)
	makeTable(&s.HostedZones)
	makeTable(&s.Changes)
	makeTable(&s.Tokens)
	makeTable(&s.Tags)
}

func makeTable[V any](table *map[string]V) {
	if *table == nil {
		*table = map[string]V{}
	}
}
