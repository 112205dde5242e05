package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/postern/postern/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	privateName = "acme.us-east-1.pe.postern.test"
	publicName  = "acme.us-east-1.postern.test"
	endpoint    = link.EndpointID("vpce-0a1b2c3d4e5f60718")
	clusterID   = link.ID("0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11")
)

// world is a small real network on loopback: a certificate authority, a gateway with a service behind it, a DNS server.
type world struct {
	t        *testing.T
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	roots    *x509.CertPool
	proofKey ed25519.PrivateKey
	zone     zone
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, roots: x509.NewCertPool(), zone: zone{}}
	_, w.proofKey, _ = ed25519.GenerateKey(rand.Reader)
	w.caKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ca = w.certificate("Postern test CA", nil, time.Hour, w.caKey.Public())
	w.roots.AddCert(w.ca)
	return w
}

// certificate signs a certificate that ends after left (which may have passed already). Without names it is the CA's own.
func (w *world) certificate(cn string, names []string, left time.Duration, pub any) *x509.Certificate {
	w.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(left),
		IsCA: len(names) == 0, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent := w.ca
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, w.caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return cert
}

func (w *world) serviceCert(left time.Duration, names ...string) tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return tls.Certificate{Certificate: [][]byte{w.certificate(names[0], names, left, key.Public()).Raw}, PrivateKey: key}
}

// proofCert is a gateway's certificate: its proof key, signed by itself.
func (w *world) proofCert(key ed25519.PrivateKey) tls.Certificate {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// gatewaySpec is what the far end of the path does. The zero value is a healthy path; a set field bends it.
type gatewaySpec struct {
	cert      *tls.Certificate       // of the service
	refuse    func(name string) bool // close without a byte, as a gateway refuses
	answer    http.HandlerFunc       // of the service
	endpoint  link.EndpointID        // that the proof names
	listener  link.Listener          // that the proof names
	name      string                 // that the proof names
	nonce     string                 // that the proof answers, when it is an old one
	tamper    func(*link.PathProof)  // after signing
	intercept bool                   // a stranger's key in the handshake, the genuine key under the proof
	raw       func(net.Conn)         // no TLS at all
	noProof   bool                   // the gateway answers 404 instead of a proof
	addr      string                 // listen address; 127.0.0.1:0 when empty
}

// gateway serves spec and returns its port.
func (w *world) gateway(spec gatewaySpec) uint16 {
	w.t.Helper()
	if spec.addr == "" {
		spec.addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", spec.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	if spec.raw != nil {
		w.serveRaw(ln, spec.raw)
	} else {
		w.serveTLS(ln, spec)
	}
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

func (w *world) serveRaw(ln net.Listener, handle func(net.Conn)) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { handle(c); _ = c.Close() })
		}
	})
	w.t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
}

func (w *world) serveTLS(ln net.Listener, spec gatewaySpec) {
	service := w.serviceCert(90*24*time.Hour, privateName, publicName)
	if spec.cert != nil {
		service = *spec.cert
	}
	handshakeKey := w.proofKey
	if spec.intercept {
		_, handshakeKey, _ = ed25519.GenerateKey(rand.Reader)
	}
	proof := w.proofCert(handshakeKey)
	srv := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if spec.refuse != nil && spec.refuse(h.ServerName) {
				_ = h.Conn.Close() // not a byte, not even an alert
				return nil, net.ErrClosed
			}
			if strings.HasPrefix(h.ServerName, link.ProofLabel+".") {
				return &proof, nil
			}
			return &service, nil
		}},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, link.ProofLabel+".") {
				w.answerProof(rw, r, spec)
				return
			}
			if spec.answer != nil {
				spec.answer(rw, r)
				return
			}
			_, _ = io.WriteString(rw, "hello\n")
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(ln, "", "") }()
	w.t.Cleanup(func() { _ = srv.Close(); <-done })
}

func (w *world) answerProof(rw http.ResponseWriter, r *http.Request, spec gatewaySpec) {
	if spec.noProof {
		http.NotFound(rw, r)
		return
	}
	p := link.PathProof{
		Nonce: r.URL.Query().Get("nonce"), ClusterID: clusterID, Name: r.TLS.ServerName, Listener: link.PrivateListener,
		EndpointID: endpoint, Source: r.RemoteAddr, GatewayID: "gw-1", IssuedAt: time.Now().UTC(),
	}
	if spec.endpoint != "" {
		p.EndpointID = spec.endpoint
	}
	if spec.listener != "" {
		p.Listener, p.EndpointID = spec.listener, ""
	}
	if spec.name != "" {
		p.Name = spec.name
	}
	if spec.nonce != "" {
		p.Nonce = spec.nonce
	}
	p = p.Sign(w.proofKey)
	if spec.tamper != nil {
		spec.tamper(&p)
	}
	_ = json.NewEncoder(rw).Encode(p)
}

// target is the path to a gateway of this world, with everything known about it.
func (w *world) target(port uint16) Target {
	return Target{
		PrivateName: privateName, Port: port, ClusterID: clusterID, EndpointID: endpoint,
		InterfaceAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		ProofKeys:      []ed25519.PublicKey{w.proofKey.Public().(ed25519.PublicKey)},
		RootCAs:        w.roots, HTTPPath: "/", StepTimeout: 20 * time.Second,
	}
}

// vantage is this machine with the world's DNS.
func (w *world) vantage() Vantage {
	var d net.Dialer
	return Vantage{Name: "test network", Dial: d.DialContext, Resolve: Resolver(w.dns(w.zone))}
}

// zone maps "name TYPE" to the records of the answer, in zone-file form. A name with no key at all does not exist.
type zone map[string][]string

func (z zone) ServeDNS(rw dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	name := trimDot(q.Question[0].Name)
	rrs, ok := z[name+" "+dns.TypeToString[q.Question[0].Qtype]]
	for _, text := range rrs {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err) // the test's own records
		}
		m.Answer = append(m.Answer, rr)
	}
	exists := ok
	for key := range z {
		exists = exists || strings.HasPrefix(key, name+" ")
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	_, udp := rw.LocalAddr().(*net.UDPAddr)
	if udp {
		m.Truncate(512)
	}
	_ = rw.WriteMsg(m)
}

// dns serves h over UDP and TCP on one port of loopback and returns its address.
func (w *world) dns(h dns.Handler) string {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, srv := range []*dns.Server{{Listener: ln, Handler: h}, {PacketConn: pc, Handler: h}} {
		up, down := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		go func() { defer close(down); _ = srv.ActivateAndServe() }()
		<-up
		w.t.Cleanup(func() { _ = srv.ShutdownContext(context.Background()); <-down })
	}
	return ln.Addr().String()
}

// socks serves SOCKS5 with user "vpc-1" and password "x". reply chooses per destination: 0 connects, other codes are
// answered as they are, and 0xff never answers, as a dropped packet.
func (w *world) socks(reply func(addr string) byte) string {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.serveRaw(ln, func(c net.Conn) {
		b := make([]byte, 512)
		read := func(n int) []byte {
			if _, err := io.ReadFull(c, b[:n]); err != nil {
				return make([]byte, n)
			}
			return append([]byte(nil), b[:n]...)
		}
		read(int(read(2)[1]))
		_, _ = c.Write([]byte{5, 2})
		user := string(read(int(read(2)[1])))
		pass := string(read(int(read(1)[0])))
		if user != "vpc-1" || pass != "x" {
			_, _ = c.Write([]byte{1, 1})
			return
		}
		_, _ = c.Write([]byte{1, 0})
		var host string
		switch head := read(4); head[3] {
		case 1:
			host = netip.AddrFrom4([4]byte(read(4))).String()
		case 4:
			host = netip.AddrFrom16([16]byte(read(16))).String()
		default:
			host = string(read(int(read(1)[0])))
		}
		p := read(2)
		addr := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(p[0])<<8|uint16(p[1]))
		dest := net.JoinHostPort(host, strings.TrimPrefix(addr.String(), "0.0.0.0:"))
		code := reply(dest)
		if code == 0xff {
			_, _ = c.Read(b[:1]) // until the client gives up
			return
		}
		if code != 0 {
			_, _ = c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		if host == privateName {
			dest = strings.Replace(dest, privateName, "127.0.0.1", 1)
		}
		up, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", dest)
		if err != nil {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		defer up.Close()
		_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(up, c); _ = up.(*net.TCPConn).CloseWrite() })
		_, _ = io.Copy(c, up)
		_ = c.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
