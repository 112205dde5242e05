package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// Checkpoint says how far the log of an installation had come at a time: that its entry at Position had this Hash, which
// stands for all entries before. It travels as a signed note (C2SP signed-note and tlog-checkpoint): the origin, the
// position as the size, the hash, and two extension lines, "previous" and "time".
type Checkpoint struct {
	InstallationID string
	Position       int64
	Hash           Hash
	Previous       int64 // position of the checkpoint before; 0 for the first
	At             time.Time
}

// Origin is the name under which an installation signs its log.
func Origin(installationID string) string { return "postern/" + installationID + "/audit" }

// KeyID is the name of a public key within notes: the first four bytes of a hash of the origin and the key.
func KeyID(installationID string, key ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(Origin(installationID)))
	h.Write([]byte{'\n', algorithmEd25519})
	h.Write(key)
	s := h.Sum(nil)
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

const algorithmEd25519 = 1 // of C2SP signed-note

// VerifierKey is a public key as C2SP signed-note writes it: the origin, the key's id, and the key with its algorithm.
func VerifierKey(installationID string, key ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", Origin(installationID), KeyID(installationID, key),
		base64.StdEncoding.EncodeToString(append([]byte{algorithmEd25519}, key...)))
}

// ParseKey reads a public key: 32 bytes in base64, or as VerifierKey writes it.
func ParseKey(s string) (ed25519.PublicKey, error) {
	s = strings.TrimSpace(s)
	text, noted := s, false
	if parts := strings.Split(s, "+"); strings.HasPrefix(s, "postern/") && len(parts) >= 3 {
		text, noted = strings.Join(parts[2:], "+"), true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && noted && len(b) == ed25519.PublicKeySize+1 && b[0] == algorithmEd25519 {
		return b[1:], nil
	}
	if err == nil && !noted && len(b) == ed25519.PublicKeySize {
		return b, nil
	}
	return nil, &link.Error{
		Kind: link.Invalid, Reason: "MALFORMED_KEY", Message: "not a key of an audit log: " + link.Quote(s),
		Hint: `give what "postern audit key" prints`,
	}
}

const signaturePrefix = "— " // an em dash and a space: C2SP signed-note

// text is what is signed.
func (c Checkpoint) text() []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\nprevious %d\ntime %s\n", Origin(c.InstallationID), c.Position,
		base64.StdEncoding.EncodeToString(c.Hash[:]), c.Previous, c.At.UTC().Format(timeLayout))
}

// Sign is the checkpoint as a note signed by key.
func (c Checkpoint) Sign(key ed25519.PrivateKey) []byte {
	text := c.text()
	public, _ := key.Public().(ed25519.PublicKey)
	id := KeyID(c.InstallationID, public)
	sig := append([]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, ed25519.Sign(key, text)...)
	return fmt.Appendf(text, "\n%s%s %s\n", signaturePrefix, Origin(c.InstallationID), base64.StdEncoding.EncodeToString(sig))
}

// What can be wrong with a note.
var (
	errNote       = errors.New("not a checkpoint")
	errUnknownKey = errors.New("the checkpoint is signed by another key")
	errSignature  = errors.New("the checkpoint's signature does not fit what it says")
)

// mostNote is the longest note that is read, in bytes.
const mostNote = 4 << 10

// ParseCheckpoint reads a note and checks that one of keys signed it. It takes only what Sign writes, byte by byte.
func ParseCheckpoint(note []byte, keys []ed25519.PublicKey) (Checkpoint, error) {
	c, sig, err := splitNote(note)
	if err != nil {
		return Checkpoint{}, err
	}
	text := c.text()
	signed := fmt.Appendf(bytes.Clone(text), "\n%s%s %s\n", signaturePrefix, Origin(c.InstallationID), base64.StdEncoding.EncodeToString(sig))
	if !bytes.Equal(signed, note) {
		return Checkpoint{}, errNote
	}
	for _, key := range keys {
		id := KeyID(c.InstallationID, key)
		if [4]byte(sig) != [4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)} {
			continue
		}
		if !ed25519.Verify(key, text, sig[4:]) {
			return Checkpoint{}, errSignature
		}
		return c, nil
	}
	return Checkpoint{}, fmt.Errorf("%w: %s", errUnknownKey, hex.EncodeToString(sig[:4]))
}

// splitNote reads what a note says, and its signature with the key's id in front. It is lenient where the caller is not.
func splitNote(note []byte) (c Checkpoint, sig []byte, err error) {
	if len(note) > mostNote {
		return c, nil, errNote
	}
	lines := strings.Split(string(note), "\n")
	if len(lines) != 8 || lines[5] != "" || lines[7] != "" {
		return c, nil, errNote
	}
	origin, ok := strings.CutPrefix(lines[0], "postern/")
	if c.InstallationID, ok = cutSuffix(origin, "/audit", ok); !ok {
		return c, nil, errNote
	}
	if c.Position, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Position < 1 {
		return c, nil, errNote
	}
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(hash) != len(c.Hash) {
		return c, nil, errNote
	}
	copy(c.Hash[:], hash)
	previous, ok := strings.CutPrefix(lines[3], "previous ")
	if c.Previous, err = strconv.ParseInt(previous, 10, 64); err != nil || !ok || c.Previous < 0 || c.Previous >= c.Position {
		return c, nil, errNote
	}
	at, ok := strings.CutPrefix(lines[4], "time ")
	if c.At, err = time.Parse(timeLayout, at); err != nil || !ok {
		return c, nil, errNote
	}
	_, text, ok := strings.Cut(strings.TrimPrefix(lines[6], signaturePrefix), " ")
	if sig, err = base64.StdEncoding.DecodeString(text); err != nil || !ok || len(sig) != 4+ed25519.SignatureSize {
		return c, nil, errNote
	}
	return c, sig, nil
}

func cutSuffix(s, suffix string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, suffix)
}
