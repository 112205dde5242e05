package api

import "time"

// The gateway's part of the API. A gateway holds `GET /api/v1/gateway/rules` open: the answer is a stream of JSON
// documents, one per line (application/x-ndjson): first the full rules as they are, or the changes since the version of
// the hello when the control plane still knows them; then what changed, as often as something does. Each of them comes in
// one or several parts, a document each of about a megabyte, and of several changes at once a gateway may be told in one.
// Empty lines keep the stream alive. It acknowledges with `POST /api/v1/gateway/ack` and reports with
// `POST /api/v1/gateway/reports`.

// GatewayHello is sent in the query of the rules stream: `?gateway_id=…&proof_key=…&revision=…&tag=…`. Revision and
// Tag are those of the rules that the gateway applied last, 0 and empty when none, or when it wants the full rules.
type GatewayHello struct {
	GatewayID string
	ProofKey  []byte // Ed25519 public key; base64url without padding in the query
	Revision  int64
	Tag       string
}

// GatewayRules is one document of the rules stream. With From zero it is everything a gateway needs to decide; with From
// set it is a change: it turns the rules of revision From into those of Revision. What is long comes in parts, one after
// the other, all with the same From, Revision and Tag, and holds once the part with More false is there. A change of From
// to the same revision says that the gateway's rules are the newest. Tag is random, drawn with the revision: a control
// plane that was restored from a backup comes to the same revisions again, but not to the same tags.
type GatewayRules struct {
	From     int64  `json:"from,omitempty"`
	Revision int64  `json:"revision"`
	Tag      string `json:"tag"`
	More     bool   `json:"more,omitempty"` // another part of the same set or change follows

	Ports    *[]GatewayPort        `json:"ports,omitempty"` // in a change: absent when they stay
	Clusters []GatewayClusterRules `json:"clusters,omitempty"`
	Projects []GatewayProjectRules `json:"projects,omitempty"`
	Claims   []GatewayClaimRule    `json:"claims,omitempty"`

	// Of a change only.
	RemovedClusters []string `json:"removed_clusters,omitempty"`
	RemovedProjects []string `json:"removed_projects,omitempty"`
	RemovedClaims   []string `json:"removed_claims,omitempty"`
}

// GatewayClusterRules is one cluster's part of the rules.
type GatewayClusterRules struct {
	ClusterID     string              `json:"cluster_id"`
	ProjectID     string              `json:"project_id,omitempty"`
	PrivateNames  []string            `json:"private_names"`
	PublicNames   []string            `json:"public_names"`
	Backends      []GatewayTarget     `json:"backends"`
	Health        *GatewayHealthCheck `json:"health,omitempty"` // absent: no active checks
	ProxyProtocol bool                `json:"proxy_protocol,omitempty"`
	EndpointIDs   []string            `json:"endpoint_ids"`
	PublicAccess  string              `json:"public_access"` // ENABLED, REPORT_ONLY, DISABLED
	AllowList     []AllowRule         `json:"allowlist"`
	DeniedPorts   []uint16            `json:"denied_ports,omitempty"`
	Limits        *GatewayLimits      `json:"limits,omitempty"` // absent: none
	Proxy         *GatewayProxy       `json:"proxy,omitempty"`  // absent: TLS passes through unread
}

// GatewayProjectRules lets endpoints reach every cluster of a project.
type GatewayProjectRules struct {
	ProjectID   string   `json:"project_id"`
	EndpointIDs []string `json:"endpoint_ids"`
}

// GatewayTarget is a backend as gateways get it.
type GatewayTarget struct {
	Address  string `json:"address"`          // host:port
	Weight   int    `json:"weight,omitempty"` // 1 to 256; absent: 1
	Draining bool   `json:"draining,omitempty"`
}

// GatewayHealthCheck says how backends are checked; absent fields mean the gateway's defaults.
type GatewayHealthCheck struct {
	Check           string `json:"check"` // TCP, TLS, HTTP, HTTPS, POSTGRES
	Path            string `json:"path,omitempty"`
	Statuses        []int  `json:"statuses,omitempty"`
	IntervalSeconds int    `json:"interval_seconds,omitempty"`
	TimeoutSeconds  int    `json:"timeout_seconds,omitempty"`
	Rise            int    `json:"rise,omitempty"`
	Fall            int    `json:"fall,omitempty"`
}

// GatewayLimits bound what may be open at one gateway; 0 or absent is no limit.
type GatewayLimits struct {
	Flows                    int `json:"flows,omitempty"`
	FlowsPerSecond           int `json:"flows_per_second,omitempty"`
	FlowsPerEndpoint         int `json:"flows_per_endpoint,omitempty"`
	FlowsPerSecondByEndpoint int `json:"flows_per_second_by_endpoint,omitempty"`
}

// GatewayPort says what a port of the service carries.
type GatewayPort struct {
	Port        uint16 `json:"port"`
	Protocol    string `json:"protocol,omitempty"` // TLS, POSTGRES, TCP; absent: TLS or PostgreSQL
	Traffic     string `json:"traffic,omitempty"`  // UI, SQL; absent: neither
	Denied      bool   `json:"denied,omitempty"`
	BackendPort uint16 `json:"backend_port,omitempty"`
}

// GatewayClaimRule lets whoever knows a code bind an endpoint to a cluster.
type GatewayClaimRule struct {
	ID        string    `json:"id"`
	ClusterID string    `json:"cluster_id"`
	Domain    string    `json:"domain"`
	Hash      []byte    `json:"hash"` // SHA-256 of the code
	ExpiresAt time.Time `json:"expires_at"`
}

// AllowRule is an allow-list entry as gateways get it.
type AllowRule struct {
	Prefix string `json:"prefix"` // CIDR
	UI     bool   `json:"ui"`
	SQL    bool   `json:"sql"`
}

// GatewayAck says which revision a gateway now decides by.
type GatewayAck struct {
	GatewayID string `json:"gateway_id"`
	Revision  int64  `json:"revision"`
}

// GatewayReport is a batch of what a gateway saw. A batch id that was stored before changes nothing.
type GatewayReport struct {
	GatewayID string           `json:"gateway_id"`
	BatchID   string           `json:"batch_id"`
	SentAt    time.Time        `json:"sent_at"`
	Flows     []GatewayFlow    `json:"flows,omitempty"`
	Refused   []GatewayRefusal `json:"refused,omitempty"`
	Backends  []GatewayBackend `json:"backends,omitempty"`
	Claims    []GatewayClaim   `json:"claims,omitempty"`
}

// GatewayClaim says that somebody who knows a claim's code spoke through an endpoint.
type GatewayClaim struct {
	ClaimID    string    `json:"claim_id"`
	EndpointID string    `json:"endpoint_id"`
	Source     string    `json:"source"`
	At         time.Time `json:"at"`
}

// GatewayFlow is the record of one flow, sent when it starts and again when it ends; EndedAt is absent while it lives.
type GatewayFlow struct {
	ID          string     `json:"id"`
	ClusterID   string     `json:"cluster_id"`
	Listener    string     `json:"listener"` // private, public
	EndpointID  string     `json:"endpoint_id,omitempty"`
	Source      string     `json:"source"`
	Name        string     `json:"name"`
	Port        int        `json:"port,omitempty"`    // as the client dialled it
	Backend     string     `json:"backend,omitempty"` // that took the flow
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	BytesIn     int64      `json:"bytes_in"`
	BytesOut    int64      `json:"bytes_out"`
	CloseReason string     `json:"close_reason,omitempty"`
}

// GatewayRefusal counts refused flows of one kind since the previous batch.
type GatewayRefusal struct {
	ClusterID   string    `json:"cluster_id,omitempty"`
	Listener    string    `json:"listener"`
	EndpointID  string    `json:"endpoint_id,omitempty"`
	Name        string    `json:"name,omitempty"`
	Source      string    `json:"source"`
	Reason      string    `json:"reason"`
	WouldRefuse bool      `json:"would_refuse,omitempty"`
	Count       int64     `json:"count"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
}

// GatewayBackend is a gateway's view of one backend.
type GatewayBackend struct {
	ClusterID string    `json:"cluster_id"`
	Backend   string    `json:"backend"`
	Healthy   bool      `json:"healthy"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}
