package httpproxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/postern/postern/internal/link"
)

// longestTicket bounds what is looked into: an address of 8 KiB.
const longestTicket = 12 << 10

var errTicket = errors.New("a ticket that is not one, or not of this cluster, or not any more")

// sealer makes tickets: addresses that only the gateways can read, for one cluster and a time. Each is sealed with AES-256-GCM
// by a key of its own, which HKDF (RFC 5869) makes of the secret and of random bytes at the ticket's head: so one secret does
// for any number of tickets, which a key of GCM with random nonces does not (NIST SP 800-38D section 8.3). The cluster is
// authenticated with them.
type sealer struct{ secret []byte }

// ticketSalt is how many random bytes a ticket begins with.
const ticketSalt = 16

func (s *sealer) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.secret, salt, "postern redirect ticket", link.TicketKeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// make returns the ticket of an address, as a segment of a path.
func (s *sealer) make(cluster link.ID, target string, until time.Time) (string, error) {
	salt := make([]byte, ticketSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand aborts the program instead
	aead, err := s.aead(salt)
	if err != nil {
		return "", err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(target)), uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(aead.Seal(salt, nil, append(plain, target...), []byte(cluster))), nil
}

// open returns the address of a ticket.
func (s *sealer) open(cluster link.ID, ticket string, now time.Time) (string, error) {
	if len(ticket) > longestTicket {
		return "", errTicket
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil || len(sealed) < ticketSalt {
		return "", errTicket
	}
	aead, err := s.aead(sealed[:ticketSalt])
	if err != nil {
		return "", err
	}
	text, err := aead.Open(nil, nil, sealed[ticketSalt:], []byte(cluster))
	if err != nil || len(text) < 8 || now.Unix() >= int64(binary.BigEndian.Uint64(text)) {
		return "", errTicket
	}
	return string(text[8:]), nil
}
