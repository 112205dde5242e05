package api

import "time"

// The gateway's part of the API. A gateway holds `GET /api/v1/gateway/rules` open: the answer is a stream of JSON
// documents, one per line (application/x-ndjson), the first with the full rules as they are, then one per new revision;
// empty lines keep it alive. It acknowledges with `POST /api/v1/gateway/ack` and reports with
// `POST /api/v1/gateway/reports`.

// GatewayHello is sent in the query of the rules stream: `?gateway_id=…&proof_key=…&revision=…`. Revision is the last
// one that the gateway applied, 0 when none.
type GatewayHello struct {
	GatewayID string
	ProofKey  []byte // Ed25519 public key; base64url without padding in the query
	Revision  int64
}

// GatewayRules is one document of the rules stream: everything a gateway needs to decide, at one revision.
type GatewayRules struct {
	Revision int64                 `json:"revision"`
	Clusters []GatewayClusterRules `json:"clusters"`
}

// GatewayClusterRules is one cluster's part of the rules.
type GatewayClusterRules struct {
	ClusterID    string      `json:"cluster_id"`
	PrivateNames []string    `json:"private_names"`
	PublicNames  []string    `json:"public_names"`
	Backends     []string    `json:"backends"`
	EndpointIDs  []string    `json:"endpoint_ids"`
	PublicAccess string      `json:"public_access"` // ENABLED, REPORT_ONLY, DISABLED
	AllowList    []AllowRule `json:"allowlist"`
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
}

// GatewayFlow is the record of one flow, sent when it starts and again when it ends; EndedAt is absent while it lives.
type GatewayFlow struct {
	ID          string     `json:"id"`
	ClusterID   string     `json:"cluster_id"`
	Listener    string     `json:"listener"` // private, public
	EndpointID  string     `json:"endpoint_id,omitempty"`
	Source      string     `json:"source"`
	Name        string     `json:"name"`
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
