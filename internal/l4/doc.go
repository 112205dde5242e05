// Package l4 is what a TCP proxy does with a stream before it knows what is inside: it reads the PROXY protocol header
// that a load balancer put in front, peeks at a TLS ClientHello for the server name or at a PostgreSQL client's request
// for TLS, and relays the bytes both ways. It parses bytes that strangers send, so every parser works over a buffer that
// may still grow, is bounded, and allocates next to nothing. It knows nothing of who may talk to whom.
package l4
