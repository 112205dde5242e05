package clientcert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// How long an answer of a responder holds.
const (
	MostAnswerAge  = time.Hour   // however long the responder says
	briefAnswerAge = time.Minute // where it does not say, or does not know the certificate
	answerSkew     = 5 * time.Minute
)

// Answer is what a responder said of a certificate.
type Answer struct {
	Revocation Revocation
	Until      time.Time // from then on it has to be asked again
}

// ReadAnswer reads a responder's answer to a question (RFC 6960). It has to be signed by the issuer, or by one whom the
// issuer has certified to sign answers, and to be of now.
func ReadAnswer(q Question, body []byte, now time.Time) (Answer, error) {
	r, err := ocsp.ParseResponseForCert(body, q.Leaf, q.Issuer)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	// The package checks that the issuer has signed the responder's certificate, and no more: that of any of its clients
	// would do.
	if c := r.Certificate; c != nil && !c.Equal(q.Issuer) {
		switch {
		case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return Answer{}, errors.New("who signed the answer may not sign answers")
		case now.Before(c.NotBefore) || now.After(c.NotAfter):
			return Answer{}, errors.New("the responder's certificate is not valid now")
		}
	}
	until := now.Add(MostAnswerAge)
	switch {
	case r.ThisUpdate.After(now.Add(answerSkew)):
		return Answer{}, errors.New("the answer is of a time that is yet to come")
	case r.NextUpdate.IsZero() && r.ThisUpdate.Before(now.Add(-answerSkew)):
		return Answer{}, errors.New("the answer is old, and does not say how long it holds")
	case r.NextUpdate.IsZero():
		until = now.Add(briefAnswerAge)
	case !r.NextUpdate.After(now):
		return Answer{}, errors.New("the answer is out of date")
	case r.NextUpdate.Before(until):
		until = r.NextUpdate
	}
	switch r.Status {
	case ocsp.Good:
		return Answer{Good, until}, nil
	case ocsp.Revoked:
		return Answer{Revoked, until}, nil
	}
	if brief := now.Add(briefAnswerAge); brief.Before(until) {
		until = brief
	}
	return Answer{Unknown, until}, nil
}
