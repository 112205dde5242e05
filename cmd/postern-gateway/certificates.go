package main

import (
	"fmt"
	"net"
	"os"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/link"
)

// certificates are those that the gateway shows where TLS ends at it.
type certificates struct {
	source    certificate.Source // nil for none
	directory *certificate.Directory
	acme      *certificate.ACME
}

// openCertificates opens what the flags name. The caller closes the result, also after an error.
func (p *process) openCertificates() (err error) {
	c := &p.certs
	var sources certificate.Sources
	if p.certificates != "" {
		if c.directory, err = certificate.OpenDirectory(p.certificates, nil, p.log); err != nil {
			return fmt.Errorf("as user %d: %w", os.Getuid(), err)
		}
		sources = append(sources, c.directory)
	}
	if len(p.acme.Domains) > 0 {
		acme := p.acme
		acme.Log, acme.Port = p.log, p.challengePort()
		if acme.Port == 0 {
			return fmt.Errorf("--acme-domain without --public: the authority comes to the public listener to see who holds a name; %w", errUsage)
		}
		if c.acme, err = certificate.NewACME(acme); err != nil {
			return err
		}
		sources = append(sources, c.acme)
	}
	if len(sources) > 0 {
		c.source = sources
	}
	return nil
}

// challengePort is the port of the first public listener, 0 without one.
func (p *process) challengePort() uint16 {
	for _, l := range p.config.Listeners {
		if l.Side == link.PublicListener && l.Front == nil && l.Listener != nil {
			return l.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
		}
	}
	return 0
}

func (c *certificates) close() {
	if c.directory != nil {
		c.directory.Close()
	}
	if c.acme != nil {
		c.acme.Close()
	}
}
