package clientcert

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestReadAnswer(t *testing.T) {
	root, other := newAuthority(t, "root", nil), newAuthority(t, "root", nil)
	alice, bob := root.issue(t, "alice"), root.issue(t, "bob")
	signer := func(by *authority, with ...func(*x509.Certificate)) *authority {
		key := newKey(t)
		template := &x509.Certificate{Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}
		return &authority{cert: by.sign(t, template, key.Public(), with...), key: key}
	}
	answer := func(by *authority, change func(*ocsp.Response)) []byte {
		t.Helper()
		r := ocsp.Response{Status: ocsp.Good, SerialNumber: alice.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(10 * time.Minute)}
		if by.cert != root.cert {
			r.Certificate = by.cert
		}
		change(&r)
		body, err := ocsp.CreateResponse(root.cert, by.cert, r, by.key)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	as := func(*ocsp.Response) {}
	of := func(from, until time.Duration) func(*ocsp.Response) {
		return func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = now.Add(from), now.Add(until) }
	}
	endless := func(from time.Duration) func(*ocsp.Response) {
		return func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = now.Add(from), time.Time{} }
	}
	good := answer(root, as)
	tests := []struct {
		name  string
		body  []byte
		want  Revocation
		holds time.Duration
		says  string // not empty: no answer
	}{
		{"good", good, Good, 10 * time.Minute, ""},
		{"revoked", answer(root, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, now.Add(-time.Hour) }), Revoked, 10 * time.Minute, ""},
		{"unknown is not good, and not for long", answer(root, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), Unknown, time.Minute, ""},
		{"unknown, for less", answer(root, func(r *ocsp.Response) { r.Status = ocsp.Unknown; r.NextUpdate = now.Add(time.Second) }), Unknown, time.Second, ""},
		{"for long", answer(root, of(-time.Hour, 7*24*time.Hour)), Good, time.Hour, ""},
		{"for how long it does not say", answer(root, endless(0)), Good, time.Minute, ""},
		{"old, for how long it does not say", answer(root, endless(-6*time.Minute)), 0, 0, "old"},
		{"out of date", answer(root, of(-time.Hour, 0)), 0, 0, "out of date"},
		{"of a clock that is a little ahead", answer(root, of(time.Minute, time.Hour)), Good, time.Hour, ""},
		{"of a time to come", answer(root, of(10*time.Minute, time.Hour)), 0, 0, "yet to come"},
		{"about another", answer(root, func(r *ocsp.Response) { r.SerialNumber = bob.SerialNumber }), 0, 0, "no response matching"},
		{"of a responder that the CA certified", answer(signer(root), as), Good, 10 * time.Minute, ""},
		{"of one that another CA certified", answer(signer(other), as), 0, 0, "bad OCSP signature"},
		{"of another CA", answer(other, as), 0, 0, "bad OCSP signature"},
		{"of a client of the CA", answer(signer(root, usage(x509.ExtKeyUsageClientAuth)), as), 0, 0, "may not sign"},
		{"of one for any use", answer(signer(root, usage(x509.ExtKeyUsageAny)), as), 0, 0, "may not sign"},
		{"of a responder that has run out", answer(signer(root, valid(-2*time.Hour, -time.Hour)), as), 0, 0, "not valid now"},
		{"of the CA, with its certificate", answer(&authority{cert: root.cert, key: root.key}, func(r *ocsp.Response) { r.Certificate = root.cert }), Good, 10 * time.Minute, ""},
		{"changed", append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1), 0, 0, "signature"},
		{"with something behind", append(good[:len(good):len(good)], 0), 0, 0, "trailing"},
		{"later", ocsp.TryLaterErrorResponse, 0, 0, "try later"},
		{"nothing", nil, 0, 0, "read the answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadAnswer(Question{Leaf: alice, Issuer: root.cert}, tt.body, now)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || got != (Answer{}) {
					t.Errorf("%+v, %v; want it to say %q", got, err, tt.says)
				}
				return
			}
			if err != nil || got.Revocation != tt.want || got.Until.Sub(now) != tt.holds {
				t.Errorf("%v for %v, %v; want %v for %v", got.Revocation, got.Until.Sub(now), err, tt.want, tt.holds)
			}
		})
	}
}

func FuzzReadAnswer(f *testing.F) {
	root := newAuthority(f, "root", nil)
	alice := root.issue(f, "alice")
	body, err := ocsp.CreateResponse(root.cert, root.cert, ocsp.Response{
		Status: ocsp.Revoked, SerialNumber: alice.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour), RevokedAt: now, IssuerHash: crypto.SHA256,
	}, root.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(ocsp.UnauthorizedErrorResponse)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := ReadAnswer(Question{Leaf: alice, Issuer: root.cert}, body, now)
		if err == nil && got.Revocation != Revoked {
			t.Errorf("an answer that the CA did not sign: %+v", got)
		}
	})
}
