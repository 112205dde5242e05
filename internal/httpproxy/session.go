package httpproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/http2"
	"github.com/postern/postern/internal/link"
)

// session is a flow while it is served.
type session struct {
	s        *Server
	ctx      context.Context
	flow     *Flow
	wire     *wire
	tls      *tls.Conn                  // nil with a Front
	asked    bool                       // the handshake asked for a client certificate
	two      atomic.Pointer[http2.Conn] // nil of HTTP/1
	client   client                     // of every request; with a Front each has its own
	standing atomic.Pointer[standing]

	// requests are those under way; closing when no other may begin.
	requests atomic.Int32
	last     atomic.Bool // the request under way, or the next one, is the last
	leaving  atomic.Bool // and no next one is waited for

	own idle // upstream connections that nobody else may use
}

// closing in place of a number of requests.
const closing = -1 << 30

// standing is what a Trust found out about the flow's certificate.
type standing struct {
	trust    *clientcert.Trust
	of       client
	verified *clientcert.Verified
	encoded  string // the certificate as it goes into a header
}

// ErrClosed says that the server takes no flows any more.
var ErrClosed = errors.New("httpproxy: closed")

// serve does what Serve does, with a session that is among the server's.
func (c *session) serve() error {
	if c.flow.Front != nil {
		c.wire.bound(c.s.cfg.Timeouts.Send)
		return c.serveOne(c.wire)
	}
	site := c.flow.Site(c.flow.Name)
	if site == nil {
		return errors.New("no rules for this flow")
	}
	begun := time.Now()
	config := site.tlsConfig(c.s)
	c.asked = config.ClientAuth != tls.NoClientCert
	c.tls = tls.Server(c.wire, config)
	_ = c.wire.SetDeadline(begun.Add(c.s.cfg.Timeouts.Handshake)) // a closed flow fails when it is read
	if err := c.tls.HandshakeContext(context.WithoutCancel(c.ctx)); err != nil {
		c.s.record(&Record{
			Flow: c.flow, ClusterID: site.cluster, At: begun, Took: time.Since(begun), Host: c.flow.Name, Code: "tls_handshake_failed", Err: err,
		})
		return err
	}
	_ = c.wire.SetDeadline(time.Time{})
	c.wire.bound(c.s.cfg.Timeouts.Send)
	state := c.tls.ConnectionState()
	if certs := state.PeerCertificates; len(certs) > 0 {
		c.client.leaf, c.client.chain = certs[0], certs[1:]
	}
	if state.NegotiatedProtocol == "h2" {
		return c.serveTwo()
	}
	return c.serveOne(c.tls)
}

// linger ends a flow of which the client may not have sent everything, or not read everything. To close at once would
// reset it, and the reset can take the answer away from the client. What bounds it is time: a quick client sends a lot before
// it looks at the answer.
func (c *session) linger() {
	c.last.Store(true)
	if c.tls != nil {
		_ = c.tls.CloseWrite() // whether the client still hears it or not
	}
	if c.wire.CloseWrite() != nil {
		return
	}
	_ = c.wire.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, c.wire.Conn)
}

// describe writes the fields that tell the application of the client.
func describe(source netip.Addr, scheme string, port uint16) string {
	return "X-Forwarded-For: " + source.Unmap().WithZone("").String() + "\r\nX-Forwarded-Proto: " + scheme +
		"\r\nX-Forwarded-Port: " + strconv.Itoa(int(port)) + "\r\n"
}

// begin counts a request; false says that none may begin any more.
func (c *session) begin() bool {
	for {
		n := c.requests.Load()
		if n < 0 {
			return false
		}
		if c.requests.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *session) end() { c.requests.Add(-1) }

// retire has the next request be the last. A client of HTTP/2 is told so; of a flow that has just come, with that request.
func (c *session) retire() {
	c.last.Store(true)
	if two := c.two.Load(); two != nil {
		two.GoAway()
	}
}

// closeIdle closes the flow if no request is under way, and else has those that are be the last. It reports whether there was
// none. A client of HTTP/2 is told, and what it has sent before it knew is answered.
func (c *session) closeIdle() bool {
	c.last.Store(true)
	c.leaving.Store(true)
	if two := c.two.Load(); two != nil {
		two.GoAway()
		return c.requests.Load() == 0
	}
	idle := c.requests.CompareAndSwap(0, closing)
	if idle {
		c.wire.cut()
	}
	return idle
}

// stands returns what a trust holds of a client's certificate. What it said last is remembered: over a flow whose TLS ends
// here there is one certificate alone, and a proxy in front often has several requests of one client.
func (c *session) stands(t *clientcert.Trust, of *client, now time.Time) *standing {
	if known := c.standing.Load(); known != nil && known.trust == t && known.of.shows(of) {
		return known
	}
	found := &standing{trust: t, of: *of}
	if of.malformed != nil {
		found.verified = &clientcert.Verified{Standing: clientcert.Malformed, Detail: of.malformed.Error()}
	} else {
		found.verified = t.Verify(of.leaf, of.chain, now)
	}
	if of.leaf != nil {
		found.encoded = clientcert.Encode(clientcert.NGINX, of.leaf)
	}
	c.standing.Store(found)
	return found
}

// shows reports whether both show the same certificates.
func (c *client) shows(as *client) bool {
	same := func(a, b *x509.Certificate) bool { return a == b || a != nil && b != nil && a.Equal(b) }
	return c.malformed == nil && as.malformed == nil && same(c.leaf, as.leaf) && slices.EqualFunc(c.chain, as.chain, same)
}

// recheck closes the flow where new rules do not let it stay open as it is.
func (c *session) recheck(now time.Time) bool {
	if c.flow.Front != nil {
		return false // it is not the client's own; its requests are decided one by one
	}
	site := c.flow.Site(c.flow.Name)
	if site == nil {
		c.wire.cut()
		return true
	}
	if site.trust.Mode() == link.CertificatesOff {
		return false
	}
	if !c.asked {
		return c.closeIdle()
	}
	if c.client.leaf == nil {
		return false
	}
	st := c.stands(site.trust, &c.client, now)
	f := site.trust.Facts(st.verified, now, clientcert.Good, clientcert.Credentials{})
	if f.Certificate == clientcert.Trusted && f.Revocation != clientcert.Revoked {
		return false
	}
	c.wire.cut()
	return true
}

var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

var curves = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}

// tlsConfig is how the site ends TLS, by Mozilla's guideline 6.0. Every site has a Config of its own, so that no session
// of one is resumed at another.
func (s *Site) tlsConfig(of *Server) *tls.Config {
	s.tlsOnce.Do(func() {
		c := &tls.Config{
			MinVersion: tls.VersionTLS12, CipherSuites: suites, CurvePreferences: curves, GetCertificate: of.cfg.Certificate,
			NextProtos: []string{"h2", "http/1.1"}, DynamicRecordSizingDisabled: true, Time: of.cfg.Now,
		}
		if s.profile == link.TLSModern {
			c.MinVersion = tls.VersionTLS13
		}
		if s.trust.Mode() != link.CertificatesOff {
			// Whatever the client shows is verified per request, by the rules that are in force then. A session that is
			// resumed would bring a certificate that nobody has seen proven since.
			c.ClientAuth = tls.RequestClientCert
			c.SessionTicketsDisabled = true
		}
		s.tls = c
	})
	return s.tls
}

// isTimeout reports whether an error is a deadline's.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
