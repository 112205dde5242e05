// Package revocation asks the responders that client certificates name whether they were revoked (OCSP, RFC 6960), and
// keeps the answers fresh for the certificates that were shown lately. It never asks during a TLS handshake, and no
// address that a certificate could have misled it to.
package revocation
