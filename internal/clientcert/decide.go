package clientcert

import (
	"github.com/postern/postern/internal/link"
)

// Standing is what a certificate is worth before anybody asks whether it was revoked. The zero value is Absent.
type Standing uint8

// The standings.
const (
	Absent    Standing = iota // the client showed none
	Malformed                 // what was shown is not one certificate, or came from a peer that may not pass one on
	Untrusted                 // no entry of the trust vouches for it
	Expired                   // it, or what vouches for it, is not valid now
	Unusable                  // it is not meant for clients: extended key usages without clientAuth
	Trusted
)

func (s Standing) String() string {
	return [...]string{"absent", "malformed", "untrusted", "expired", "unusable", "trusted"}[s]
}

// Revocation is what is known of a certificate's revocation. The zero value says that nothing is, which is not good.
type Revocation uint8

// What may be known.
const (
	Unknown Revocation = iota // nobody said, or what was said is out of date
	Good
	Revoked
)

func (r Revocation) String() string { return [...]string{"unknown", "good", "revoked"}[r] }

// Identity is what a certificate says of its user.
type Identity uint8

// What it may say. The zero value is NoIdentity.
const (
	NoIdentity       Identity = iota // it names nobody
	IdentityTimedOut                 // the expression took too long
	UnknownUser                      // it names a user that the application does not have, or that is disabled
	KnownUser
)

func (i Identity) String() string {
	return [...]string{"none", "timed out", "unknown user", "known user"}[i]
}

// CredentialKind is what else a request says of its user.
type CredentialKind uint8

// The kinds. The zero value is NoCredentials.
const (
	NoCredentials       CredentialKind = iota
	NamedCredentials                   // they name a user
	NamelessCredentials                // whose they are cannot be told from them: they count as another user's
)

// Credentials are what else a request says of its user, besides its certificate. User is set of NamedCredentials alone.
type Credentials struct {
	Kind CredentialKind
	User string
}

// Facts is what the outcome of a request depends on.
type Facts struct {
	Mode        link.CertificateMode
	Certificate Standing
	Revocation  Revocation // of a Trusted certificate
	Identity    Identity   // of a Trusted certificate
	User        string     // that the certificate names; of UnknownUser and KnownUser
	Credentials Credentials
}

// Outcome is what becomes of a request.
type Outcome uint8

// The outcomes. The zero value is Refuse.
const (
	Refuse        Outcome = iota
	ByCredentials         // it goes on, and its other credentials say whose it is; it may have none
	ByCertificate         // it goes on as Decision.User
)

func (o Outcome) String() string { return [...]string{"refuse", "by credentials", "by certificate"}[o] }

// The codes that a refused client is told. They are stable, and say no more than the client has to know.
const (
	CodeRequired         = "client_certificate_required"
	CodeMalformed        = "client_certificate_malformed"
	CodeRefused          = "client_certificate_refused"
	CodeUnauthenticated  = "authentication_required"
	CodeIdentityConflict = "identity_conflict"
)

// Why a request was refused, or what stands in its record. The words are stable, and for the operator alone.
const (
	ReasonCertificateAbsent    = "CLIENT_CERTIFICATE_ABSENT"
	ReasonCertificateMalformed = "CLIENT_CERTIFICATE_MALFORMED"
	ReasonCertificateUntrusted = "CLIENT_CERTIFICATE_UNTRUSTED"
	ReasonCertificateExpired   = "CLIENT_CERTIFICATE_EXPIRED"
	ReasonCertificateUnusable  = "CLIENT_CERTIFICATE_UNUSABLE"
	ReasonCertificateRevoked   = "CLIENT_CERTIFICATE_REVOKED"
	ReasonRevocationUnknown    = "REVOCATION_UNKNOWN"
	ReasonIdentityTimedOut     = "IDENTITY_EXPRESSION_TIMED_OUT"
	ReasonNoIdentity           = "NO_IDENTITY"
	ReasonUserUnknown          = "USER_UNKNOWN"
	ReasonIdentityConflict     = "IDENTITY_CONFLICT"
)

// Decision is what becomes of a request. User is whose it is when the certificate says so; it is the only name that may
// go to the application as verified. Reason is for the operator; one on a request that goes on has to be recorded too.
type Decision struct {
	Outcome Outcome
	Status  int    // of the answer to a refused request, 0 otherwise
	Code    string // for the refused client, empty otherwise
	User    string
	Reason  string
}

// Decide applies the table of client certificates. A mode that is none of link's counts as required.
func Decide(f Facts) Decision {
	for i := range table {
		if r := &table[i]; r.when(f) {
			d := r.then
			if d.Outcome == ByCertificate {
				d.User = f.User
			}
			return d
		}
	}
	return Decision{Status: 403, Code: CodeRefused} // no row is missing, as a test shows; were one, nobody would pass
}

// row is a row of the table: when it applies, and what follows.
type row struct {
	name string
	when func(Facts) bool
	then Decision
}

// table has exactly one row for any facts, so that the order of the rows says nothing. A certificate whose revocation is
// not known names nobody: where certificates are optional the request goes on as one without, where they are required it
// ends.
var table = []row{
	{
		"off", func(f Facts) bool { return f.off() },
		Decision{Outcome: ByCredentials},
	},
	{
		"optional, absent", func(f Facts) bool { return f.is(Absent) && !f.required() },
		Decision{Outcome: ByCredentials},
	},
	{
		"required, absent", func(f Facts) bool { return f.is(Absent) && f.required() },
		Decision{Status: 403, Code: CodeRequired, Reason: ReasonCertificateAbsent},
	},
	{
		"malformed", func(f Facts) bool { return f.is(Malformed) },
		Decision{Status: 400, Code: CodeMalformed, Reason: ReasonCertificateMalformed},
	},
	{
		"untrusted", func(f Facts) bool { return !f.off() && (f.Certificate == Untrusted || f.Certificate > Trusted) },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonCertificateUntrusted},
	},
	{
		"expired", func(f Facts) bool { return f.is(Expired) },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonCertificateExpired},
	},
	{
		"not for clients", func(f Facts) bool { return f.is(Unusable) },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonCertificateUnusable},
	},
	{
		"revoked", func(f Facts) bool { return f.is(Trusted) && f.Revocation == Revoked },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonCertificateRevoked},
	},
	{
		"required, revocation unknown", func(f Facts) bool { return f.is(Trusted) && f.unsure() && f.required() },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonRevocationUnknown},
	},
	{
		"optional, revocation unknown", func(f Facts) bool { return f.is(Trusted) && f.unsure() && !f.required() },
		Decision{Outcome: ByCredentials, Reason: ReasonRevocationUnknown},
	},
	{
		"good, nobody named", func(f Facts) bool { return f.good(NoIdentity) && f.Credentials.Kind != NoCredentials },
		Decision{Outcome: ByCredentials},
	},
	{
		"good, nobody named, no credentials", func(f Facts) bool { return f.good(NoIdentity) && f.Credentials.Kind == NoCredentials },
		Decision{Status: 401, Code: CodeUnauthenticated, Reason: ReasonNoIdentity},
	},
	{
		"good, expression timed out", func(f Facts) bool { return f.good(IdentityTimedOut) },
		Decision{Status: 403, Code: CodeRefused, Reason: ReasonIdentityTimedOut},
	},
	{
		"good, user unknown or disabled", func(f Facts) bool { return f.good(UnknownUser) || f.good(KnownUser) && f.User == "" },
		Decision{Status: 401, Code: CodeUnauthenticated, Reason: ReasonUserUnknown},
	},
	{
		"good, user known", func(f Facts) bool { return f.good(KnownUser) && f.User != "" && !f.conflict() },
		Decision{Outcome: ByCertificate},
	},
	{
		"good, user known, credentials of another", func(f Facts) bool { return f.good(KnownUser) && f.User != "" && f.conflict() },
		Decision{Status: 403, Code: CodeIdentityConflict, Reason: ReasonIdentityConflict},
	},
}

// off: the empty mode is the zero value of link.ClientCertificates, which asks for no certificates.
func (f Facts) off() bool { return f.Mode == link.CertificatesOff || f.Mode == "" }

func (f Facts) required() bool { return f.Mode != link.CertificatesOptional }

func (f Facts) is(s Standing) bool { return !f.off() && f.Certificate == s }

// unsure: what is neither good nor revoked is unknown.
func (f Facts) unsure() bool { return f.Revocation != Good && f.Revocation != Revoked }

func (f Facts) good(i Identity) bool {
	names := f.Identity
	if names > KnownUser { // which is none of ours: it names nobody
		names = NoIdentity
	}
	return f.is(Trusted) && f.Revocation == Good && names == i
}

// conflict reports whether the other credentials are those of another user. Names are compared as they are: whether the
// application tells ALICE from alice is not known here, and two spellings are no reason to let one in as the other.
func (f Facts) conflict() bool {
	switch f.Credentials.Kind {
	case NoCredentials:
		return false
	case NamedCredentials:
		return f.Credentials.User != f.User
	default:
		return true
	}
}
