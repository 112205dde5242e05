package link

// Reasons of conditions: stable, so that programs can act on them. Each says which condition it belongs to.
const (
	ReasonLooking         = "LOOKING"           // Registered: not looked for at the cloud yet
	ReasonServiceNotReady = "SERVICE_NOT_READY" // Registered: there is no service yet that it could belong to
	ReasonNotSeen         = "ENDPOINT_NOT_SEEN" // Registered: no service of the cluster has such an endpoint
	ReasonSeen            = "ENDPOINT_SEEN"     // Registered
	ReasonEndpointDeleted = "ENDPOINT_DELETED"  // Registered, Accepted: its owner deleted it
	ReasonEndpointExpired = "ENDPOINT_EXPIRED"  // Accepted: nobody accepted it in time
	ReasonEndpointFailed  = "ENDPOINT_FAILED"   // Accepted: the cloud could not make it

	ReasonAccepting       = "ACCEPTING"         // Accepted: it may come in, and the cloud was or will be told
	ReasonOwnerTrusted    = "OWNER_TRUSTED"     // Accepted: true
	ReasonApproved        = "APPROVED_BY_ADMIN" // Accepted: true
	ReasonOwnerNotTrusted = "OWNER_NOT_TRUSTED" // Accepted: false
	ReasonRejectedByAdmin = "REJECTED_BY_ADMIN" // Accepted: false
	ReasonRejectedOutside = "REJECTED_OUTSIDE"  // Accepted: false; somebody rejected it at the cloud, past Postern
	ReasonDisconnected    = "DISCONNECTED"      // Accepted: false; the connection was deleted

	ReasonRequestExpiring = "REQUEST_EXPIRING" // Expiring: true
	ReasonRequestExpired  = "REQUEST_EXPIRED"  // Accepted: false; the endpoint was not seen, or its owner not trusted, for too long
	ReasonRequestAnswered = "REQUEST_ANSWERED" // Expiring: false

	ReasonCloudRefused     = "CLOUD_REFUSED"     // Accepted, Provisioned: the cloud said no
	ReasonCloudUnreachable = "CLOUD_UNREACHABLE" // Registered, Provisioned: it is not known how things are

	ReasonNoFlowYet    = "NO_FLOW_YET"   // DNSReady, Reachable: unknown
	ReasonFlowSeen     = "FLOW_SEEN"     // DNSReady, Reachable: true
	ReasonNotConnected = "NOT_CONNECTED" // DNSReady, Reachable: false

	ReasonBackendsHealthy  = "BACKENDS_HEALTHY"   // BackendHealthy: true
	ReasonNoHealthyBackend = "NO_HEALTHY_BACKEND" // BackendHealthy: false
	ReasonNoGatewayReport  = "NO_GATEWAY_REPORT"  // BackendHealthy: unknown

	ReasonPrivateDNSVerified   = "PRIVATE_DNS_VERIFIED"   // DNSReady of a service: endpoints may answer the private names
	ReasonPrivateDNSUnverified = "PRIVATE_DNS_UNVERIFIED" // DNSReady of a service: the cloud has not seen the proof of ownership

	ReasonCreating       = "CREATING"               // Provisioned: unknown
	ReasonProvisioned    = "PROVISIONED"            // Provisioned: true
	ReasonCreateFailed   = "CREATE_FAILED"          // Provisioned: false
	ReasonDeletedOutside = "SERVICE_DELETED"        // Provisioned: false; somebody deleted it at the cloud
	ReasonDeleting       = "DELETING"               // Provisioned: false; its end was asked for
	ReasonDeleteFailed   = "DELETE_FAILED"          // Provisioned: false; the cloud does not let it go
	ReasonGatewayHealthy = "GATEWAY_HEALTHY"        // Reachable of a service: the load balancer reaches a gateway
	ReasonNoGateway      = "NO_HEALTHY_GATEWAY"     // Reachable of a service: it reaches none
	ReasonHealthUnknown  = "GATEWAY_HEALTH_UNKNOWN" // Reachable of a service: it has not found out yet
)

// Reasons of the conditions of egress private endpoints.
const (
	ReasonServiceNotVisible = "SERVICE_NOT_VISIBLE"        // Provisioned: false; the customer has to allow the vendor
	ReasonNoCommonZone      = "NO_COMMON_ZONE"             // Provisioned: false; the service is in no zone of the vendor's network
	ReasonOwnService        = "OWN_SERVICE"                // Provisioned: false; the service is the vendor's own
	ReasonEgressLost        = "ENDPOINT_LOST"              // Provisioned: unknown; it was deleted at the cloud and is made anew
	ReasonEgressDeleted     = "DELETED"                    // Provisioned, Accepted: false; somebody asked for its end
	ReasonEgressExpired     = "REQUEST_EXPIRED"            // Provisioned, Accepted: false; the customer did not answer in time
	ReasonAwaitsCustomer    = "AWAITS_CUSTOMER"            // Accepted: false; the customer has to accept
	ReasonExpiresSoon       = "EXPIRES_SOON"               // Accepted: as before, and the customer has a day left
	ReasonCustomerAccepted  = "ACCEPTED_BY_CUSTOMER"       // Accepted: true
	ReasonCustomerRejected  = "REJECTED_BY_CUSTOMER"       // Accepted: false
	ReasonNoNames           = "NO_DOMAIN_NAMES"            // DNSReady: unknown; the endpoint's own address is all there is
	ReasonNamesPending      = "DOMAIN_NAMES_PENDING"       // DNSReady: unknown
	ReasonNamesReady        = "DOMAIN_NAMES_READY"         // DNSReady: true
	ReasonNameTaken         = "NAME_TAKEN"                 // DNSReady: false; something else in the vendor's network answers it
	ReasonNamesWait         = "DOMAIN_NAMES_WAIT_ENDPOINT" // DNSReady: unknown; they lead to the endpoint once it is available
)
