// Package cloud says what Postern needs of a cloud provider on the vendor's side: one small Driver per provider, and
// facts in words that all of them share. The conformance suite is package cloudtest.
package cloud

import (
	"context"
	"errors"
	"net/netip"

	"github.com/postern/postern/internal/link"
)

// Driver does the vendor's side of private connectivity in one region of one account. Every method is idempotent: it
// may be called again after a crash at any point and converges on the same objects. Methods retry throttling and
// passing outages themselves, bounded by ctx; what they return after that is final for this attempt.
//
// Errors: ErrNotFound when the named object is not there, a *Refusal when the cloud understood and said no, anything
// else is worth another attempt later.
type Driver interface {
	// EnsureService makes the load balancer, target groups, listeners and endpoint service of spec exist and match it,
	// and returns them as observed afterwards. Called with what already holds it changes nothing.
	EnsureService(ctx context.Context, spec ServiceSpec) (Service, error)

	// Service observes the service of key without changing anything.
	Service(ctx context.Context, key string) (Service, error)

	// DeleteService removes all that EnsureService made for key. It is done when it returns nil; a *Refusal with reason
	// ENDPOINTS_ATTACHED says that endpoints still use the service.
	DeleteService(ctx context.Context, key string) error

	// Endpoints lists the endpoints that ask for, have, or had a connection with the service and that the query is for,
	// all pages. What the answer costs the cloud grows with what is found and not with all that there is.
	Endpoints(ctx context.Context, serviceID string, q Query) ([]link.Endpoint, error)

	// Accept lets endpoints in; Reject refuses them, also after they were let in. Accepting what is accepted and rejecting
	// what is rejected are no errors. Each returns one error per id, in their order: one endpoint that cannot be let in
	// keeps out none of the others. As few requests are made as the cloud allows.
	Accept(ctx context.Context, serviceID string, ids ...link.EndpointID) []error
	Reject(ctx context.Context, serviceID string, ids ...link.EndpointID) []error
}

// Query says which of a service's endpoints to list. The zero value is all of them. No cloud can be asked for an endpoint
// by its id on the vendor's side: AWS refuses such a filter.
type Query struct {
	Owners   []string // of these accounts alone; empty: of any
	Arriving bool     // only those that ask to come in, or are on their way in
}

// ServiceSpec is the service that should be.
type ServiceSpec struct {
	Key        string // deterministic; names and client tokens are derived from it. One service per key and region
	VPCID      string
	SubnetIDs  []string
	Ports      []uint16         // one listener and target group each
	Targets    []netip.AddrPort // the gateways' private listeners; every listener forwards to all of them
	Principals []string         // accounts that may create endpoints: "*" or 12 digits; acceptance is always required

	// PrivateDNSName is the name that an endpoint may answer inside its own network; "*." in front means all names
	// below. Empty: none. Its owner has to be verified by a record in public DNS, which a driver publishes where it can.
	PrivateDNSName string
}

// Service is a service as observed.
type Service struct {
	Key        string
	ServiceID  string
	Name       string
	State      link.ServiceState
	ZoneIDs    []string
	Principals []string
	Targets    []Target
	Problem    string // what the cloud says is wrong; empty when nothing is

	PrivateDNSName     string // empty: none
	PrivateDNSVerified bool   // endpoints may answer it
	PrivateDNSMissing  string // what a person has to publish before it can be verified; empty: nothing
}

// Target is one address behind the load balancer with its health there.
type Target struct {
	Addr    netip.AddrPort
	Healthy bool
	Reason  string // the cloud's own words when it is not
}

// ErrNotFound is returned when the object asked for does not exist at the cloud.
var ErrNotFound = errors.New("not found at the cloud")

// EndpointsAttached is the Refusal.Reason of a service that endpoints still use.
const EndpointsAttached = "ENDPOINTS_ATTACHED"

// Refusal is the cloud's final no to one request: repeating it unchanged will not help.
type Refusal struct {
	Reason  string // stable, upper snake case
	Code    string // the provider's own code
	Message string // the provider's own words
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }
