package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"github.com/postern/postern/internal/link"
)

// claim is a claim made ready. It never changes.
type claim struct {
	link.ClaimRule
}

func newClaim(in link.ClaimRule) *claim {
	in.Domain = normaliseName(in.Domain)
	return &claim{in}
}

func (c *claim) key() uint64 { return codeKey(c.Hash) }

// codeKey finds the claims whose code has a hash: a part of it, so that the whole is compared by decideClaim alone. Who
// guesses codes learns nothing from how long that takes: a hash says nothing of how near a guess was.
func codeKey(hash [sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(hash[:]) }

// longestLabel is that of DNS (RFC 1035, section 2.3.4). No code is longer.
const longestLabel = 63

// decideClaim is the decision on a private flow to a claim's name that is no cluster's own. Everything but the right
// code of the domain is the same unknown claim; so is a code that two claims have, or one to a cluster without rules.
func (r *Rules) decideClaim(f FlowFacts, code, domain string) Decision {
	if f.EndpointID == "" {
		return Decision{Rule: RuleDefault, Reason: NoEndpointID}
	}
	unknown := Decision{Rule: RuleDefault, Reason: UnknownClaim}
	if len(code) > longestLabel {
		return unknown
	}
	var label [longestLabel]byte
	hash := sha256.Sum256(label[:copy(label[:], code)])
	same, _ := r.codes.get(codeKey(hash))
	var found *claim
	for c := range same.all() {
		if subtle.ConstantTimeCompare(c.Hash[:], hash[:]) == 1 && c.Domain == domain {
			if found != nil {
				return unknown
			}
			found = c
		}
	}
	if found == nil {
		return unknown
	}
	c, known := r.clusters.get(found.ClusterID)
	switch {
	case !known:
		return unknown
	case c.denies(f.Port):
		return Decision{ClusterID: found.ClusterID, Rule: RulePort, Reason: PortDenied}
	case f.At.IsZero() || !f.At.Before(found.ExpiresAt):
		return Decision{ClusterID: found.ClusterID, Rule: RuleClaim, Reason: ClaimExpired}
	}
	return Decision{Allow: true, ClusterID: found.ClusterID, Claim: found.ID, Rule: RuleClaim}
}
