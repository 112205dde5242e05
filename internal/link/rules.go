package link

import (
	"strings"
	"time"
)

// RuleSet is everything a gateway needs to decide, at one revision. A RuleSet of revision 0 is none.
type RuleSet struct {
	Revision int64
	Ports    []PortRule // the service's profile: what its ports carry; a port without a rule carries TLS or PostgreSQL
	Clusters []ClusterRules
	Projects []ProjectRules
	Claims   []ClaimRule
}

// RuleDelta turns the RuleSet of revision From into that of revision Revision, which is higher. What it names takes the
// place of what has the same id, or is new; Removed… take away, also what the same delta names. Removing what is not
// there is no error.
type RuleDelta struct {
	From, Revision  int64
	Ports           *[]PortRule // nil: as they were
	Clusters        []ClusterRules
	RemovedClusters []ID
	Projects        []ProjectRules
	RemovedProjects []ID
	Claims          []ClaimRule
	RemovedClaims   []ID
}

// ClusterRules is one cluster's part of a RuleSet.
type ClusterRules struct {
	ClusterID     ID
	ProjectID     ID // empty: of no project, so that no project's endpoints reach it
	PrivateNames  []string
	PublicNames   []string
	Backends      []Backend
	Health        HealthCheck
	ProxyProtocol bool         // the backends get a PROXY v2 header with the client's address and endpoint
	Endpoints     []EndpointID // authorised to reach the private names of this cluster
	PublicAccess  PublicAccess
	AllowList     []AllowEntry
	DeniedPorts   []uint16 // ports that this cluster's own profile closes, on both listeners
	Limits        Limits
	Proxy         *ProxyRules // nil: TLS passes through unread
}

// ProjectRules lets endpoints reach the private names of every cluster of a project.
type ProjectRules struct {
	ProjectID ID
	Endpoints []EndpointID
}

// Backend is one of the vendor's servers behind the gateway.
type Backend struct {
	Address  string // host:port
	Weight   int    // its share of new flows beside the others'; 0 means 1, at most 256
	Draining bool   // gets no new flows; those that it has go on
}

// Check is how a gateway asks a backend whether it is well.
type Check string

// The checks. The zero value asks nothing: only the flows themselves tell how a backend is.
const (
	CheckNone     Check = ""
	CheckTCP      Check = "TCP"      // it takes connections
	CheckTLS      Check = "TLS"      // it completes a TLS handshake, whatever its certificate
	CheckHTTP     Check = "HTTP"     // it answers GET Path with one of Statuses
	CheckHTTPS    Check = "HTTPS"    // as HTTP, over TLS, whatever its certificate
	CheckPostgres Check = "POSTGRES" // it answers SSLRequest
)

// HealthCheck says how the backends of a cluster are checked. Zero fields mean the defaults in parentheses.
type HealthCheck struct {
	Check    Check
	Path     string        // of HTTP and HTTPS ("/")
	Statuses []int         // expected of HTTP and HTTPS (200 to 399)
	Interval time.Duration // between the checks of one backend (10 s)
	Timeout  time.Duration // of one check (3 s)
	Rise     int           // good checks in a row that heal (2)
	Fall     int           // bad checks in a row that take it out (3)
}

// Limits bound what a cluster's customers may open at one gateway. A zero field is no limit.
type Limits struct {
	Flows                    int // open at once
	FlowsPerSecond           int // new ones; a burst of one second's worth may come at once
	FlowsPerEndpoint         int // open at once through one endpoint
	FlowsPerSecondByEndpoint int
}

// Protocol is what a port carries.
type Protocol string

// The protocols.
const (
	ProtocolAuto     Protocol = ""         // TLS or PostgreSQL, as the first bytes say
	ProtocolTLS      Protocol = "TLS"      // TLS alone
	ProtocolPostgres Protocol = "POSTGRES" // PostgreSQL alone, with SSLRequest or direct TLS
	ProtocolTCP      Protocol = "TCP"      // anything: the endpoint alone tells the cluster
)

// Traffic is the class of a port, of which an allow-list entry admits one, the other or both.
type Traffic string

// The classes of port. The zero value is a port of no class, which an entry admits that admits either.
const (
	TrafficAny Traffic = ""
	TrafficUI  Traffic = "UI"
	TrafficSQL Traffic = "SQL"
)

// PortRule says what a port of the service carries.
type PortRule struct {
	Port        uint16 // as the client dials it; not 0
	Protocol    Protocol
	Traffic     Traffic
	Denied      bool   // no flow passes on it
	BackendPort uint16 // takes the place of the port in the backends' addresses; 0: as they say
}

// ClaimLabel is the second label of a claim's name: <code>.claim.<private domain>.
const ClaimLabel = "claim"

// CutClaim takes a claim's name apart: <code>.claim.<domain>, in lower case without a final dot. Who records a name that
// is ok masks the code: it is a secret until it is used or expires.
func CutClaim(name string) (code, domain string, ok bool) {
	code, below, _ := strings.Cut(name, ".")
	domain, ok = strings.CutPrefix(below, ClaimLabel+".")
	if !ok || code == "" || domain == "" {
		return "", "", false
	}
	return code, domain, true
}

// ClaimRule lets whoever knows a code bind its endpoint to a cluster, by one TLS connection through the endpoint to
// <code>.claim.<Domain>.
type ClaimRule struct {
	ID        ID
	ClusterID ID
	Domain    string   // the private domain, in lower case without a final dot
	Hash      [32]byte // SHA-256 of the code in lower case
	ExpiresAt time.Time
}
