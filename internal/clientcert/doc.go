// Package clientcert is about the certificates that clients show: how proxies write them into headers, who vouches for
// them, whether they were revoked, whose they are, and what becomes of the request. It is pure: it verifies and decides
// from values, and what responders say of a certificate is told to it.
//
// A request is decided in four steps. Trust.Verify looks at the certificate alone; its result holds for as long as the
// flow and the Trust do. Trust.Facts adds what may change from one request to the next: the time, revocation, the other
// credentials. Decide is the table that makes an outcome of them.
package clientcert
