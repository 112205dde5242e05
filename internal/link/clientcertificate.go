package link

import "time"

// ClientCertificates is whose certificates a cluster's clients may show at the gateway, and what they say of who the
// client is. The zero value asks for none.
type ClientCertificates struct {
	Mode CertificateMode

	// Identity are the parts of a certificate that may name its user: the first that there is counts. Expression, when not
	// empty, takes the user's name out of it. Samples were tried when the settings were saved.
	Identity   []IdentitySource
	Expression string
	Samples    []IdentitySample

	Users Users

	// OCSP asks the responders that certificates name, of those at the hosts of Responders alone.
	OCSP       bool
	Responders []string

	Trusted []TrustedCertificate
	Revoked []RevokedCertificate
}

// IdentitySource is a part of a certificate that may name its user.
type IdentitySource string

// The sources.
const (
	IdentitySubjectCN IdentitySource = "subject.cn"
	IdentityEmail     IdentitySource = "san.email"
	IdentityURI       IdentitySource = "san.uri"
	IdentityDNS       IdentitySource = "san.dns"
)

// IdentitySample is a text and what the expression takes out of it; an empty Want says that it finds nothing.
type IdentitySample struct {
	Text, Want string
}

// Users says which users the cluster's application has. The zero value says that it has every user but the disabled.
type Users struct {
	Listed   bool     // only Names are known
	Names    []string // sorted
	Disabled []string // sorted
}

// TrustKind is what a trusted certificate vouches for.
type TrustKind string

// The kinds.
const (
	TrustCA   TrustKind = "CA"   // every certificate that leads to it
	TrustLeaf TrustKind = "LEAF" // itself alone, compared by its SHA-256
)

// TrustedCertificate is an entry of a cluster's trust. Taking it away revokes everything under it at once.
type TrustedCertificate struct {
	ID        ID
	ClusterID ID
	Name      string // by which people know it, unique in the cluster
	Kind      TrustKind
	DER       []byte
	// CRL is the newest revocation list that this CA has signed, DER, nil when none was given. One with a lower number than
	// an earlier one is not taken.
	CRL       []byte
	CRLNumber string // decimal, empty without a CRL
	CRLNext   time.Time
	CreatedAt time.Time
}

// RevokedCertificate is one certificate that is not trusted though an entry vouches for it.
type RevokedCertificate struct {
	ID        ID
	ClusterID ID
	TrustedID ID     // the CA that issued it
	Serial    string // lower hexadecimal without leading zeros
	Reason    string // for people
	RevokedAt time.Time
}

// ProxyRules has the flows of a cluster end at the gateway, which speaks HTTP with both sides.
type ProxyRules struct {
	Proxy        ReverseProxy // whose Server is Embedded
	Certificates ClientCertificates

	// TicketKey seals what redirects lead to, while they are rewritten: TicketKeySize bytes that all gateways of the cluster
	// have, and nobody else. Without it each gateway has one of its own, and no other can open what it sealed.
	TicketKey []byte
}

// TicketKeySize is how long a TicketKey is, in bytes.
const TicketKeySize = 32
