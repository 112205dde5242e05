package verify

import (
	"time"

	"github.com/postern/postern/internal/link"
)

// Vendor is what the control plane knows about the path: the other side of a two-sided diagnosis. The zero Vendor knows
// nothing, and Judge then names both sides where it cannot tell. Ask the control plane after Probe has returned, so that
// the attempts which the gateway refused during the probe are in it.
type Vendor struct {
	Known bool // the control plane was asked and answered; the fields below mean nothing otherwise

	Connection     *link.Connection      // of Target.EndpointID with the cluster; nil: it is not registered there
	Refused        []link.RefusedAttempt // attempts that the gateways refused lately at this cluster or from this endpoint
	Backends       []link.BackendHealth  // the gateways' view of the cluster's backends
	Gateways       []link.Gateway        // the gateways with the revision they decide by
	RulesRevision  int64                 // the revision that they should decide by
	ServiceState   link.ServiceState     // empty: unknown
	Reachable      link.Condition        // of the service: its load balancer reaches a gateway; zero: unknown
	ServiceZoneIDs []string              // zones in which the service can be reached
	EndpointZones  []string              // zone ids in which the endpoint has an interface
	PublicAccess   link.PublicAccess     // empty: unknown
}

// gatewayAlive is how lately a gateway must have been heard of to count as serving.
const gatewayAlive = 30 * time.Second
