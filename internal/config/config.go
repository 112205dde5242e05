package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/link"
)

// Config is how a control plane runs. Load fills it; every field without a word in its place has the default that Example
// shows.
type Config struct {
	DataDir string // keys, tokens and, without Database.URL, the database
	Domain  string // base domain of the clusters' names

	API      API
	Limits   Limits
	OpenID   OpenID
	Database Database
	AWS      AWS
	Log      Log
	Metrics  Metrics
	Tracing  Tracing
	Shutdown Shutdown
	Webhooks Webhooks
	Mail     Mail
	Audit    Audit
}

// Audit says where the key is that signs the audit log.
type Audit struct {
	KeyFile string // made when it is not there; in the data directory when empty
}

// Webhooks says where webhooks may be sent beside public addresses: nowhere when empty. A range of loopback also allows
// plain HTTP to it.
type Webhooks struct {
	AllowedRanges []netip.Prefix
}

// Mail says how mail is sent. Without SMTPAddr none is.
type Mail struct {
	SMTPAddr string // host:port; TLS from the start on port 465, by STARTTLS on others
	From     string // the sender's address, with a name or without
	Username string // empty: without authentication
	Password Secret
}

// API is where and how the REST API is served.
type API struct {
	Addr      string // host:port
	PublicURL string // by which people and gateways reach it; worked out of Addr when empty

	TrustedProxies []netip.Prefix // in front of it, whose X-Forwarded-For says where requests come from
	TLS            TLS
}

// Limits are how often the API is answered, and how much is kept open. Each process counts for itself.
type Limits struct {
	Callers   Rate // each person and service account
	Strangers Rate // each address without a good token
	SignIns   Rate // each address that signs in

	StreamsPerCaller int // streams of events that one caller has open
	Streams          int // and all together
}

// Rate is a number of requests: PerSecond on average, Burst at once. PerSecond 0 is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// TLS says where the API's certificate comes from: a pair of files, or an ACME authority. The zero value is plain HTTP.
type TLS struct {
	CertificateFile, KeyFile string // PEM; read again when they change
	ACME                     ACME
}

// ACME asks an authority for the API's certificate: RFC 8555. Without Domains it asks for none.
type ACME struct {
	Domains       []string
	Email         string // of the account; may be empty
	DirectoryURL  string
	CAFile        string // PEM roots of the authority's own TLS; the system's when empty
	ChallengeAddr string // host:port on which the authority's HTTP challenge arrives from port 80; none when empty: TLS-ALPN alone
}

// OpenID is the provider at which people sign in; none without an Issuer.
type OpenID struct {
	Issuer       string
	ClientID     string
	ClientSecret Secret
	Scopes       []string // beside openid
	Domains      []string // of the e-mail addresses that may sign in
	GrantClaim   string
	Grants       []OpenIDGrant
}

// OpenIDGrant gives a role at a scope to whom the provider's claim gives a value.
type OpenIDGrant struct {
	Value string
	Role  link.Role
	Scope link.Scope
}

// Database says where the control plane keeps everything. Without a URL it is SQLite in the data directory.
type Database struct {
	URL Secret // of a PostgreSQL server
}

// AWS is the vendor's side of that cloud. Its credentials are those of the environment, as the aws command finds them.
type AWS struct {
	EndpointURL string // in Amazon's place when not empty
}

// Log says what is logged, to standard error.
type Log struct {
	Level slog.Level
	JSON  bool
}

// Metrics says where GET /metrics is answered, nowhere when empty.
type Metrics struct {
	Addr string // host:port
}

// Tracing says where spans are sent, nowhere when empty.
type Tracing struct {
	OTLPURL string  // base URL of an OTLP/HTTP receiver
	Sampled float64 // which part of the traces that begin here, 0 to 1
}

// Shutdown says how a control plane ends after SIGTERM.
type Shutdown struct {
	Delay time.Duration // it says that it is not ready, and still answers: a balancer takes it out meanwhile
	Grace time.Duration // the requests under way have to end after that
}
