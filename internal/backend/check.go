package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/postern/postern/internal/link"
)

// The defaults of link.HealthCheck.
const (
	defaultInterval = 10 * time.Second
	defaultTimeout  = 3 * time.Second
	defaultRise     = 2
	defaultFall     = 3
)

// mostAnswer bounds what is read of an HTTP answer: its head, the body is not looked at.
const mostAnswer = 64 << 10

// proxyLocal is the PROXY v2 header of a connection that carries no client, which checks are (section 2.2, LOCAL).
const proxyLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

// sslRequest asks a PostgreSQL server whether it speaks TLS (its protocol, section 54.7, SSLRequest).
const sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// configure takes over how a target wants the backend checked, and starts to check it when that is new.
func (b *Backend) configure(t *Target) {
	b.target = t
	if t.Health.Check == link.CheckNone {
		b.down, b.good, b.bad = false, 0, 0
		return
	}
	if !b.checking {
		b.checking = true
		b.pool.checks.add(rand.N(min(time.Second, interval(t.Health))), check{b})
	}
}

func interval(h link.HealthCheck) time.Duration { return or(h.Interval, defaultInterval) }

// or returns v, or what stands for it when it is not set.
func or[T int | time.Duration](v, unset T) T {
	if v > 0 {
		return v
	}
	return unset
}

// check is the job that asks a backend how it is, until no list has it any more.
type check struct{ backend *Backend }

func (c check) run(ctx context.Context) time.Duration {
	b := c.backend
	q, ok := b.question()
	if !ok {
		return never
	}
	every := interval(q.HealthCheck)
	if q.addr.IsValid() {
		err := b.pool.ask(ctx, q)
		if ctx.Err() != nil {
			return never
		}
		b.answered(q, err)
	}
	return every*9/10 + rand.N(every/5+1)
}

// question says what to ask the backend, with no address while its name has none; false ends the checks.
func (b *Backend) question() (q probe, ok bool) {
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	if b.lists == 0 || b.target.Health.Check == link.CheckNone {
		b.checking = false
		return probe{}, false
	}
	q = probe{HealthCheck: b.target.Health, proxy: b.target.ProxyProtocol, host: b.name, addr: b.literal}
	if b.host != nil && b.reachable() {
		addrs := b.host.found.Load().addrs
		b.checked++
		q.addr = netip.AddrPortFrom(addrs[b.checked%uint(len(addrs))], b.port)
	}
	return q, true
}

// answered takes in how a check went.
func (b *Backend) answered(q probe, err error) {
	reason := checkReason(err)
	if err != nil && reason == "" {
		return
	}
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	now := b.pool.now()
	if err == nil {
		b.seen, b.refused, b.bad = true, 0, 0
		if q.Check != link.CheckTCP {
			b.broken = 0
		}
		if b.good++; b.down && b.good >= or(q.Rise, defaultRise) {
			b.down, b.since = false, now
		}
		b.heal(now)
	} else {
		b.shun(q.addr.Addr(), now)
		b.good = 0
		if b.bad++; b.down || b.bad >= or(q.Fall, defaultFall) {
			b.down, b.downFor, b.cause = true, reason, err
		}
	}
	b.tell(now)
}

// probe is one check of one backend.
type probe struct {
	link.HealthCheck
	addr  netip.AddrPort
	host  string // the server name of TLS and the host of HTTP
	proxy bool
}

// failure is a check's error after the connection was there.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// checkReason says why a check failed; empty as for connectReason.
func checkReason(err error) string {
	if f, ok := err.(*failure); ok { //nolint:errorlint // ask returns it as it is
		if timedOut(f.err) {
			return CheckTimeout
		}
		return f.reason
	}
	return connectReason(err)
}

// ask does one check. The error is a *failure once the backend was connected to.
func ask(ctx context.Context, q probe) error {
	timeout := or(q.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", q.addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if reason, err := q.talk(ctx, conn); err != nil {
		return &failure{reason, err}
	}
	return nil
}

// talk does what the check does on a connection.
func (q probe) talk(ctx context.Context, conn net.Conn) (reason string, err error) {
	if q.proxy {
		if _, err := io.WriteString(conn, proxyLocal); err != nil {
			return CheckFailed, err
		}
	}
	switch q.Check {
	case link.CheckTLS:
		_, reason, err = q.handshake(ctx, conn)
	case link.CheckHTTP:
		reason, err = q.get(conn, "http", 80)
	case link.CheckHTTPS:
		secure, reason, err := q.handshake(ctx, conn)
		if err != nil {
			return reason, err
		}
		defer secure.Close()
		return q.get(secure, "https", 443)
	case link.CheckPostgres:
		reason, err = q.postgres(ctx, conn)
	case link.CheckTCP, link.CheckNone:
	}
	return reason, err
}

// handshake does a TLS handshake. Whose certificate it is does not matter: no secret follows, and that the backend is
// the right one is for the flows' own clients to see.
func (q probe) handshake(ctx context.Context, conn net.Conn) (secure *tls.Conn, reason string, err error) {
	secure = tls.Client(conn, &tls.Config{ServerName: q.host, InsecureSkipVerify: true})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, CheckTLSFailed, err
	}
	return secure, "", nil
}

// get asks for the path and looks at the status alone.
func (q probe) get(conn net.Conn, scheme string, usual uint16) (reason string, err error) {
	path := q.Path
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return CheckFailed, err
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(q.host, strconv.Itoa(int(q.addr.Port())))
	if q.addr.Port() == usual {
		u.Host = q.host
	}
	req := &http.Request{
		Method: http.MethodGet, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"User-Agent": {"postern-gateway"}},
	}
	if err := req.Write(conn); err != nil {
		return CheckFailed, err
	}
	in := bufio.NewReader(io.LimitReader(conn, mostAnswer))
	for {
		res, err := http.ReadResponse(in, req)
		if err != nil {
			return CheckFailed, err
		}
		_ = res.Body.Close()
		if res.StatusCode < 200 {
			continue // an interim answer (RFC 9110, section 15.2); the bound ends a row of them
		}
		if expected(q.Statuses, res.StatusCode) {
			return "", nil
		}
		return CheckBadStatus, fmt.Errorf("HTTP status %d", res.StatusCode)
	}
}

func expected(statuses []int, got int) bool {
	if len(statuses) == 0 {
		return got >= 200 && got < 400
	}
	return slices.Contains(statuses, got)
}

// postgres asks whether the server speaks TLS. If so it does the handshake and says goodbye: a server whose offer is
// left unanswered writes an error to its log.
func (q probe) postgres(ctx context.Context, conn net.Conn) (reason string, err error) {
	if _, err := io.WriteString(conn, sslRequest); err != nil {
		return CheckFailed, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return CheckFailed, err
	}
	switch answer[0] {
	case 'N':
		return "", nil
	case 'S':
		secure, reason, err := q.handshake(ctx, conn)
		if err == nil {
			_ = secure.Close()
		}
		return reason, err
	}
	return CheckNotPostgres, fmt.Errorf("the answer to SSLRequest is %q", answer[0])
}
