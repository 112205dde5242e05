package verify

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postern/postern/internal/link"
)

// Bounds of what is read of an HTTP answer. A proof is below 1 KiB.
const (
	mostHeader = 64 << 10
	mostAnswer = 64 << 10
)

// handshake shakes hands as name and verifies nothing: what the peer shows is looked at afterwards, so that a wrong
// certificate is described and not merely refused. Nothing secret is ever sent over such a connection.
func (p *prober) handshake(ctx context.Context, conn net.Conn, name string) (*tls.Conn, Step) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.t.stepTimeout())
	defer cancel()
	tc := tls.Client(conn, &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true,
		NextProtos:         []string{"http/1.1"},
		MinVersion:         tls.VersionTLS10, // an old peer is to be told of, not to be mistaken for a dead one
	})
	err := tc.HandshakeContext(ctx)
	return tc, p.outcome(ctx, start, err)
}

// application is the TLS step and, over the same connection, the HTTP step. It closes conn.
func (p *prober) application(ctx context.Context, conn net.Conn, s *PathSeen) {
	defer conn.Close()
	tc, step := p.handshake(ctx, conn, p.t.PrivateName)
	s.TLS.Step = step
	if !step.Done() {
		return
	}
	p.certificate(tc.ConnectionState(), p.t.PrivateName, &s.TLS)
	if p.t.HTTPPath == "" {
		return
	}
	res, step := p.get(ctx, tc, p.hostHeader(), p.t.HTTPPath, 0)
	s.HTTP.Step, s.HTTP.Status = step, res.status
	if res.location != nil && !strings.EqualFold(res.location.Hostname(), p.t.PrivateName) {
		s.HTTP.RedirectHost = res.location.Host
	}
}

// hostHeader is the private name as a Host field: with the port only where the scheme does not imply it.
func (p *prober) hostHeader() string {
	if p.t.Port == 443 {
		return p.t.PrivateName
	}
	return fmt.Sprintf("%s:%d", p.t.PrivateName, p.t.Port)
}

// repository shakes hands with the name of a Docker repository where the private name's handshake succeeded.
func (p *prober) repository(ctx context.Context, paths []PathSeen) TLSSeen {
	seen := TLSSeen{Step: Step{Failure: NotTried}}
	i := slices.IndexFunc(paths, func(s PathSeen) bool { return s.TLS.Done() })
	if i < 0 {
		return seen
	}
	conn := p.connect(ctx, p.v, net.JoinHostPort(paths[i].Host, strconv.Itoa(int(p.t.Port))), &seen.Step)
	if conn == nil {
		return seen
	}
	defer conn.Close()
	var tc *tls.Conn
	if tc, seen.Step = p.handshake(ctx, conn, p.t.RepositoryName); seen.Done() {
		p.certificate(tc.ConnectionState(), p.t.RepositoryName, &seen)
	}
	return seen
}

// certificate looks at what the peer showed for a name.
func (p *prober) certificate(state tls.ConnectionState, name string, seen *TLSSeen) {
	leaf := state.PeerCertificates[0] // a finished client handshake has one
	seen.Version = tls.VersionName(state.Version)
	seen.Subject, seen.Issuer = leaf.Subject.String(), leaf.Issuer.String()
	seen.Names = leaf.DNSNames
	seen.NotBefore, seen.NotAfter = leaf.NotBefore, leaf.NotAfter
	if err := leaf.VerifyHostname(name); err != nil {
		seen.NameErr = err.Error()
	}
	opts := x509.VerifyOptions{Roots: p.t.RootCAs, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		seen.ChainErr = err.Error()
	}
}

// prove asks the gateway for a proof of path over a connection of its own to addr. The address is that of the private
// name: the proof's name needs no record in anybody's DNS.
func (p *prober) prove(ctx context.Context, addr string) ProofSeen {
	var seen ProofSeen
	conn := p.connect(ctx, p.v, addr, &seen.Step)
	if conn == nil {
		return seen
	}
	defer conn.Close()
	tc, step := p.handshake(ctx, conn, p.t.proofName())
	seen.Step = step
	if !step.Done() {
		return seen
	}
	seen.PeerKey, _ = tc.ConnectionState().PeerCertificates[0].PublicKey.(ed25519.PublicKey)

	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails
	seen.Nonce = base64.RawURLEncoding.EncodeToString(random[:])
	res, step := p.get(ctx, tc, p.t.proofName(), "/?nonce="+seen.Nonce, mostAnswer)
	seen.Step, seen.Status = step, res.status
	if step.Done() {
		seen.Proof = parseProof(res.body)
	}
	return seen
}

// parseProof reads a proof of path; nil when body is none.
func parseProof(body []byte) *link.PathProof {
	var proof link.PathProof
	if err := json.Unmarshal(body, &proof); err != nil || proof.Nonce == "" || len(proof.Signature) == 0 {
		return nil
	}
	return &proof
}

// reply is what is kept of an HTTP answer.
type reply struct {
	status   int
	location *url.URL // of a redirect; nil: it is none
	body     []byte   // its beginning
}

// get sends one GET and reads the answer with at most the first bytes of its body. The reply is zero when the step
// failed.
func (p *prober) get(ctx context.Context, conn net.Conn, host, path string, most int64) (reply, Step) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.t.stepTimeout())
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // every connection knows Close; not all know deadlines
	defer stop()
	res, err := exchangeHTTP(conn, host, path, most)
	if err != nil {
		res = reply{}
	}
	return res, p.outcome(ctx, start, err)
}

func exchangeHTTP(conn net.Conn, host, path string, most int64) (reply, error) {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return reply{}, err
	}
	u.Scheme, u.Host = "https", host
	req := &http.Request{
		Method: http.MethodGet, URL: u, Host: host, Close: true, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"postern-verify"}, "Accept": {"*/*"}},
	}
	if err := req.Write(conn); err != nil {
		return reply{}, err
	}
	in := bufio.NewReader(io.LimitReader(conn, mostHeader+most))
	res, err := http.ReadResponse(in, req)
	for err == nil && res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		_ = res.Body.Close() // empty: an interim answer has no body
		res, err = http.ReadResponse(in, req)
	}
	if err != nil {
		return reply{}, err
	}
	out := reply{status: res.StatusCode}
	if to, err := res.Location(); err == nil {
		out.location = to
	}
	if most == 0 {
		return out, nil // and no Close: it would read the body to its end, which may never come
	}
	defer res.Body.Close()
	out.body, err = io.ReadAll(io.LimitReader(res.Body, most))
	return out, err
}

// outcome puts a step's error into a class. ctx is the step's own.
func (p *prober) outcome(ctx context.Context, start time.Time, err error) Step {
	s := Step{Took: time.Since(start)}
	if err == nil {
		return s
	}
	s.Error = p.words(err)
	s.Failure = classify(err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.Failure = TimedOut
	}
	return s
}

func classify(err error) Failure {
	var (
		netErr net.Error
		opErr  *net.OpError
		record tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT),
		errors.As(err, &netErr) && netErr.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN),
		errors.Is(err, syscall.EADDRNOTAVAIL):
		return Unreachable
	case errors.As(err, &opErr) && opErr.Op == "remote error": // crypto/tls's mark of an alert that it was sent
		return Alert
	case errors.As(err, &record):
		return NotTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EOF
	default:
		return Other
	}
}
