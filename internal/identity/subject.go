package identity

import "github.com/postern/postern/internal/link"

// Attempt is one try to sign in at an OpenID provider. Whoever began it keeps it, out of everybody else's sight, until the
// provider sends the browser back.
type Attempt struct {
	State    string `json:"s"` // comes back with the browser: it is the answer to this attempt
	Nonce    string `json:"n"` // comes back inside the token: it was made for this attempt
	Verifier string `json:"v"` // PKCE's (RFC 7636)
}

// Subject is whom an OpenID provider named.
type Subject struct {
	Issuer string
	ID     string   // unique at the issuer, and never another's
	Email  string   // verified, in lower case
	Name   string   // for people to read; the email when the provider tells none
	Values []string // of the claim that grants follow
}

// GrantRule gives a role at a scope to everybody whose claim has a value, and takes it from everybody else who signs in: what
// rules name is the provider's to say.
type GrantRule struct {
	Value string
	Role  link.Role
	Scope link.Scope
}
