package httpproxy

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"

	"github.com/postern/postern/internal/clientcert"
)

// Front is what a flow brings that a trusted reverse proxy in front of the gateway opened. The proxy ended TLS; the flow
// is plain HTTP/1, and every request on it may be of another client.
type Front struct {
	// Format is how the proxy writes a client's certificate, into Header, or where that is empty into the format's usual
	// one. The empty format says that it tells of none. What it says is verified again.
	Format clientcert.Format
	Header string

	// Site is Flow's Site, told also where the request comes from, as the proxy's X-Forwarded-For has it.
	Site func(host string, source netip.Addr) *Site

	// Enter, when there is one, is asked for every request that Site has just let in, and reports whether there is room for it;
	// one for which there is none is answered with 429. The request's Record tells of its end.
	Enter func() bool
}

var errFront = errors.New("the reverse proxy in front does not say as it should where the request comes from")

// fronted reads what the proxy in front says of a request: the client's address, which is the last one, since that is what
// the proxy itself has seen; the scheme and the port by which the client reached it; and the certificate.
func (x *exchange) fronted(front *Front) *failure {
	var source netip.Addr
	scheme, port := "https", x.c.flow.Port
	name := strings.ToLower(front.Header)
	if name == "" {
		name = strings.ToLower(front.Format.Header())
	}
	var values, chains []string
	for i := range x.req.fields {
		f := &x.req.fields[i]
		switch lower := strings.ToLower(f.name); lower {
		case "x-forwarded-for":
			last := f.value[strings.LastIndexByte(f.value, ',')+1:]
			addr, err := netip.ParseAddr(trim(last))
			if err != nil {
				return badRequest.because(errFront)
			}
			source = addr.Unmap().WithZone("")
		case "x-forwarded-proto":
			if scheme = strings.ToLower(f.value); scheme != "http" && scheme != "https" {
				return badRequest.because(errFront)
			}
		case "x-forwarded-port":
			n, ok := parseLength(f.value)
			if !ok || n >= 1<<16 {
				return badRequest.because(errFront)
			}
			port = uint16(n)
		case name:
			values = append(values, f.value)
		case strings.ToLower(clientcert.ChainHeader):
			chains = append(chains, f.value)
		}
	}
	if !source.IsValid() {
		return badRequest.because(errFront)
	}
	x.own = client{source: source, scheme: scheme, port: port, forwarded: describe(source, scheme, port)}
	x.client = &x.own
	if front.Format == "" {
		return nil
	}
	leaf, chain, err := clientcert.Parse(front.Format, values)
	if err == nil && leaf != nil && front.Format == clientcert.RFC9440 {
		chain, err = clientcert.ParseChain(chains)
	}
	x.own.leaf, x.own.chain, x.own.malformed = leaf, chain, err
	return nil
}

// client is whom a request is of: with a Front every one may be of another.
type client struct {
	source    netip.Addr
	scheme    string // by which it reached the outermost proxy
	port      uint16 // and the port
	forwarded string // the lines that tell the application so

	leaf      *x509.Certificate // that it showed, nil when it showed none
	chain     []*x509.Certificate
	malformed error // what was told is no certificate
}
