package fabric

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Internet is the vantage point outside every VPC.
const Internet = "internet"

// vantage is a place in the fabric's world from which names are resolved and addresses dialled: an instance in a VPC,
// in the VPC's first subnet unless one is named, or the internet. The zero value is nowhere.
type vantage struct {
	vpcID    string // "vpc-…" or Internet
	subnetID string // "" is the VPC's first
}

// parseVantage reads "vpc-…", "vpc-…/subnet-…" or "internet". It does not look whether they exist.
func parseVantage(s string) (vantage, bool) {
	if s == Internet {
		return vantage{vpcID: Internet}, true
	}
	vpc, subnet, both := strings.Cut(s, "/")
	if !strings.HasPrefix(vpc, "vpc-") || both && !strings.HasPrefix(subnet, "subnet-") {
		return vantage{}, false
	}
	return vantage{vpcID: vpc, subnetID: subnet}, true
}

func (v vantage) outside() bool { return v.vpcID == Internet }

func (v vantage) String() string {
	if v.subnetID != "" {
		return v.vpcID + "/" + v.subnetID
	}
	return v.vpcID
}

// admission says whether a user name is a vantage point that exists.
type admission func(user string) (vantage, bool)

// passage is what a proxy's client asked for.
type passage struct {
	from vantage
	host string // a name, or a literal address
	port uint16
	sent []byte // bytes the client sent behind its request before it had an answer
}

// proxyProtocol is one of the languages in which a client asks to be carried from a vantage point.
type proxyProtocol interface {
	// read takes a request from conn. Before it returns an error it has told the client what there is to tell.
	read(conn net.Conn, admit admission) (passage, error)
	// answer tells the client how the dial for its request went; err is nil when it stands.
	answer(conn net.Conn, err error) error
}

// proxy serves one proxyProtocol on one listener. Its connections and goroutines belong to it and are gone when close
// returns.
type proxy struct {
	ln    net.Listener
	proto proxyProtocol
	admit admission
	dial  func(ctx context.Context, p passage) (*flow, error)
	log   *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// proxyGreeting is how long a client may take to say where it wants to go.
const proxyGreeting = 10 * time.Second

// serve accepts clients until close.
func (p *proxy) serve(ctx context.Context) {
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.wg.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				// Out of file descriptors, most likely: the listener is fine, so wait for some to come back.
				p.log.Warn("a proxy client could not be accepted", "err", err)
				select {
				case <-time.After(50 * time.Millisecond):
					continue
				case <-p.ctx.Done():
					return
				}
			}
			p.wg.Go(func() { p.carry(c.(*net.TCPConn)) })
		}
	})
}

// close stops accepting, cuts every client and waits for all of them.
func (p *proxy) close() {
	_ = p.ln.Close()
	p.cancel()
	p.wg.Wait()
}

// carry serves one client from its greeting to the end of its flow.
func (p *proxy) carry(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	stop := context.AfterFunc(p.ctx, func() { _ = client.Close() })
	defer stop()

	_ = client.SetDeadline(time.Now().Add(proxyGreeting))
	req, err := p.proto.read(client, p.admit)
	if err != nil {
		p.log.Debug("a proxy client was turned away", "client", client.RemoteAddr(), "err", err)
		p.seeOff(client)
		return
	}
	_ = client.SetDeadline(time.Time{})

	// A drop is silent, so a dial may hold for minutes: a client that gave up must not hold it any longer.
	ctx, cancel := context.WithCancel(p.ctx)
	unwatch := watchHangup(client, cancel)
	fl, err := p.dial(ctx, req)
	unwatch()
	gone := ctx.Err() != nil
	cancel()
	if err != nil {
		p.log.Debug("a dial from a vantage point failed", "from", req.from, "host", req.host, "port", req.port, "err", err)
		if !gone {
			_ = p.proto.answer(client, err)
			p.seeOff(client)
		}
		return
	}
	defer func() { _ = fl.Close() }()
	if gone {
		return
	}
	if err := p.proto.answer(client, nil); err != nil {
		return
	}
	fl.splice(client, req.sent)
}

// seeOff ends a client's connection so that it reads what it was told: closing while bytes of its are unread would
// reset the connection and take the answer away.
func (p *proxy) seeOff(client *net.TCPConn) {
	_ = client.CloseWrite()
	_ = client.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, client, 64<<10)
}

// watchHangup calls gone when the peer of c closes its side, and looks without taking any byte. Calling the function
// that it returns ends the watch and waits for it; c can be read again then.
func watchHangup(c *net.TCPConn, gone func()) (stop func()) {
	raw, err := c.SyscallConn()
	if err != nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var hungUp bool
		err := raw.Read(func(fd uintptr) bool {
			var b [1]byte
			n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
				return false
			}
			hungUp = err != nil || n == 0
			return true // hung up, or spoke first: a hang-up behind those bytes shows when they are relayed
		})
		if err == nil && hungUp || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			gone()
		}
	}()
	return func() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = c.SetReadDeadline(time.Time{})
	}
}

// dialFailure sorts the errors of a dial into what a proxy can tell its client.
type dialFailure uint8

const (
	failedOtherwise  dialFailure = iota
	failedName                   // the name has no address here
	failedRefused                // reached a host that does not listen
	failedUnroutable             // no way there from the vantage point
	failedSilence                // nobody answered
	failedReset                  // cut before it stood
)

func sortDialError(err error) dialFailure {
	var dnsErr *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dnsErr):
		return failedName
	case errors.Is(err, syscall.ECONNREFUSED):
		return failedRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		return failedReset
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EAFNOSUPPORT):
		return failedUnroutable
	case errors.As(err, &timeout) && timeout.Timeout():
		return failedSilence
	}
	return failedOtherwise
}
