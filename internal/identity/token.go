package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/postern/postern/internal/link"
)

// TokenKind is what a token of ours is good for, as it stands in front of it, so that people, scanners for secrets and the
// control plane tell one from the other.
type TokenKind string

// The kinds of token.
const (
	KeyToken     TokenKind = "pst_" // an API key
	SessionToken TokenKind = "pss_" // a session
	ResetToken   TokenKind = "psr_" // sets a password, once
	CodeToken    TokenKind = "psc_" // is exchanged for a session, once
)

// The lengths of a token's parts, in characters. The secret is 256 random bits in base 62, and the checksum the CRC-32 (IEEE)
// of all that stands before it, in base 62: a mistyped or cut token is noticed without asking anybody, as are strings that
// only look like one.
const (
	secretLength   = 43
	checksumLength = 6
	keyIDLength    = 32
)

// NewToken draws a token of a kind other than KeyToken.
func NewToken(kind TokenKind) string { return withChecksum(string(kind) + newSecret()) }

// NewKey draws the API key of an id: pst_, the id without its dashes, "_", secret and checksum.
func NewKey(id link.ID) string { return withChecksum(KeyPrefix(id) + newSecret()) }

// KeyPrefix is the beginning of an API key, which tells which key it is and may be shown.
func KeyPrefix(id link.ID) string {
	return string(KeyToken) + strings.ReplaceAll(string(id), "-", "") + "_"
}

// ParseKey returns the id of an API key. The error, of kind Invalid with reason MALFORMED_KEY, does not repeat it.
func ParseKey(s string) (link.ID, error) {
	const length = len(KeyToken) + keyIDLength + 1 + secretLength + checksumLength
	fail := func(message, hint string) (link.ID, error) {
		return "", &link.Error{Kind: link.Invalid, Reason: "MALFORMED_KEY", Field: "key", Message: message, Hint: hint}
	}
	const hint = "an API key begins with pst_ and has 86 characters; copy the whole of it"
	if len(s) != length || !strings.HasPrefix(s, string(KeyToken)) || s[len(KeyToken)+keyIDLength] != '_' {
		return fail("this is not an API key", hint)
	}
	raw := s[len(KeyToken):][:keyIDLength]
	id, err := link.ParseID("key", raw[:8]+"-"+raw[8:12]+"-"+raw[12:16]+"-"+raw[16:20]+"-"+raw[20:])
	if err != nil {
		return fail("this is not an API key", hint)
	}
	if !sound(s, len(KeyPrefix(id))) {
		return fail("the API key is mistyped: its checksum does not fit", "copy the whole of it again")
	}
	return id, nil
}

// IsToken reports whether s has the form of a token of a kind other than KeyToken.
func IsToken(kind TokenKind, s string) bool {
	return len(s) == len(kind)+secretLength+checksumLength && strings.HasPrefix(s, string(kind)) && sound(s, len(kind))
}

// TokenHash is what is kept of a token: its SHA-256, hexadecimal. A random token needs no slow hash.
func TokenHash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// sound reports whether what follows a prefix is a secret and the right checksum.
func sound(s string, prefix int) bool {
	for i := prefix; i < len(s); i++ {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return withChecksum(s[:len(s)-checksumLength]) == s
}

func withChecksum(s string) string {
	sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(s))))
	return s + base62(sum, checksumLength)
}

func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return base62(new(big.Int).SetBytes(b[:]), secretLength)
}

// base62 writes n with the digits 0-9a-zA-Z, in at least length characters.
func base62(n *big.Int, length int) string {
	s := n.Text(62)
	return strings.Repeat("0", max(length-len(s), 0)) + s
}
