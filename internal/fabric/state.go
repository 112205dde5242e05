package fabric

import (
	"net/netip"
	"time"
)

// State is everything the fabric remembers, across all accounts and regions. It is marshalled whole to JSON. A State
// that has been published is never written to again: transitions work on a copy, so a reader may keep the one it got.
// Times are whole microseconds in UTC. Maps are keyed by the id of what they hold.
type State struct {
	Version int    `json:"version"`
	Seed    uint64 `json:"seed"`  // of the stream that ids are drawn from
	Drawn   uint64 `json:"drawn"` // values taken from that stream so far

	Accounts          map[string]*accountRecord    `json:"accounts"`
	VPCs              map[string]*VPC              `json:"vpcs"`
	Subnets           map[string]*Subnet           `json:"subnets"`
	SecurityGroups    map[string]*SecurityGroup    `json:"security_groups"`
	NetworkInterfaces map[string]*NetworkInterface `json:"network_interfaces"`
	LoadBalancers     map[string]*LoadBalancer     `json:"load_balancers"` // by ARN
	TargetGroups      map[string]*TargetGroup      `json:"target_groups"`  // by ARN
	Listeners         map[string]*Listener         `json:"listeners"`      // by ARN
	Services          map[string]*EndpointService  `json:"services"`
	Endpoints         map[string]*Endpoint         `json:"endpoints"`
	HostedZones       map[string]*HostedZone       `json:"hosted_zones"` // by id without "/hostedzone/"
	Changes           map[string]*Change           `json:"changes"`      // by id without "/change/"
	Tokens            map[string]*Token            `json:"tokens"`       // by account, region, action and client token
	Tags              map[string]map[string]string `json:"tags"`         // by the id or ARN of the tagged resource

	settle time.Duration // how long a transition that takes time takes; Config.Settle, not state
	due    time.Time     // when advance next has something to do; zero: never
}

// accountRecord is what the fabric remembers of an account. Its keys are configuration, not state.
type accountRecord struct {
	ID   string `json:"id"` // 12 digits
	Name string `json:"name,omitempty"`
	// Zones holds, for each region, zone ids in the order of this account's zone names: Zones["us-east-1"][0] is the id
	// of us-east-1a. The order differs between accounts, as it does at AWS; only ids compare across accounts.
	Zones map[string][]string `json:"zones"`
}

// VPC is a virtual network.
type VPC struct {
	ID           string       `json:"id"`
	AccountID    string       `json:"account_id"`
	Region       string       `json:"region"`
	CIDR         netip.Prefix `json:"cidr"`
	Default      bool         `json:"default,omitempty"`
	DNSSupport   bool         `json:"dns_support"`
	DNSHostnames bool         `json:"dns_hostnames"`
	UsageMetrics bool         `json:"usage_metrics,omitempty"`
}

// Subnet is a part of a VPC in one zone.
type Subnet struct {
	ID        string       `json:"id"`
	AccountID string       `json:"account_id"`
	Region    string       `json:"region"`
	VPCID     string       `json:"vpc_id"`
	ZoneID    string       `json:"zone_id"`
	CIDR      netip.Prefix `json:"cidr"`
	Default   bool         `json:"default,omitempty"` // the account's default for its zone
}

// SecurityGroup is a stateful allow list around network interfaces: what no rule allows is dropped in silence.
type SecurityGroup struct {
	ID          string `json:"id"`
	AccountID   string `json:"account_id"`
	Region      string `json:"region"`
	VPCID       string `json:"vpc_id"`
	Name        string `json:"name"` // "default" is the VPC's own and cannot be deleted
	Description string `json:"description"`
	Rules       []Rule `json:"rules"`
}

// Rule allows one peer in one direction. Exactly one of CIDR and GroupID is set.
type Rule struct {
	ID          string       `json:"id"`
	Egress      bool         `json:"egress,omitempty"`
	Protocol    string       `json:"protocol"`  // "tcp", "udp", "icmp", another protocol's number, or "-1" for all
	FromPort    int          `json:"from_port"` // -1: every port, as with protocol -1
	ToPort      int          `json:"to_port"`
	CIDR        netip.Prefix `json:"cidr,omitzero"`
	GroupID     string       `json:"group_id,omitempty"`
	Description string       `json:"description,omitempty"`
}

// InterfaceType is what a network interface belongs to, in the words of EC2.
type InterfaceType string

// The interface types of the fabric.
const (
	InterfaceEndpoint     InterfaceType = "vpc_endpoint"
	InterfaceLoadBalancer InterfaceType = "network_load_balancer"
)

// NetworkInterface is an address in a subnet.
type NetworkInterface struct {
	ID          string        `json:"id"`
	AccountID   string        `json:"account_id"`
	Region      string        `json:"region"`
	VPCID       string        `json:"vpc_id"`
	SubnetID    string        `json:"subnet_id"`
	ZoneID      string        `json:"zone_id"`
	Address     netip.Addr    `json:"address"`
	GroupIDs    []string      `json:"group_ids,omitempty"`
	Type        InterfaceType `json:"type"`
	OwnerID     string        `json:"owner_id"` // the endpoint's id or the load balancer's ARN
	Description string        `json:"description"`
	CreatedAt   time.Time     `json:"created_at"`
}

// LoadBalancer is a network load balancer.
type LoadBalancer struct {
	ARN        string            `json:"arn"`
	Name       string            `json:"name"`
	AccountID  string            `json:"account_id"`
	Region     string            `json:"region"`
	VPCID      string            `json:"vpc_id"`
	Scheme     string            `json:"scheme"` // internal or internet-facing
	DNSName    string            `json:"dns_name"`
	Nodes      []Node            `json:"nodes"` // one per zone
	GroupIDs   []string          `json:"group_ids,omitempty"`
	State      string            `json:"state"` // provisioning, then active
	Due        time.Time         `json:"due,omitzero"`
	Attributes map[string]string `json:"attributes"`
	CreatedAt  time.Time         `json:"created_at"`
}

// Node is a load balancer's presence in one zone.
type Node struct {
	ZoneID      string `json:"zone_id"`
	SubnetID    string `json:"subnet_id"`
	InterfaceID string `json:"interface_id"`
}

// TargetGroup is where a listener sends its connections.
type TargetGroup struct {
	ARN         string            `json:"arn"`
	Name        string            `json:"name"`
	AccountID   string            `json:"account_id"`
	Region      string            `json:"region"`
	VPCID       string            `json:"vpc_id"`
	Protocol    string            `json:"protocol"` // TCP, TLS, UDP or TCP_UDP; the data plane carries TCP
	Port        int               `json:"port"`
	TargetType  string            `json:"target_type"` // instance or ip
	HealthCheck HealthCheck       `json:"health_check"`
	Attributes  map[string]string `json:"attributes"` // complete: defaults are written at creation
	Targets     []Target          `json:"targets"`
}

// AttrProxyProtocolV2 is the target group attribute that has targets told who comes; "true" or "false".
const AttrProxyProtocolV2 = "proxy_protocol_v2.enabled"

// AttrCrossZone is the attribute that lets a node use the targets of every zone: of a load balancer "true" or "false", of
// a target group, whose word counts first, also "use_load_balancer_configuration".
const AttrCrossZone = "load_balancing.cross_zone.enabled"

// HealthCheck says how the health of a target is found out.
type HealthCheck struct {
	Enabled            bool   `json:"enabled"`
	Protocol           string `json:"protocol"` // TCP, HTTP or HTTPS
	Port               string `json:"port"`     // "traffic-port" or a number
	Path               string `json:"path,omitempty"`
	Matcher            string `json:"matcher,omitempty"`   // HTTP codes, such as 200-399
	IntervalSeconds    int    `json:"interval_seconds"`    // between two checks of one target
	TimeoutSeconds     int    `json:"timeout_seconds"`     // of one check
	HealthyThreshold   int    `json:"healthy_threshold"`   // checks in a row that make a target healthy
	UnhealthyThreshold int    `json:"unhealthy_threshold"` // checks in a row that make it unhealthy
}

// Target is one address behind a target group.
type Target struct {
	ID   string `json:"id"` // an IP address for type ip; otherwise an instance id, which the fabric cannot reach
	Port int    `json:"port"`
	// Zone is "all", or the zone id of the target; addresses inside the VPC get that of their subnet.
	Zone string `json:"zone"`
}

// Listener is a port of a load balancer.
type Listener struct {
	ARN             string   `json:"arn"`
	AccountID       string   `json:"account_id"`
	Region          string   `json:"region"`
	LoadBalancerARN string   `json:"load_balancer_arn"`
	Protocol        string   `json:"protocol"`
	Port            int      `json:"port"`
	TargetGroupARN  string   `json:"target_group_arn"`
	ALPN            []string `json:"alpn,omitempty"`
	IdleSeconds     int      `json:"idle_seconds"` // tcp.idle_timeout.seconds
}

// EndpointService is what a provider publishes in front of its load balancers. It is available as long as it exists.
type EndpointService struct {
	ID                 string       `json:"id"`
	Name               string       `json:"name"`
	AccountID          string       `json:"account_id"`
	Region             string       `json:"region"`
	AcceptanceRequired bool         `json:"acceptance_required"`
	LoadBalancerARNs   []string     `json:"load_balancer_arns"`
	Permissions        []Permission `json:"permissions,omitempty"`
	PrivateDNS         *PrivateDNS  `json:"private_dns,omitempty"`
	CreatedAt          time.Time    `json:"created_at"`
}

// Permission lets a principal see the service and create endpoints to it.
type Permission struct {
	ID        string `json:"id"`
	Principal string `json:"principal"` // an ARN or "*"
}

// PrivateDNS is the name a service may be reached by inside consumers' VPCs, and the proof that the provider owns it.
type PrivateDNS struct {
	Name        string    `json:"name"`
	State       string    `json:"state"`        // pendingVerification, verified or failed
	RecordName  string    `json:"record_name"`  // label, below Name, of the TXT record that proves ownership
	RecordValue string    `json:"record_value"` // its text
	Due         time.Time `json:"due,omitzero"` // when a started verification ends
}

// EndpointState is the state of an endpoint and of its connection, as EC2 writes it.
type EndpointState string

// The states of an endpoint.
const (
	EndpointPendingAcceptance EndpointState = "pendingAcceptance"
	EndpointPending           EndpointState = "pending"
	EndpointAvailable         EndpointState = "available"
	EndpointRejected          EndpointState = "rejected"
	EndpointDeleting          EndpointState = "deleting"
	EndpointDeleted           EndpointState = "deleted"
)

// Endpoint is a consumer's interface endpoint together with its connection to the service.
type Endpoint struct {
	ID        string        `json:"id"`
	AccountID string        `json:"account_id"`
	Region    string        `json:"region"`
	VPCID     string        `json:"vpc_id"`
	ServiceID string        `json:"service_id"`
	Service   string        `json:"service"` // the service's name
	State     EndpointState `json:"state"`
	// Due is when State moves on by itself: pending to available, deleting to deleted, deleted to forgotten.
	Due               time.Time `json:"due,omitzero"`
	PrivateDNSEnabled bool      `json:"private_dns_enabled"`
	SubnetIDs         []string  `json:"subnet_ids"`
	GroupIDs          []string  `json:"group_ids"`
	InterfaceIDs      []string  `json:"interface_ids"` // in the order of SubnetIDs; also before acceptance
	Label             string    `json:"label"`         // the random part of its DNS names
	Policy            string    `json:"policy,omitempty"`
	CreatedAt         time.Time `json:"created_at"`
}

// HostedZone is a Route 53 zone, private to its VPCs or public.
type HostedZone struct {
	ID              string      `json:"id"`
	AccountID       string      `json:"account_id"`
	Name            string      `json:"name"` // lower case, with the final dot
	CallerReference string      `json:"caller_reference"`
	Comment         string      `json:"comment,omitempty"`
	Private         bool        `json:"private"`
	VPCs            []ZoneVPC   `json:"vpcs,omitempty"`
	Records         []RecordSet `json:"records"` // sorted as Route 53 lists them; NS and SOA of the apex included
	CreatedAt       time.Time   `json:"created_at"`
}

// ZoneVPC is a VPC in which a private zone answers.
type ZoneVPC struct {
	ID     string `json:"id"`
	Region string `json:"region"`
}

// RecordSet is all records of one name and type. Either Alias is set, or TTL and Values are.
type RecordSet struct {
	Name   string   `json:"name"` // lower case, absolute, escapes decoded: a wildcard starts with "*."
	Type   string   `json:"type"`
	TTL    uint32   `json:"ttl,omitempty"` // seconds
	Values []string `json:"values,omitempty"`
	Alias  *Alias   `json:"alias,omitempty"`
}

// Alias makes a record set answer what another name of the cloud answers.
type Alias struct {
	HostedZoneID   string `json:"hosted_zone_id"`
	DNSName        string `json:"dns_name"` // lower case, with the final dot
	EvaluateHealth bool   `json:"evaluate_health,omitempty"`
}

// Change is a Route 53 change: PENDING until Due, INSYNC from then on. It takes effect at once.
type Change struct {
	ID          string    `json:"id"`
	AccountID   string    `json:"account_id"`
	Comment     string    `json:"comment,omitempty"`
	SubmittedAt time.Time `json:"submitted_at"`
	Due         time.Time `json:"due"`
}

// Token remembers what a client token made.
type Token struct {
	Digest     string    `json:"digest"` // of the parameters it came with
	ResourceID string    `json:"resource_id"`
	UsedAt     time.Time `json:"used_at"`
}
