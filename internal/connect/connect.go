// Package connect is the customer's side of a private connection: against the customer's own AWS account it creates
// the endpoint and the private zone, against Postern's API it registers them, and in the end it has the path proven.
//
// Nothing is remembered between runs. Every step first observes whether what it would do is there already, and every
// create call carries a token derived from cluster and VPC, so a run that was killed is simply run again.
package connect

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

// Config is what a run works with. API is required; a zero AWS means AWS itself with the SDK's default credentials.
type Config struct {
	API *api.Client
	AWS AWS

	// Verify proves the path in the end, from the customer's VPC. The target comes with everything but RootCAs and what
	// is asked over HTTP; the hook chooses the vantage point by VPCID, and adds the rest. Nil leaves the step out, and
	// the result says so.
	Verify func(ctx context.Context, t Target) (verify.Report, error)

	Poll      time.Duration // pause between two looks while waiting; zero is 1 s
	VerifyFor time.Duration // how long a verification that fails is repeated; zero is 20 s
	Log       *slog.Logger  // nil discards
}

// AWS says how the customer's account is reached.
type AWS struct {
	EndpointURL     string            // base URL of every AWS API; empty means AWS itself
	AccessKeyID     string            // static credentials; empty means the SDK's default chain
	SecretAccessKey string            //
	Transport       http.RoundTripper // nil means the SDK's own
	MaxBackoff      time.Duration     // bounds the pause before one request is tried again; zero is 5 s
}

// Target is the path to verify, with the VPC to look from.
type Target struct {
	verify.Target
	VPCID  string
	Region string
}

// DNSMode says how the private name shall lead to the endpoint.
type DNSMode string

// The DNS modes.
const (
	DNSZone    DNSMode = "zone"    // a private hosted zone in the VPC; also what "" means
	DNSPrivate DNSMode = "private" // the endpoint answers the service's own private name; the service must have one
	DNSNone    DNSMode = "none"    // names are somebody else's business
)

// Request is the connection that should be, or should no longer be. ClusterID and VPCID are required.
type Request struct {
	ClusterID        string
	Region           string   // empty: the cluster's only one
	VPCID            string   // the customer's network
	SubnetIDs        []string // empty: one subnet in each zone that the service has too
	SecurityGroupIDs []string // of the endpoint's interfaces; empty: the VPC's default group
	DNS              DNSMode
}

// StepID names a step.
type StepID string

// The steps, in the order of a run. Disconnect goes through those of Run backwards, without the service.
const (
	StepService      StepID = "service"      // the vendor's service in the region is there
	StepTrust        StepID = "trust"        // the cluster trusts the account
	StepEndpoint     StepID = "endpoint"     // the endpoint stands in the VPC
	StepRegistration StepID = "registration" // the endpoint's id is registered with the cluster
	StepAcceptance   StepID = "acceptance"   // both sides say available
	StepZone         StepID = "zone"         // the private hosted zone, or private DNS on the endpoint
	StepRecords      StepID = "records"      // its records, in sync
	StepVerification StepID = "verification" // the path is proven
)

// Status is how far a step has come.
type Status string

// The statuses of a step. Already, Done, Skipped and Failed are final.
const (
	Started Status = "started"
	Waiting Status = "waiting" // sent again whenever Message changes
	Already Status = "already" // nothing had to be done
	Done    Status = "done"
	Skipped Status = "skipped"
	Failed  Status = "failed"
)

// StepEvent is one line of progress. Events of one run arrive in order, from one goroutine.
type StepEvent struct {
	Step    StepID        `json:"step"`
	Status  Status        `json:"status"`
	Message string        `json:"message"`
	Elapsed time.Duration `json:"elapsed_ns"` // since the step started
}

// Result is what a run came to. It is filled as far as the run got, also beside an error.
type Result struct {
	Changed            bool            `json:"changed"` // whether anything was created, changed or removed, at either side
	AccountID          string          `json:"account_id"`
	ClusterID          string          `json:"cluster_id"`
	Region             string          `json:"region"`
	VPCID              string          `json:"vpc_id"`
	ServiceName        string          `json:"service_name"`
	EndpointID         link.EndpointID `json:"endpoint_id"`
	EndpointDNSName    string          `json:"endpoint_dns_name"`
	InterfaceAddresses []netip.Addr    `json:"interface_addresses"`
	PrivateName        string          `json:"private_name"`
	HostedZoneID       string          `json:"hosted_zone_id"`
	Steps              []StepEvent     `json:"steps"`            // the final event of every step that was reached
	Report             *verify.Report  `json:"report,omitempty"` // nil when not verified
}

// Problem is something that Prepare found in the way, before anything was created.
type Problem struct {
	Reason  string `json:"reason"` // stable, upper snake case
	Field   string `json:"field"`  // of Request; empty when none is at fault
	Message string `json:"message"`
	Hint    string `json:"hint"`
	Warning bool   `json:"warning"` // the connection can be made all the same
}

// Error makes a Problem an error, for whoever wants just one.
func (p Problem) Error() string { return p.Message + ": " + p.Hint }
