package main

import (
	"crypto/tls"
	"log/slog"
	"slices"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/link"
)

// certificates is where the API's certificate comes from.
type certificates struct {
	config *tls.Config  // nil: the API speaks plain HTTP
	manage func() error // begins to ask an authority, once the API listens; nil when none is asked
	close  func()       // ends that
}

// apiCertificates prepares the TLS of an API that listens on port. dir keeps what an authority issued.
func apiCertificates(t config.TLS, dir string, port uint16, log *slog.Logger) (certificates, error) {
	switch {
	case t.CertificateFile != "":
		pair, err := certificate.OpenPair(t.CertificateFile, t.KeyFile, nil, log.With("of", "API"))
		if err != nil {
			return certificates{}, &link.Error{
				Kind: link.Invalid, Reason: "CERTIFICATE", Field: "api.tls", Message: "the API's certificate cannot be used", Err: err,
				Hint: "give a PEM chain and the key that belongs to its first certificate",
			}
		}
		return certificates{config: modernTLS(pair.Certificate, nil), close: func() {}}, nil
	case len(t.ACME.Domains) > 0:
		a := t.ACME
		acme, err := certificate.NewACME(certificate.ACMEConfig{
			Domains: a.Domains, Email: a.Email, DirectoryURL: a.DirectoryURL, CAFile: a.CAFile, ChallengeAddr: a.ChallengeAddr,
			Port: port, Dir: dir, Log: log,
		})
		if err != nil {
			return certificates{}, err
		}
		return certificates{
			config: modernTLS(acme.Certificate, []string{certificate.ChallengeProtocol}), manage: acme.Manage, close: acme.Close,
		}, nil
	}
	return certificates{close: func() {}}, nil
}

// modernTLS is TLS 1.2 or later with what the standard library holds to be safe, for HTTP/2 and HTTP/1.1.
func modernTLS(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), also []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: get,
		NextProtos: slices.Concat([]string{"h2", "http/1.1"}, also),
	}
}
