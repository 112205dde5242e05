package clientcert

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

// TestDecide is the table of docs, row by row.
func TestDecide(t *testing.T) {
	const (
		off, optional, required = link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired
	)
	alice, bob := Credentials{NamedCredentials, "alice"}, Credentials{NamedCredentials, "bob"}
	nameless := Credentials{Kind: NamelessCredentials}
	goesOn := Decision{Outcome: ByCredentials}
	refused := func(status int, code, reason string) Decision {
		return Decision{Status: status, Code: code, Reason: reason}
	}
	asAlice := Decision{Outcome: ByCertificate, User: "alice"}
	required403 := refused(403, "client_certificate_required", "CLIENT_CERTIFICATE_ABSENT")
	malformed400 := refused(400, "client_certificate_malformed", "CLIENT_CERTIFICATE_MALFORMED")
	refused403 := func(reason string) Decision { return refused(403, "client_certificate_refused", reason) }
	audited := Decision{Outcome: ByCredentials, Reason: "REVOCATION_UNKNOWN"}
	tests := []struct {
		mode        link.CertificateMode
		certificate Standing
		revocation  Revocation
		identity    Identity
		credentials Credentials
		want        Decision
	}{
		{off, Absent, 0, 0, Credentials{}, goesOn},
		{off, Trusted, Good, KnownUser, Credentials{}, goesOn},
		{off, Trusted, Revoked, KnownUser, bob, goesOn},
		{"", Untrusted, 0, 0, alice, goesOn},

		{optional, Absent, 0, 0, Credentials{}, goesOn},
		{optional, Absent, 0, 0, alice, goesOn},
		{required, Absent, 0, 0, Credentials{}, required403},
		{required, Absent, 0, 0, alice, required403},
		{"SOMETIMES", Absent, 0, 0, alice, required403},

		{optional, Malformed, 0, 0, alice, malformed400},
		{required, Malformed, 0, 0, alice, malformed400},
		{optional, Untrusted, 0, 0, alice, refused403("CLIENT_CERTIFICATE_UNTRUSTED")},
		{required, Untrusted, 0, 0, alice, refused403("CLIENT_CERTIFICATE_UNTRUSTED")},
		{optional, Expired, 0, 0, alice, refused403("CLIENT_CERTIFICATE_EXPIRED")},
		{required, Expired, 0, 0, alice, refused403("CLIENT_CERTIFICATE_EXPIRED")},
		{optional, Unusable, 0, 0, alice, refused403("CLIENT_CERTIFICATE_UNUSABLE")},
		{required, Unusable, 0, 0, alice, refused403("CLIENT_CERTIFICATE_UNUSABLE")},

		{optional, Trusted, Revoked, KnownUser, alice, refused403("CLIENT_CERTIFICATE_REVOKED")},
		{required, Trusted, Revoked, KnownUser, alice, refused403("CLIENT_CERTIFICATE_REVOKED")},
		{required, Trusted, Unknown, KnownUser, alice, refused403("REVOCATION_UNKNOWN")},
		{optional, Trusted, Unknown, KnownUser, alice, audited},
		{optional, Trusted, Unknown, KnownUser, Credentials{}, audited}, // and not as alice
		{optional, Trusted, Unknown, IdentityTimedOut, bob, audited},

		{optional, Trusted, Good, NoIdentity, alice, goesOn},
		{required, Trusted, Good, NoIdentity, nameless, goesOn},
		{optional, Trusted, Good, NoIdentity, Credentials{}, refused(401, "authentication_required", "NO_IDENTITY")},
		{required, Trusted, Good, NoIdentity, Credentials{}, refused(401, "authentication_required", "NO_IDENTITY")},
		{optional, Trusted, Good, IdentityTimedOut, alice, refused403("IDENTITY_EXPRESSION_TIMED_OUT")},
		{required, Trusted, Good, IdentityTimedOut, Credentials{}, refused403("IDENTITY_EXPRESSION_TIMED_OUT")},
		{optional, Trusted, Good, UnknownUser, alice, refused(401, "authentication_required", "USER_UNKNOWN")},
		{required, Trusted, Good, UnknownUser, Credentials{}, refused(401, "authentication_required", "USER_UNKNOWN")},

		{optional, Trusted, Good, KnownUser, Credentials{}, asAlice},
		{required, Trusted, Good, KnownUser, Credentials{}, asAlice},
		{required, Trusted, Good, KnownUser, alice, asAlice},
		{optional, Trusted, Good, KnownUser, bob, refused(403, "identity_conflict", "IDENTITY_CONFLICT")},
		{required, Trusted, Good, KnownUser, bob, refused(403, "identity_conflict", "IDENTITY_CONFLICT")},
		{required, Trusted, Good, KnownUser, nameless, refused(403, "identity_conflict", "IDENTITY_CONFLICT")},
		{required, Trusted, Good, KnownUser, Credentials{NamedCredentials, "Alice"}, refused(403, "identity_conflict", "IDENTITY_CONFLICT")},
	}
	for _, tt := range tests {
		f := Facts{Mode: tt.mode, Certificate: tt.certificate, Revocation: tt.revocation, Identity: tt.identity, User: "alice", Credentials: tt.credentials}
		if diff := cmp.Diff(tt.want, Decide(f)); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", f, diff)
		}
	}
}

// TestTableIsTotal: whatever the facts, exactly one row is theirs, also for values that nobody has thought of; and nobody
// gets through as a user without a good certificate that names exactly this one.
func TestTableIsTotal(t *testing.T) {
	modes := []link.CertificateMode{"", link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired, "OTHER"}
	seen := map[string]bool{}
	for _, mode := range modes {
		for certificate := range Trusted + 2 {
			for revocation := range Revoked + 2 {
				for identity := range KnownUser + 2 {
					for kind := range NamelessCredentials + 2 {
						for _, user := range []string{"", "alice", "bob"} {
							for _, other := range []string{"", "alice", "bob"} {
								f := Facts{mode, certificate, revocation, identity, user, Credentials{kind, other}}
								var rows []string
								for _, r := range table {
									if r.when(f) {
										rows = append(rows, r.name)
										seen[r.name] = true
									}
								}
								if len(rows) != 1 {
									t.Fatalf("%+v is of the rows %q", f, rows)
								}
								d := Decide(f)
								through := d.Outcome == ByCertificate
								if through && (f.off() || certificate != Trusted || revocation != Good || identity != KnownUser || user == "" || f.conflict()) {
									t.Fatalf("%+v goes on as %q", f, d.User)
								}
								if through != (d.User != "") || through && d.User != user {
									t.Fatalf("%+v: %+v", f, d)
								}
								if (d.Outcome == Refuse) != (d.Status >= 400 && d.Code != "" && d.Reason != "") {
									t.Fatalf("%+v is refused without saying so: %+v", f, d)
								}
							}
						}
					}
				}
			}
		}
	}
	for _, r := range table {
		if !seen[r.name] {
			t.Errorf("no facts lead to the row %q", r.name)
		}
	}
	names := make([]string, 0, len(table))
	for _, r := range table {
		names = append(names, r.name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(table) {
		t.Error("two rows have one name")
	}
}
