package fabric

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
)

// once makes a create call idempotent: the first call with a client token runs create, and a later one with the same
// token and parameters returns the id that the first one made. alive says whether that still exists: a client with
// deterministic tokens can make again what is gone.
func (c *call) once(token string, alive func(id string) bool, create func() (id string, err error)) (string, error) {
	if token == "" {
		return create()
	}
	if len(token) > 64 {
		return "", fail("InvalidParameterValue", "The client token must have at most 64 characters.")
	}
	key := strings.Join([]string{c.account, c.region, c.action, token}, "/")
	digest := sha256.Sum256([]byte(c.params.Encode())) // Encode sorts by name
	used := c.s.Tokens[key]
	if used != nil && alive(used.ResourceID) {
		if used.Digest != hex.EncodeToString(digest[:]) {
			return "", fail("IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical")
		}
		return used.ResourceID, nil
	}
	id, err := create()
	if err != nil {
		return "", err
	}
	c.s.Tokens[key] = &Token{Digest: hex.EncodeToString(digest[:]), ResourceID: id, UsedAt: c.now}
	return id, nil
}

// forgetTokens drops the client tokens that made a resource which is gone. They mean nothing any more.
func (s *State) forgetTokens(resourceID string) {
	maps.DeleteFunc(s.Tokens, func(_ string, token *Token) bool { return token.ResourceID == resourceID })
}
