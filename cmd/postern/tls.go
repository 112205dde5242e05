package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

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
		files := &certificateFiles{certFile: t.CertificateFile, keyFile: t.KeyFile, now: time.Now, log: log}
		if err := files.read(); err != nil {
			return certificates{}, err
		}
		return certificates{config: modernTLS(files.certificate, nil), close: func() {}}, nil
	case len(t.ACME.Domains) > 0:
		return acmeCertificates(t.ACME, dir, port, log)
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

// recheck is how long a certificate counts before its files are looked at again.
const recheck = time.Second

// certificateFiles is a certificate that is read again when one of its files changes. A new pair that is not good leaves
// the old one in its place: a mistake in a renewal must not close the door before the old certificate ends.
type certificateFiles struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	seen    [2]fileState // of the pair that was read last, good or not
	checked time.Time
}

// fileState tells whether a file is another than before.
type fileState struct {
	modified time.Time
	size     int64
}

func stateOf(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	return fileState{info.ModTime(), info.Size()}, nil
}

// read reads the pair, and notes what it read.
func (f *certificateFiles) read() error {
	for i, path := range []string{f.certFile, f.keyFile} {
		// Before the content: a change in between is then noticed at the next look.
		f.seen[i], _ = stateOf(path)
	}
	f.checked = f.now()
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return &link.Error{
			Kind: link.Invalid, Reason: "CERTIFICATE", Field: "api.tls", Message: "the API's certificate cannot be used", Err: err,
			Hint: "give a PEM chain and the key that belongs to its first certificate",
		}
	}
	f.cert = &cert
	return nil
}

// certificate is tls.Config.GetCertificate.
func (f *certificateFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.checked) < recheck {
		return f.cert, nil
	}
	f.checked = f.now()
	for i, path := range []string{f.certFile, f.keyFile} {
		is, err := stateOf(path)
		if err != nil || is == f.seen[i] {
			continue // a file that is not there is one that is being replaced
		}
		if err := f.read(); err != nil {
			f.log.Error("the API's new certificate is not used, the old one still is", "err", err)
		} else {
			f.log.Info("the API's certificate was read again", "expires", f.cert.Leaf.NotAfter)
		}
		break
	}
	return f.cert, nil
}

// acmeCertificates gets certificates from an ACME authority, RFC 8555, and renews them.
func acmeCertificates(a config.ACME, dir string, port uint16, log *slog.Logger) (certificates, error) {
	roots, err := readRoots(a.CAFile)
	if err != nil {
		return certificates{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var magic *certmagic.Config
	quiet := zap.NewNop() // what matters is told by OnEvent
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           quiet,
	})
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(dir, "acme")}, Logger: quiet,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_failed":
				log.Error("the authority issued no certificate; it is asked again", "domain", data["identifier"], "err", data["error"])
			case "cert_obtained":
				log.Info("the authority issued a certificate", "domain", data["identifier"], "renewal", data["renewal"])
			}
			return nil
		},
	})
	template := certmagic.ACMEIssuer{
		CA: a.DirectoryURL, Email: a.Email, Agreed: true, TrustedRoots: roots, Logger: quiet,
		// The listener of the API answers the TLS challenge itself.
		AltTLSALPNPort: int(port), DisableHTTPChallenge: a.ChallengeAddr == "",
	}
	if a.ChallengeAddr != "" {
		host, challengePort, _ := net.SplitHostPort(a.ChallengeAddr)
		template.ListenHost = host
		template.AltHTTPPort, _ = strconv.Atoi(challengePort) // package config has checked it
	}
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, template)}
	return certificates{
		config: modernTLS(magic.GetCertificate, []string{"acme-tls/1"}), // RFC 8737
		manage: func() error { return magic.ManageAsync(ctx, a.Domains) },
		close: func() {
			cancel()
			cache.Stop()
		},
	}, nil
}

// readRoots reads a file of PEM certificates; nil, the system's, without one.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err == nil {
		pool := x509.NewCertPool()
		if pool.AppendCertsFromPEM(b) {
			return pool, nil
		}
		err = errors.New("it holds no PEM certificate")
	}
	return nil, &link.Error{Kind: link.Invalid, Reason: "CA_FILE", Message: fmt.Sprintf("the roots in %s cannot be used", path), Err: err, Hint: "give a file of PEM certificates"}
}
