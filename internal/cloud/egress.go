package cloud

import (
	"context"

	"github.com/postern/postern/internal/link"
)

// EgressDriver makes the vendor's endpoints to services of customers, in one region of one account. What Driver says of
// idempotence, retries and errors holds here too. Nothing is remembered between calls: what was made is found again by
// its key.
type EgressDriver interface {
	// Account is the account in whose name endpoints are made: the one that a customer has to allow.
	Account(ctx context.Context) (string, error)

	// EnsureEgress makes the endpoint of spec exist, and returns it as observed afterwards. One that exists stays as it
	// is. A *Refusal has one of the reasons below, or another when the cloud has one of its own.
	EnsureEgress(ctx context.Context, spec EgressSpec) (Egress, error)

	// Egress observes the endpoint of key without changing anything. One that is deleted is ErrNotFound.
	Egress(ctx context.Context, key string) (Egress, error)

	// DeleteEgress removes all that EnsureEgress made for key. It reports true when nothing is left, and false while
	// the cloud is still at it: call again.
	DeleteEgress(ctx context.Context, key string) (gone bool, err error)

	// EnsureNames makes exactly Names lead to the endpoint inside the network, and takes the names in Gone away. Without
	// Names nothing but Gone counts. A name that something else in the network has taken is a *Refusal with reason
	// NAME_TAKEN; the names before it in the list may have been made.
	EnsureNames(ctx context.Context, spec NamesSpec) error
}

// Reasons of an EgressDriver's refusals.
const (
	ReasonServiceNotVisible = "SERVICE_NOT_VISIBLE" // there is no such service, or the account may not use it
	ReasonOwnService        = "OWN_SERVICE"         // the service is the vendor's own
	ReasonNoCommonZone      = "NO_COMMON_ZONE"      // none of the subnets is in a zone of the service
	ReasonNameTaken         = "NAME_TAKEN"
)

// EgressSpec is the endpoint that should be.
type EgressSpec struct {
	Key       string            // deterministic; names, tags and client tokens are derived from it
	Tags      map[string]string // for people and bills, beside the key's own
	Target    string            // the service's name
	VPCID     string
	SubnetIDs []string // of which those in the service's zones are taken, by zone id
}

// Egress is an endpoint as observed.
type Egress struct {
	Key        string
	EndpointID link.EndpointID
	State      link.State
	Address    string   // DNS name inside the network
	ZoneIDs    []string // of its interfaces
	Problem    string   // what the cloud says is wrong; empty when nothing is
}

// NamesSpec is the names that should lead to the endpoint of Key inside a network, and those that should no more.
type NamesSpec struct {
	Key   string
	VPCID string
	Names []string // as link.ParseDomainName returns them
	Gone  []string
}
