package link

import "time"

// Claim lets whoever knows its code bind an endpoint to a cluster, once, by speaking through the endpoint. The code
// itself is known only to whom it was given.
type Claim struct {
	ID         ID
	ClusterID  ID
	Region     string // whose service the endpoint belongs to
	Domain     string // private domain of the region, under which the claim's name stands
	CreatedAt  time.Time
	ExpiresAt  time.Time
	RevokedAt  time.Time  // zero unless it was revoked
	UsedAt     time.Time  // zero unless it was used
	EndpointID EndpointID // that used it
}

// ClaimState is how a claim stands.
type ClaimState string

// The states of a claim. Only an open one binds; none becomes open again.
const (
	ClaimOpen    ClaimState = "OPEN"
	ClaimUsed    ClaimState = "USED"
	ClaimRevoked ClaimState = "REVOKED"
	ClaimExpired ClaimState = "EXPIRED"
)

// StateAt is how the claim stands at a time.
func (c Claim) StateAt(now time.Time) ClaimState {
	switch {
	case !c.UsedAt.IsZero():
		return ClaimUsed
	case !c.RevokedAt.IsZero():
		return ClaimRevoked
	case !now.Before(c.ExpiresAt):
		return ClaimExpired
	}
	return ClaimOpen
}

// ClaimName is the server name by which a code is spoken: <code>.claim.<private domain>.
func ClaimName(code, domain string) string { return code + "." + ClaimLabel + "." + domain }
