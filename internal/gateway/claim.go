package gateway

import (
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// reasonClaimUsed refuses a claim's code that came through another endpoint before.
const reasonClaimUsed = "CLAIM_USED"

// claimMemory is how long a used claim is remembered here: longer than any claim is valid. That it was used is for the
// control plane to keep; until its rules say so, a second endpoint must not get in with the same code.
const claimMemory = 48 * time.Hour

// claims are those that were used at this gateway.
type claims struct {
	mu   sync.Mutex
	used map[link.ID]usedClaim
}

type usedClaim struct {
	by link.EndpointID
	at time.Duration
}

// open reports whether an endpoint may use a claim: nobody else has.
func (c *claims) open(id link.ID, by link.EndpointID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, used := c.used[id]
	return !used || u.by == by
}

// use notes that an endpoint used a claim. It reports false when another was first.
func (c *claims) use(id link.ID, by link.EndpointID, now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u, used := c.used[id]; used {
		return u.by == by
	}
	if c.used == nil {
		c.used = map[link.ID]usedClaim{}
	}
	c.used[id] = usedClaim{by, now}
	return true
}

func (c *claims) sweep(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, u := range c.used {
		if now-u.at > claimMemory {
			delete(c.used, id)
		}
	}
}

// claimAnswer is what the gateway says to who claimed an endpoint.
type claimAnswer struct {
	ClaimID    link.ID         `json:"claim_id"`
	ClusterID  link.ID         `json:"cluster_id"`
	EndpointID link.EndpointID `json:"endpoint_id"`
	GatewayID  string          `json:"gateway_id"`
}

// claimed reports that the flow's endpoint was claimed: its client completed a TLS handshake for the claim's name. It
// returns false when another endpoint did so first.
func (g *Gateway) claimed(f *flow) bool {
	if !g.claims.use(f.claim, f.endpoint, g.monotonic()) {
		return false
	}
	g.seen.records.claimed(api.GatewayClaim{
		ClaimID: string(f.claim), EndpointID: string(f.endpoint), Source: f.source.Addr().String(), At: g.cfg.Now().UTC(),
	})
	return true
}
