package certificate

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
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/postern/postern/internal/link"
)

// ChallengeProtocol is what an authority offers alone, in a TLS handshake, when it wants to see that a server holds a name
// (RFC 8737).
const ChallengeProtocol = "acme-tls/1"

// ACMEConfig says which certificates an authority is asked for.
type ACMEConfig struct {
	Domains      []string
	Email        string // of the account; may be empty
	DirectoryURL string
	CAFile       string // PEM roots of the authority's own TLS; the system's when empty
	// ChallengeAddr, host:port, is where the authority's HTTP challenge arrives from port 80. Empty means that it is
	// answered in TLS alone, at Port, which is the server's own.
	ChallengeAddr string
	Port          uint16
	Dir           string // keeps accounts, keys and certificates
	Log           *slog.Logger
}

// ACME has certificates of an ACME authority, RFC 8555, and renews them.
type ACME struct {
	domains []string
	magic   *certmagic.Config
	cache   *certmagic.Cache
	ctx     context.Context
	quit    context.CancelFunc
}

// NewACME prepares to ask an authority. Certificates that Dir holds are shown from Manage on.
func NewACME(cfg ACMEConfig) (*ACME, error) {
	roots, err := ReadRoots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	quiet := zap.NewNop() // what matters is told by OnEvent
	template := certmagic.ACMEIssuer{
		CA: cfg.DirectoryURL, Email: cfg.Email, Agreed: true, TrustedRoots: roots, Logger: quiet,
		// The server's own listener answers the TLS challenge.
		AltTLSALPNPort: int(cfg.Port), DisableHTTPChallenge: cfg.ChallengeAddr == "",
	}
	if cfg.ChallengeAddr != "" {
		host, port, err := net.SplitHostPort(cfg.ChallengeAddr)
		if err == nil {
			template.AltHTTPPort, err = strconv.Atoi(port)
		}
		if err != nil {
			return nil, fmt.Errorf("address of the HTTP challenge %s: give host:port", link.Quote(cfg.ChallengeAddr))
		}
		template.ListenHost = host
	}
	a := &ACME{domains: slices.Clone(cfg.Domains)}
	a.ctx, a.quit = context.WithCancel(context.Background())
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		Logger:           quiet,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(cfg.Dir, "acme")}, Logger: quiet,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_failed":
				cfg.Log.Error("the authority issued no certificate; it is asked again", "domain", data["identifier"], "err", data["error"])
			case "cert_obtained":
				cfg.Log.Info("the authority issued a certificate", "domain", data["identifier"], "renewal", data["renewal"])
			}
			return nil
		},
	})
	a.magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.magic, template)}
	return a, nil
}

// Manage begins to ask the authority, in the background and for as long as it takes. Call it when the server listens.
func (a *ACME) Manage() error { return a.magic.ManageAsync(a.ctx, a.domains) }

// Close ends asking the authority.
func (a *ACME) Close() {
	a.quit()
	a.cache.Stop()
}

// Answers reports whether the authority may be asked for a certificate of a name, so that it comes to see who holds it.
func (a *ACME) Answers(name string) bool { return slices.Contains(a.domains, name) }

// Certificate implements Source. It answers challenges, too.
func (a *ACME) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !a.Answers(askedFor(hello)) {
		return nil, none(hello)
	}
	if hello.Conn == nil {
		known := *hello
		known.Conn = noConn{} // the library asks it for its addresses without a look
		hello = &known
	}
	cert, err := a.magic.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("%w yet: %w", none(hello), err)
	}
	return cert, nil
}

// All implements Source.
func (a *ACME) All() (all []Shown) {
	for _, domain := range slices.Sorted(slices.Values(a.domains)) {
		for _, cert := range a.cache.AllMatchingCertificates(domain) {
			if cert.Leaf != nil && slices.ContainsFunc(cert.Names, func(n string) bool { return strings.EqualFold(n, domain) }) {
				all = append(all, Shown{Name: domain, Names: slices.Clone(cert.Names), Expires: cert.Leaf.NotAfter})
				break
			}
		}
	}
	return all
}

// noConn stands for the connection of a ClientHello that has none.
type noConn struct{ net.Conn }

func (noConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (noConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// ReadRoots reads a file of PEM certificates; nil, the system's, without one.
func ReadRoots(path string) (*x509.CertPool, error) {
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
	return nil, &link.Error{
		Kind: link.Invalid, Reason: "CA_FILE", Message: fmt.Sprintf("the roots in %s cannot be used", path), Err: err,
		Hint: "give a file of PEM certificates",
	}
}
