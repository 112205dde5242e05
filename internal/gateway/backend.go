package gateway

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Why a backend is not healthy. The words are stable.
const (
	dialRefused = "CONNECTION_REFUSED"
	dialTimeout = "CONNECT_TIMEOUT"
	dialNoHost  = "NO_SUCH_HOST"
	dialFailed  = "CONNECT_FAILED"
)

// backends dials the clusters' backends and knows how each try went.
type backends struct {
	g      *Gateway
	dialer net.Dialer
	turn   atomic.Uint64

	mu     sync.Mutex
	health map[backendKey]string // the last try's failure, empty when it succeeded
}

type backendKey struct {
	cluster link.ID
	address string
}

func (b *backends) init(g *Gateway) {
	b.g, b.health = g, make(map[backendKey]string)
	b.dialer.Timeout = g.cfg.Timeouts.Dial
}

// dial connects to one of addresses: each is tried once, in their order from one that moves on with every flow. When
// none takes the flow the stream is nil and the reason says why the flow ends.
func (b *backends) dial(ctx context.Context, cluster link.ID, addresses []link.Backend) (l4.Stream, string) {
	if len(addresses) == 0 {
		return nil, reasonNoBackend
	}
	start := b.turn.Add(1)
	for i := range addresses {
		address := addresses[(start+uint64(i))%uint64(len(addresses))].Address
		conn, err := b.dialer.DialContext(ctx, "tcp", address)
		if ctx.Err() != nil {
			if conn != nil {
				_ = conn.Close()
			}
			return nil, reasonUnreachable // the flow was cut, which is no fault of the backend
		}
		if err == nil {
			b.note(cluster, address, "")
			return conn.(*net.TCPConn), ""
		}
		if reason := dialReason(err); reason != "" {
			b.note(cluster, address, reason)
		}
		b.g.log.Warn("backend not reached", "cluster", cluster, "backend", address, "error", err)
	}
	return nil, reasonUnreachable
}

// note keeps how a try went and reports it when that is news.
func (b *backends) note(cluster link.ID, address, failure string) {
	key := backendKey{cluster, address}
	b.mu.Lock()
	before, known := b.health[key]
	b.health[key] = failure
	b.mu.Unlock()
	if known && before == failure {
		return
	}
	b.g.out.backend(api.GatewayBackend{
		ClusterID: string(cluster), Backend: address, Healthy: failure == "", Reason: failure, At: b.g.cfg.Now().UTC(),
	})
}

// tellAnew has every backend reported at its next try, also when nothing changed: to a control plane that was away.
func (b *backends) tellAnew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.health)
}

// keep forgets the backends that no cluster has any more.
func (b *backends) keep(rules *policy.Rules) {
	stay := make(map[backendKey]bool)
	for c := range rules.Targets() {
		for _, a := range c.Backends {
			stay[backendKey{c.ClusterID, a.Address}] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.health {
		if !stay[k] {
			delete(b.health, k)
		}
	}
}

// dialReason says why a backend was not reached; empty when that tells nothing of the backend, since it was the gateway
// that had no descriptor, port or memory left.
func dialReason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM):
		return ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return dialRefused
	case errors.As(err, &dns) && dns.IsNotFound:
		return dialNoHost
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT):
		return dialTimeout
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return dialTimeout
	}
	return dialFailed
}
