package gateway

import (
	"crypto/sha256"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/policy"
)

func addr4(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// wallClock is a clock that somebody sets.
type wallClock struct{ ahead atomic.Int64 }

func (c *wallClock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *wallClock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// Somebody sets the clock, by years: no flow is cut or kept out, limits and times go on as before, and what does have a
// date, a claim, is held against the clock as it is.
func TestTheClockJumps(t *testing.T) {
	const decade = 10 * 365 * 24 * time.Hour
	const code, domain = "kxq3v5m2p7", "us-east-1.pe.postern.test"
	hash := sha256.Sum256([]byte(code))
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		var clock wallClock
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.Now, c.Timeouts.HalfClose = clock.now, time.Second
		})
		rules := w.rules(1)
		rules.Claims = []api.GatewayClaimRule{{
			ID: "33333333-3333-4333-8333-333333333333", ClusterID: acmeID, Domain: domain, Hash: hash[:], ExpiresAt: time.Now().Add(time.Hour),
		}}
		rules.Clusters[1].Limits = &api.GatewayLimits{FlowsPerSecondByEndpoint: 2, FlowsPerEndpoint: 2}
		carry(&rules, 2000, halfEnded(t))
		w.apply(rules)
		flow, limited := w.open(endpointA, acmePrivate), w.open(endpointB, globexName)
		for _, ahead := range []time.Duration{decade, -decade, decade, 0} {
			clock.set(ahead)
			echo(t, flow, "the flow goes on")
			echo(t, limited, "and the other")
			echo(t, w.open(endpointA, acmePrivate), "new ones come")

			// As many flows as the limits say, and after a while again.
			eventually(t, "another flow within the limits", func() bool {
				c, err := w.tls(w.balancer(endpointB), globexName)
				if err != nil {
					return false
				}
				w.knock(w.balancer(endpointB), globexName, reasonEndpointFull)
				_ = c.Close()
				return true
			})
			name := code + ".claim." + domain
			if ahead > 0 {
				w.control.change(func() { w.control.refused = nil })
				w.knock(w.balancer(endpointC), name, policy.ClaimExpired)
			}
			// A time that runs when the clock is set runs on: here that of a flow of which one half has ended.
			c := w.balancerTo(endpointA, 2000)
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
			clock.set(-ahead)
			w.control.awaitEnd(engine.HalfClosed)
			w.control.change(func() {
				for id, f := range w.control.flows {
					if f.EndedAt != nil && f.EndedAt.Before(f.StartedAt) {
						t.Errorf("a record says that a flow ended before it started: %+v", f)
					}
					if f.CloseReason == engine.HalfClosed {
						delete(w.control.flows, id)
					}
				}
			})
		}
		clock.set(0)
		if err := tlsClient(w.balancer(endpointC), code+".claim."+domain).HandshakeContext(t.Context()); err != nil {
			t.Errorf("the clock is right again, and the claim's time is not over: %v", err)
		}
		w.control.await("the claim", func() bool { return len(w.control.claims) == 1 })
	})
}
