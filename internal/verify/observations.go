package verify

import (
	"crypto/ed25519"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/link"
)

// Observations is what a probe saw, without a word of judgement. Judge reads it; tests write it.
type Observations struct {
	Vantage    string
	StartedAt  time.Time
	Took       time.Duration
	VantageErr string // the vantage point itself failed, or the probe was cut short: nothing else counts

	DNS   DNSSeen
	Proxy string // host of the HTTP proxy that applications would use for the private name; empty: none

	Paths  []PathSeen // one per address, those of DNS first
	Docker RepositorySeen
	Public PublicSeen
}

// DNSSeen is what the resolver of the vantage point answered for the private name.
type DNSSeen struct {
	Asked     bool // false: the vantage point resolves by itself
	V4, V6    Answer
	V4Err     string
	V6Err     string
	System    []netip.Addr // as applications see it; nil when that was not asked or has no answer
	SystemErr string
	Took      time.Duration
}

// RepositorySeen is what the resolver answered for a Docker repository's name, and a handshake with that name at an address
// that completes one with the private name.
type RepositorySeen struct {
	DNS DNSSeen
	TLS TLSSeen // NotTried: no address completes TLS
}

// Failure classes a step's error in words that mean the same over every vantage point. Empty is success.
type Failure string

// The classes of failure.
const (
	TimedOut    Failure = "TIMEOUT"
	Refused     Failure = "REFUSED"
	Reset       Failure = "RESET"
	EOF         Failure = "EOF"
	Unreachable Failure = "UNREACHABLE"
	Alert       Failure = "ALERT"     // the peer answered the handshake with a TLS alert
	NotTLS      Failure = "NOT_TLS"   // the peer answered with something else than TLS
	Other       Failure = "OTHER"     // anything else; Step.Error has the words
	NotTried    Failure = "NOT_TRIED" // an earlier step failed
)

// Step is the outcome of one step.
type Step struct {
	Failure Failure
	Error   string // for people; may hold words of the peer
	Took    time.Duration
}

// Done reports whether the step was tried and succeeded.
func (s Step) Done() bool { return s.Failure == "" }

// PathSeen is what happened at one address. Host is the address, or the private name itself when the vantage point
// resolves (Addr is then the zero netip.Addr).
type PathSeen struct {
	Host      string
	Addr      netip.Addr
	FromDNS   bool // DNS led here; otherwise it is an interface of the endpoint that DNS does not name
	TCP       Step
	TLS       TLSSeen
	HTTP      HTTPSeen
	PathProof ProofSeen
}

// TLSSeen is one handshake with the private name, or a repository's, as server name. The certificate is looked at whether it verifies or
// not: the problems name what is wrong with it.
type TLSSeen struct {
	Step
	Version   string
	Subject   string
	Issuer    string
	Names     []string
	NotBefore time.Time
	NotAfter  time.Time
	ChainErr  string // no valid chain to a root; an expired certificate has none either
	NameErr   string // it is not a certificate for this name
}

// HTTPSeen is one GET.
type HTTPSeen struct {
	Step
	Status       int
	RedirectHost string // host[:port] of a redirect that leaves the private name; empty otherwise
}

// ProofSeen is one request for a proof of path. PeerKey is the key whose possession the peer showed in the handshake.
type ProofSeen struct {
	Step
	Nonce   string
	PeerKey ed25519.PublicKey // nil: its certificate has another kind of key
	Status  int
	Proof   *link.PathProof // nil: the answer is none
}

// PublicSeen is one attempt at the public name. Stage is how far it came: "" not tried, "dns", "tcp", "tls" (the
// handshake failed or was refused) or "open" (the handshake succeeded).
type PublicSeen struct {
	Step
	Stage   string
	Addr    string
	Vantage string // where it was tried from
}
