package connect

import (
	"context"
	"net/netip"
	"slices"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/dnsplan"
	"github.com/postern/postern/internal/link"
)

// Port is the port of the private endpoint that customers use and that a path is verified on.
const Port = 443

// Plan is what Prepare found on both sides. It holds values only: reading it, or printing it, touches nothing.
type Plan struct {
	Request      Request // with every default filled in
	AccountID    string
	ClusterName  string
	PrivateName  string
	PublicName   string
	CustomNames  []string                 // of the customer's own that lead to the cluster too
	Proxy        api.ReverseProxySettings // the cluster's; zero when it has none
	ServiceName  string                   // empty while the vendor's service is not there yet
	ServiceState string                   // CREATING, AVAILABLE, …; empty: not asked for yet
	ServiceZones []string
	VPCZones     []string // ids of the zones of the VPC's subnets
	DNS          dnsplan.Plan
	Problems     []Problem // worst first

	apiURL      string
	endpointURL string // of AWS; empty: AWS itself
	vpc         vpcFacts
	trusted     bool
	endpoint    *endpointFacts
	connection  *api.Connection
	zone        *zoneFacts

	privateDNS         string // the service's private DNS name; only read for DNSPrivate
	privateDNSVerified bool
}

// Blocking returns the problems that keep Run from creating anything.
func (p *Plan) Blocking() []Problem {
	return slices.DeleteFunc(slices.Clone(p.Problems), func(x Problem) bool { return x.Warning })
}

// Prepare reads both sides and changes neither. A Plan with problems is no error; an error says that something could
// not be read, or that the cluster does not exist.
func Prepare(ctx context.Context, cfg Config, req Request) (*Plan, error) {
	p, _, err := prepare(ctx, cfg, req)
	return p, err
}

func prepare(ctx context.Context, cfg Config, req Request) (*Plan, *account, error) {
	p := &Plan{apiURL: cfg.API.BaseURL(), endpointURL: cfg.AWS.EndpointURL}
	if err := p.readCluster(ctx, cfg, req); err != nil {
		return nil, nil, err
	}
	acc, err := cfg.AWS.open(ctx, p.Request.Region)
	if err != nil {
		return nil, nil, err
	}
	if p.AccountID, err = acc.identity(ctx); err != nil {
		return nil, nil, err
	}
	if err := p.readVendor(ctx, cfg); err != nil {
		return nil, nil, err
	}
	if err := p.readNetwork(ctx, acc); err != nil {
		return nil, nil, err
	}
	if err := p.readConnection(ctx, cfg); err != nil {
		return nil, nil, err
	}
	if err := p.planDNS(ctx, acc); err != nil {
		return nil, nil, err
	}
	p.findProblems()
	return p, acc, nil
}

// readCluster fills in the region, the names, and the defaults that need nothing else.
func (p *Plan) readCluster(ctx context.Context, cfg Config, req Request) error {
	if _, err := link.ParseID("cluster_id", req.ClusterID); err != nil {
		return err
	}
	if req.VPCID == "" {
		return &link.Error{
			Kind: link.Invalid, Reason: "NO_VPC", Field: "vpc_id", Message: "no VPC given",
			Hint: "give the VPC from which the cluster shall be reached; aws ec2 describe-vpcs lists them",
		}
	}
	switch req.DNS {
	case "":
		req.DNS = DNSZone
	case DNSZone, DNSPrivate, DNSNone:
	default:
		return &link.Error{
			Kind: link.Invalid, Reason: "UNKNOWN_DNS_MODE", Field: "dns",
			Message: "unknown DNS mode: " + link.Quote(string(req.DNS)), Hint: "one of zone, private, none",
		}
	}
	cluster, err := cfg.API.Cluster(ctx, req.ClusterID)
	if err != nil {
		return apiError("read the cluster", err)
	}
	var names []string
	for _, r := range cluster.Regions {
		names = append(names, r.Name)
		if r.Name == req.Region || req.Region == "" && len(cluster.Regions) == 1 {
			req.Region = r.Name
			p.PrivateName, p.PublicName = plainName(r.PrivateEndpointDNS), plainName(r.SQLDNS)
		}
	}
	if p.PrivateName == "" {
		return &link.Error{
			Kind: link.Invalid, Reason: "WHICH_REGION", Field: "region",
			Message: "the cluster is not in one region only, or not in the one given", Hint: "one of: " + list(names),
		}
	}
	p.Request, p.ClusterName, p.CustomNames = req, cluster.Name, cluster.CustomNames
	return nil
}

// readVendor reads the service, the reverse proxy and whether the account is trusted.
func (p *Plan) readVendor(ctx context.Context, cfg Config) error {
	services, err := cfg.API.Services(ctx, p.Request.ClusterID)
	if err != nil {
		return apiError("read the cluster's service", err)
	}
	for _, s := range services {
		if s.RegionName == p.Request.Region {
			p.ServiceName, p.ServiceState, p.ServiceZones = s.Name, s.Status, s.AvailabilityZoneIDs
		}
	}
	proxy, err := cfg.API.ReverseProxy(ctx, p.Request.ClusterID)
	if err != nil && !api.IsNotFound(err) {
		return apiError("read the cluster's reverse proxy", err)
	}
	p.Proxy = proxy.ReverseProxySettings
	owners, err := cfg.API.TrustedOwners(ctx, p.Request.ClusterID)
	if err != nil {
		return apiError("read the cluster's trusted owners", err)
	}
	p.trusted = slices.ContainsFunc(owners, func(o api.TrustedOwner) bool {
		return o.Type == string(link.AWSAccountID) && (o.ExternalOwnerID == p.AccountID || o.ExternalOwnerID == "*")
	})
	return nil
}

// EndpointAddrs returns the addresses of the interfaces of the endpoint that p found, one per zone; none while it found none.
func EndpointAddrs(ctx context.Context, cfg Config, p *Plan) ([]netip.Addr, error) {
	if p.endpoint == nil {
		return nil, nil
	}
	acc, err := cfg.AWS.open(ctx, p.Request.Region)
	if err != nil {
		return nil, err
	}
	return acc.interfaceAddrs(ctx, p.endpoint.interfaces)
}

// readNetwork reads the VPC and the endpoint, and chooses what the request left open.
func (p *Plan) readNetwork(ctx context.Context, acc *account) (err error) {
	if p.vpc, err = acc.vpc(ctx, p.Request.VPCID); err != nil {
		return err
	}
	p.VPCZones = p.vpc.zones()
	if p.ServiceName != "" {
		p.endpoint, err = acc.findEndpoint(ctx, p.Request.VPCID, p.ServiceName, p.Request.ClusterID)
		if err != nil {
			return err
		}
		if p.Request.DNS == DNSPrivate {
			if p.privateDNS, p.privateDNSVerified, err = acc.servicePrivateDNS(ctx, p.ServiceName); err != nil {
				return err
			}
		}
	}
	if len(p.Request.SubnetIDs) == 0 {
		if p.endpoint != nil && len(p.endpoint.subnets) > 0 {
			p.Request.SubnetIDs = slices.Sorted(slices.Values(p.endpoint.subnets))
		} else {
			p.Request.SubnetIDs = p.vpc.chooseSubnets(p.ServiceZones)
		}
	}
	if len(p.Request.SecurityGroupIDs) == 0 {
		if p.endpoint != nil && len(p.endpoint.groups) > 0 {
			p.Request.SecurityGroupIDs = slices.Sorted(slices.Values(p.endpoint.groups))
		} else if g := p.vpc.defaultGroup(); g != "" {
			p.Request.SecurityGroupIDs = []string{g}
		}
	}
	return nil
}

func (p *Plan) readConnection(ctx context.Context, cfg Config) error {
	if p.endpoint == nil {
		return nil
	}
	conn, err := cfg.API.Connection(ctx, p.Request.ClusterID, string(p.endpoint.id))
	if api.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return apiError("read the connection", err)
	}
	p.connection = &conn
	return nil
}

// planDNS works out the records and reads the zone that may hold them already.
func (p *Plan) planDNS(ctx context.Context, acc *account) (err error) {
	in := dnsplan.Input{
		Case: dnsplan.ClusterZone, Names: []string{p.PrivateName}, VPCID: p.Request.VPCID, Region: p.Request.Region,
		Repositories: p.Proxy.RepositoryNames(p.PrivateName),
	}
	switch p.Request.DNS {
	case DNSNone:
		return nil
	case DNSPrivate:
		in.Case = dnsplan.PrivateDNS
	}
	if p.endpoint != nil {
		in.Target = p.endpoint.target
	}
	if p.DNS, err = dnsplan.Make(in); err != nil {
		return err
	}
	if p.Request.DNS == DNSZone {
		p.zone, err = acc.findZone(ctx, p.PrivateName, p.Request.VPCID)
	}
	return err
}

// registered reports whether the cluster holds the endpoint's registration and wants it.
func (p *Plan) registered() bool {
	if p.connection == nil {
		return false
	}
	switch p.connection.Status {
	case api.StatusPending, api.StatusPendingAcceptance, api.StatusAvailable:
		return true
	}
	return false
}

// accepted reports whether both sides say available.
func (p *Plan) accepted() bool {
	return p.registered() && p.connection.Status == api.StatusAvailable && p.endpoint.state == link.Available
}

// recordsThere reports whether the zone holds every record already.
func (p *Plan) recordsThere() bool {
	return p.zone != nil && p.endpoint != nil && p.endpoint.target.Known() && len(p.DNS.Zones) == 1 &&
		len(p.zone.missing(p.DNS.Zones[0], p.DNS.Target)) == 0
}
