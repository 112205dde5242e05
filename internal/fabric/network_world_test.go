package fabric

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// world is a fabric with a vendor that publishes a service in two zones and a customer that has an endpoint to it in
// the same zones. It is built by transitions of the state, without the API.
type world struct {
	t                testing.TB
	f                *Fabric
	vendor, customer Network
	lb, tg, listener string // ARNs
	service          string
	endpoint         string
	zones            [2]string // ids
}

const (
	vendorAccount   = "111111111111"
	customerAccount = "222222222222"
)

// newWorld starts one. configure may change the fabric's configuration first.
func newWorld(t testing.TB, configure func(*Config)) *world {
	t.Helper()
	cfg := Config{
		Accounts: []Account{
			{ID: vendorAccount, AccessKeyID: "AKIAVENDOR", SecretAccessKey: "v"},
			{ID: customerAccount, AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "c"},
		},
		Settle: time.Millisecond,
	}
	if configure != nil {
		configure(&cfg)
	}
	f, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{
		t: t, f: f, lb: "arn:lb", tg: "arn:tg", listener: "arn:listener",
		service: "vpce-svc-0123456789abcdef0", endpoint: "vpce-0fedcba9876543210",
	}
	if w.vendor, err = f.DefaultNetwork(vendorAccount, "us-east-1"); err != nil {
		t.Fatal(err)
	}
	if w.customer, err = f.DefaultNetwork(customerAccount, "us-east-1"); err != nil {
		t.Fatal(err)
	}
	return w
}

// change runs one transition.
func (w *world) change(do func(s *State)) {
	w.t.Helper()
	if err := w.f.update(func(s *State, _ time.Time) error { do(s); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// build makes load balancer, service and an available endpoint with the targets given.
func (w *world) build(targets ...Target) *world {
	w.t.Helper()
	w.change(func(s *State) {
		w.zones = [2]string{s.Subnets[w.vendor.SubnetIDs[0]].ZoneID, s.Subnets[w.vendor.SubnetIDs[1]].ZoneID}
		lb := &LoadBalancer{
			ARN: w.lb, Name: "lb", AccountID: vendorAccount, Region: "us-east-1", VPCID: w.vendor.VPCID, Scheme: "internal",
			DNSName: "lb-0123456789abcdef.elb.us-east-1.amazonaws.com", State: "active", Attributes: map[string]string{AttrCrossZone: "false"},
		}
		for i := range w.zones {
			nic := w.addInterface(s, w.vendor.SubnetIDs[i], "eni-lb"+strconv.Itoa(i), InterfaceLoadBalancer, w.lb, nil)
			lb.Nodes = append(lb.Nodes, Node{ZoneID: nic.ZoneID, SubnetID: nic.SubnetID, InterfaceID: nic.ID})
		}
		s.LoadBalancers[w.lb] = lb
		s.TargetGroups[w.tg] = &TargetGroup{
			ARN: w.tg, Name: "tg", AccountID: vendorAccount, Region: "us-east-1", VPCID: w.vendor.VPCID, Protocol: "TCP", Port: 443, TargetType: "ip",
			HealthCheck: HealthCheck{Enabled: true, Protocol: "TCP", Port: "traffic-port", IntervalSeconds: 5, TimeoutSeconds: 10, HealthyThreshold: 2, UnhealthyThreshold: 2},
			Attributes:  map[string]string{AttrProxyProtocolV2: "true"},
			Targets:     targets,
		}
		s.Listeners[w.listener] = &Listener{
			ARN: w.listener, AccountID: vendorAccount, Region: "us-east-1", LoadBalancerARN: w.lb, Protocol: "TCP", Port: 443, TargetGroupARN: w.tg, IdleSeconds: 350,
		}
		s.Services[w.service] = &EndpointService{
			ID: w.service, Name: "com.amazonaws.vpce.us-east-1." + w.service, AccountID: vendorAccount, Region: "us-east-1",
			AcceptanceRequired: true, LoadBalancerARNs: []string{w.lb},
		}
		group := s.newGroup(s.VPCs[w.customer.VPCID], "endpoint", "for the endpoint")
		group.Rules = append(group.Rules, Rule{ID: "sgr-in", Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: s.VPCs[w.customer.VPCID].CIDR})
		e := &Endpoint{
			ID: w.endpoint, AccountID: customerAccount, Region: "us-east-1", VPCID: w.customer.VPCID, ServiceID: w.service,
			Service: s.Services[w.service].Name, State: EndpointAvailable, GroupIDs: []string{group.ID}, Label: "abcd1234",
		}
		for i, id := range w.zones {
			for _, subnet := range w.customer.SubnetIDs {
				if s.Subnets[subnet].ZoneID == id {
					nic := w.addInterface(s, subnet, "eni-ep"+strconv.Itoa(i), InterfaceEndpoint, e.ID, e.GroupIDs)
					e.SubnetIDs, e.InterfaceIDs = append(e.SubnetIDs, subnet), append(e.InterfaceIDs, nic.ID)
				}
			}
		}
		s.Endpoints[e.ID] = e
	})
	return w
}

func (w *world) addInterface(s *State, subnetID, id string, typ InterfaceType, owner string, groups []string) *NetworkInterface {
	subnet := s.Subnets[subnetID]
	addr, ok := s.freeAddress(subnet)
	if !ok {
		w.t.Fatal("no free address")
	}
	nic := &NetworkInterface{
		ID: id, AccountID: subnet.AccountID, Region: subnet.Region, VPCID: subnet.VPCID, SubnetID: subnet.ID, ZoneID: subnet.ZoneID,
		Address: addr, Type: typ, OwnerID: owner, GroupIDs: groups,
	}
	s.NetworkInterfaces[id] = nic
	return nic
}

// name is the endpoint's regional name.
func (w *world) name() string {
	s := w.f.snapshot()
	return s.Endpoints[w.endpoint].dnsEntries(s)[0].Name
}

// interfaceAddr is the address of the endpoint's interface number i.
func (w *world) interfaceAddr(i int) netip.Addr {
	return w.f.snapshot().NetworkInterfaces["eni-ep"+strconv.Itoa(i)].Address
}

// health is how a target looks to the load balancer.
func (w *world) health(t Target) TargetHealth {
	return w.f.network.targetHealth(w.f.snapshot(), w.tg, t)
}

// dial dials from the customer's VPC within so long.
func (w *world) dial(within time.Duration, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	return w.f.Dial(ctx, w.customer.VPCID, "tcp", address)
}

// await polls until done holds, and fails the test after a minute.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not: %s", what)
		}
	}
}

// startTarget listens on loopback and serves each connection that carries a client with handle; health checks (LOCAL) are
// answered by closing. It returns the target that it is.
func startTarget(t testing.TB, handle func(h *proxyproto.Header, c *net.TCPConn, r io.Reader)) Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				h, err := proxyproto.Read(r)
				if err != nil || h.Command.IsLocal() {
					return
				}
				handle(h, c.(*net.TCPConn), r)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return targetOf(ln.Addr())
}

// targetOf is the target, for every zone, that a listener is.
func targetOf(addr net.Addr) Target {
	a := addr.(*net.TCPAddr)
	return Target{ID: a.IP.String(), Port: a.Port, Zone: "all"}
}

// echo sends everything back and ends when the client has.
func echo(_ *proxyproto.Header, c *net.TCPConn, r io.Reader) {
	_, _ = io.Copy(c, r)
}
