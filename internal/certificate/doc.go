// Package certificate has the certificates that a server shows, by the name that a client asks for: pairs of files, which
// are read again when they change, and what an ACME authority issues. There is no certificate to fall back on: a client
// that asks for a name without one gets none, and so learns nothing of the others.
package certificate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// ErrNone says that there is no certificate for the name that a client asked for.
var ErrNone = errors.New("no certificate for this name")

// Source gives certificates. Its methods may be called from many goroutines at once.
type Source interface {
	// Certificate is tls.Config's GetCertificate. It does no I/O. The error wraps ErrNone when there is none.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// All returns what there is to show, sorted by name, each pair once.
	All() []Shown
}

// Shown is a certificate that is shown to those who ask for it.
type Shown struct {
	Name    string // by which people know it: the pair's, or the domain
	Names   []string
	Expires time.Time
}

// Sources asks one source after the other.
type Sources []Source

// Certificate implements Source.
func (s Sources) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for _, from := range s {
		cert, err := from.Certificate(hello)
		if err == nil || !errors.Is(err, ErrNone) {
			return cert, err
		}
	}
	return nil, none(hello)
}

// All implements Source.
func (s Sources) All() (all []Shown) {
	for _, from := range s {
		all = append(all, from.All()...)
	}
	return all
}

// Answers reports whether one of the sources proves to an authority that it holds a name: see ACME.Answers.
func (s Sources) Answers(name string) bool {
	for _, from := range s {
		if a, ok := from.(interface{ Answers(string) bool }); ok && a.Answers(name) {
			return true
		}
	}
	return false
}

func none(hello *tls.ClientHelloInfo) error {
	return fmt.Errorf("%w: %s", ErrNone, link.Quote(hello.ServerName))
}

// askedFor is the name that a client asks for, as certificates are found by; empty when it asks for none.
func askedFor(hello *tls.ClientHelloInfo) string {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if net.ParseIP(name) != nil {
		return ""
	}
	return name
}

// wildcardOf is the wildcard that covers a name (RFC 9525, section 6.3): that of its domain, one label up.
func wildcardOf(name string) string {
	_, domain, ok := strings.Cut(name, ".")
	if !ok {
		return ""
	}
	return "*." + domain
}
