package link

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"
)

// PathProof is the gateway's signed word on how a flow reached it: the answer to
// `GET https://proof.<private name>/?nonce=…`. A private address proves nothing; this does. It is both the JSON that
// the gateway answers and the evidence that the verifier keeps.
type PathProof struct {
	Nonce      string     `json:"nonce"` // as the client sent it
	ClusterID  ID         `json:"cluster_id"`
	Name       string     `json:"name"` // the server name that was asked for
	Listener   Listener   `json:"listener"`
	EndpointID EndpointID `json:"endpoint_id"`
	Source     string     `json:"source"` // address:port of the client, as the load balancer told it
	GatewayID  string     `json:"gateway_id"`
	IssuedAt   time.Time  `json:"issued_at"`
	Signature  []byte     `json:"signature"` // Ed25519 over SigningBytes
}

// MaxNonce is the longest nonce, in bytes, that a gateway signs; MinNonce the shortest that proves anything.
const (
	MinNonce = 16
	MaxNonce = 128
)

// SigningBytes returns the text that Signature covers: a fixed first line, then one field per line. No field can hold
// a line break: the gateway takes only nonces of URL-safe base64 characters.
func (p PathProof) SigningBytes() []byte {
	return []byte(strings.Join([]string{
		"postern path proof v1", p.Nonce, string(p.ClusterID), p.Name, string(p.Listener), string(p.EndpointID),
		p.Source, p.GatewayID, p.IssuedAt.UTC().Format(time.RFC3339Nano),
	}, "\n"))
}

// Sign returns p with the signature of key.
func (p PathProof) Sign(key ed25519.PrivateKey) PathProof {
	p.Signature = ed25519.Sign(key, p.SigningBytes())
	return p
}

// Check reports whether p answers nonce and is signed by one of keys.
func (p PathProof) Check(nonce string, keys []ed25519.PublicKey) error {
	if p.Nonce != nonce {
		return fmt.Errorf("the proof answers another nonce than the one sent")
	}
	for _, k := range keys {
		if len(k) == ed25519.PublicKeySize && ed25519.Verify(k, p.SigningBytes(), p.Signature) {
			return nil
		}
	}
	return fmt.Errorf("the proof is not signed by any gateway of this installation")
}
