// Package fabric is the embedded cloud: a subset of the EC2, Elastic Load Balancing, Route 53 and STS APIs with a data
// plane that carries real bytes. Unchanged AWS clients create load balancers, endpoint services, endpoints and private
// zones in it, and what they create then works: an endpoint's address takes connections, subject to security groups,
// zones, acceptance and target health, and forwards them with a PROXY protocol v2 header.
//
// Everything that is remembered is one value, [State], changed by pure transitions and written to disk before the
// answer leaves. Everything that only runs (listeners, health checks, open flows) is derived from it and starts again
// with the process.
//
// The package knows nothing of the product that uses it, as a real cloud would not.
package fabric
