package httpproxy

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// ticketKeySize is of AES-256.
const ticketKeySize = 32

// longestTicket bounds what is looked into: an address of 8 KiB.
const longestTicket = 12 << 10

var errTicket = errors.New("a ticket that is not one, or not of this cluster, or not any more")

// sealer makes tickets: addresses that only the gateways can read, for one cluster and a time. They are sealed with
// AES-256-GCM and a random nonce; the cluster is authenticated with them.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("ticket key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("ticket key: %w", err)
	}
	return &sealer{aead: aead}, nil
}

// make returns the ticket of an address, as a segment of a path.
func (s *sealer) make(cluster link.ID, target string, until time.Time) string {
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(target)), uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, append(plain, target...), []byte(cluster)))
}

// open returns the address of a ticket.
func (s *sealer) open(cluster link.ID, ticket string, now time.Time) (string, error) {
	if len(ticket) > longestTicket {
		return "", errTicket
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil {
		return "", errTicket
	}
	text, err := s.aead.Open(nil, nil, sealed, []byte(cluster))
	if err != nil || len(text) < 8 || now.Unix() >= int64(binary.BigEndian.Uint64(text)) {
		return "", errTicket
	}
	return string(text[8:]), nil
}
