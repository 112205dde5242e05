package httpproxy

// Revocation tells what responders say of client certificates.
type Revocation interface{}
