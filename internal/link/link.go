package link

import (
	"net/netip"
	"time"
)

// Project groups clusters of one organisation.
type Project struct {
	ID             ID
	OrganisationID ID     // empty: the vendor's own
	Name           string // unique in its organisation
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Version        int64
}

// Region is a cloud provider's region in which the vendor is reachable, as the operator described it: where the load
// balancer stands and what it forwards to. Name is the provider's ("us-east-1"); (Provider, Name) is its key.
type Region struct {
	Provider  Provider
	Name      string
	VPCID     string           // the vendor's network that holds the load balancer
	SubnetIDs []string         // one subnet per zone of that network
	Targets   []netip.AddrPort // the gateways' private listeners
	Ports     []uint16         // ports that the load balancer listens on; 443 when the operator names none
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int64 // grows with every change of the intent
}

// Cluster is one deployment of the vendor's service.
type Cluster struct {
	ID           ID
	ProjectID    ID
	Name         string // DNS label, unique in the installation: it stands in the cluster's names
	Provider     Provider
	Regions      []ClusterRegion
	CustomNames  []string // of the customer's own, which lead here at both listeners beside those of Regions; sorted
	Backends     []string // host:port; TLS flows are passed through to them unread
	PublicAccess PublicAccess
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// ClusterRegion is a region of a cluster with the names by which the cluster is reached in it.
type ClusterRegion struct {
	Name        string
	PublicName  string // answered at the public listener
	PrivateName string // answered at the private listener; its sub-name "proof." is the gateway's own
}

// Names are all names of the cluster: in each region the private one and the public one, then the customer's own.
func (c Cluster) Names() (names []string) {
	for _, r := range c.Regions {
		names = append(names, r.PrivateName, r.PublicName)
	}
	return append(names, c.CustomNames...)
}

// ProofLabel is the label in front of a cluster's private name that the gateway itself answers: the proof of path.
const ProofLabel = "proof"

// PublicAccess is the state of a cluster's public door. The zero value is no door at all and is refused.
type PublicAccess string

// The public door's states. ReportOnly lets pass whom Enabled would (the allow list still counts) and records them as
// those who would be refused were it disabled.
const (
	PublicEnabled    PublicAccess = "ENABLED"
	PublicReportOnly PublicAccess = "REPORT_ONLY"
	PublicDisabled   PublicAccess = "DISABLED"
)

// AllowEntry is one range of a cluster's IP allow list. An empty list admits nobody. UI and SQL name the vendor's two
// classes of port; an entry with neither admits nothing.
type AllowEntry struct {
	Prefix netip.Prefix
	UI     bool
	SQL    bool
	Name   string
}

// OwnerType says what a trusted owner's external id is an id of.
type OwnerType string

// The owner types of the REST API.
const (
	AWSAccountID        OwnerType = "AWS_ACCOUNT_ID"
	AzureSubscriptionID OwnerType = "AZURE_SUBSCRIPTION_ID"
	GCPProjectID        OwnerType = "GCP_PROJECT_ID"
)

// TrustedOwner is a cloud account whose endpoints a cluster, or a project for its own connections, accepts.
// ExternalOwnerID "*" trusts every account.
type TrustedOwner struct {
	ID              ID
	ClusterID       ID // empty: a project's
	ProjectID       ID // empty: a cluster's
	Type            OwnerType
	ExternalOwnerID string
	CreatedAt       time.Time
}

// ServiceState is a private endpoint service's state.
type ServiceState string

// The states of a private endpoint service.
const (
	ServiceCreating     ServiceState = "CREATING"
	ServiceAvailable    ServiceState = "AVAILABLE"
	ServiceCreateFailed ServiceState = "CREATE_FAILED"
	ServiceDeleting     ServiceState = "DELETING"
	ServiceDeleteFailed ServiceState = "DELETE_FAILED"
)

// Service is what the vendor publishes in a region. (Provider, Region) is its key: all clusters of a region share it,
// the gateway tells them apart by name. ServiceID, Name and ZoneIDs are empty until the cloud has told them.
type Service struct {
	Provider   Provider
	Region     string
	State      ServiceState
	ServiceID  string
	Name       string
	ZoneIDs    []string // compare zones across accounts by these only
	Conditions []Condition
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Version    int64 // grows with every write; results are written by compare-and-swap on it
}

// State is a connection's or an endpoint's state, in the words of the REST API without their STATUS_ prefix.
type State string

// The states of endpoints and connections.
const (
	Pending           State = "PENDING"
	PendingAcceptance State = "PENDING_ACCEPTANCE"
	Available         State = "AVAILABLE"
	Deleting          State = "DELETING"
	Deleted           State = "DELETED"
	Rejected          State = "REJECTED"
	Failed            State = "FAILED"
	Expired           State = "EXPIRED"
)

// Endpoint is a private endpoint as the cloud shows it to the vendor.
type Endpoint struct {
	Provider  Provider
	Region    string
	ServiceID string
	ID        EndpointID
	OwnerID   string // the account that owns it
	State     State
	SeenAt    time.Time
}

// Want is what people asked of a connection.
type Want string

// What may be wanted of a connection. Gone is a deletion under way.
const (
	WantConnected Want = "CONNECTED"
	WantRejected  Want = "REJECTED"
	WantGone      Want = "GONE"
)

// Connection is the pairing of an endpoint with a cluster, or with a project: then it holds for all of the project's
// clusters, those to come among them, in Region of Provider. (ClusterID or ProjectID, EndpointID) is its key. ServiceID
// and OwnerID, and with a cluster Region, are empty until the endpoint was seen at the cloud.
type Connection struct {
	ClusterID   ID // empty: with a project
	ProjectID   ID // empty: with a cluster
	EndpointID  EndpointID
	Provider    Provider
	Region      string
	ServiceID   string
	ServiceName string
	OwnerID     string
	State       State
	Want        Want
	Approved    bool // an admin accepted this very endpoint: its owner need not be trusted
	Conditions  []Condition
	AskedAt     time.Time // when it was last asked for: an unanswered request counts from then
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     int64 // grows with every write; results are written by compare-and-swap on it
}

// Ref names the connection in its history.
func (c Connection) Ref() ObjectRef {
	if c.ProjectID != "" {
		return ObjectRef{Kind: ObjectProjectConnection, ID: string(c.ProjectID) + "/" + string(c.EndpointID)}
	}
	return ObjectRef{Kind: ObjectConnection, ID: string(c.ClusterID) + "/" + string(c.EndpointID)}
}

// Ref names the trusted owner in its history.
func (o TrustedOwner) Ref() ObjectRef {
	if o.ProjectID != "" {
		return ObjectRef{Kind: ObjectProjectTrustedOwner, ID: string(o.ProjectID) + "/" + string(o.ID)}
	}
	return ObjectRef{Kind: ObjectTrustedOwner, ID: string(o.ClusterID) + "/" + string(o.ID)}
}

// RequestExpiry is how long a connection is waited for whose endpoint nobody saw or whose owner nobody trusts, unless the
// installation says otherwise. ExpiryWarning is how long before its end people are told.
const (
	RequestExpiry = 7 * 24 * time.Hour
	ExpiryWarning = 24 * time.Hour
)

// Listener is the side of the gateway on which a flow arrived.
type Listener string

// The gateway's listeners.
const (
	PrivateListener Listener = "private"
	PublicListener  Listener = "public"
)

// RefusedAttempt is a kind of flow that the gateway refused, and how often: one row per cluster, listener, endpoint,
// name, source address and reason. ClusterID is empty when the name led to no cluster.
type RefusedAttempt struct {
	ClusterID   ID
	Listener    Listener
	EndpointID  EndpointID
	Name        string // the server name that was asked for; may be empty
	Source      string // IP address
	Reason      string
	WouldRefuse bool // report-only: the flow passed, and would not have were public access disabled
	Count       int64
	FirstAt     time.Time
	LastAt      time.Time
}

// Flow is the record of one TCP stream through the gateway. EndedAt is zero while it lives.
type Flow struct {
	ID          string
	GatewayID   string
	ClusterID   ID
	Listener    Listener
	EndpointID  EndpointID
	Source      string // address:port
	Name        string
	Port        uint16 // as the client dialled it; 0 when not known
	Backend     string // host:port that took it; empty when none did
	StartedAt   time.Time
	EndedAt     time.Time
	BytesIn     int64 // from the customer
	BytesOut    int64 // to the customer
	CloseReason string
}

// Gateway is one data-path process as the control plane knows it.
type Gateway struct {
	ID              string
	ProofKey        []byte // Ed25519 public key that signs its proofs of path
	AppliedRevision int64
	LastSeenAt      time.Time
}

// Event is one line of an object's history.
type Event struct {
	ID       int64 // grows in the order of the commits
	Object   ObjectRef
	Place    Place // of the object, when it was written
	At       time.Time
	Type     string // stable, upper snake case: CREATED, STATE_CHANGED, ACCEPTED, …
	State    string // that the object came to; empty when the event is not about its state
	Reason   string
	Message  string
	NextStep string // what whoever has to act does next; empty when nobody has to
	Actor    string // who: a caller's name, or ActorReconciler
}

// ActorReconciler is who does what a cloud's state asks for.
const ActorReconciler = "reconciler"

// ObjectRef names any object that has a history. Kind is one of the Kind… constants below; ID is the object's key,
// its parts joined by "/".
type ObjectRef struct {
	Kind string
	ID   string
}

// The kinds of objects, and what their ObjectRef.ID is made of. The ID of a whole list is the one of what it belongs to,
// followed by "/" and nothing.
const (
	ObjectOrganisation        = "organisation"          // organisation id
	ObjectPrincipal           = "principal"             // organisation id/principal id; the organisation is empty for a person
	ObjectGrant               = "grant"                 // scope kind/scope id/principal id/role
	ObjectAPIKey              = "api-key"               // principal id/key id
	ObjectSession             = "session"               // principal id/session id
	ObjectProject             = "project"               // project id
	ObjectRegion              = "region"                // provider/region
	ObjectCluster             = "cluster"               // cluster id
	ObjectTraffic             = "traffic"               // cluster id: where a cluster's flows go: backends, ports, checks, limits
	ObjectPublicAccess        = "public-access"         // cluster id
	ObjectAllowList           = "allow-list"            // cluster id
	ObjectClaim               = "claim"                 // cluster id/claim id
	ObjectEndpoint            = "endpoint"              // cluster id/endpoint id: an admin's decision about an endpoint
	ObjectConnection          = "connection"            // cluster id/endpoint id
	ObjectTrustedOwner        = "trusted-owner"         // cluster id/owner id
	ObjectEgress              = "egress-endpoint"       // cluster id/egress endpoint id
	ObjectReverseProxy        = "reverse-proxy"         // cluster id
	ObjectClientCertificates  = "client-certificates"   // cluster id: whether its clients show certificates, and what these say of them
	ObjectTrustedCertificate  = "trusted-certificate"   // cluster id/trusted certificate id
	ObjectRevokedCertificate  = "revoked-certificate"   // cluster id/revoked certificate id
	ObjectRecords             = "records"               // cluster id: its flows and refused attempts
	ObjectProjectConnection   = "project-connection"    // project id/endpoint id
	ObjectProjectTrustedOwner = "project-trusted-owner" // project id/owner id
	ObjectService             = "service"               // provider/region
	ObjectServiceProfile      = "service-profile"       // empty: an installation has one
	ObjectGateway             = "gateway"               // gateway id
	ObjectWebhook             = "webhook"               // organisation id/webhook id; also mail subscriptions and their deliveries
	ObjectDatabase            = "database"              // empty: an installation has one
	ObjectAudit               = "audit"                 // organisation id, empty for the whole installation
)
