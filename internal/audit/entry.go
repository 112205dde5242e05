package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// Decision says what became of what was asked for.
type Decision string

// The decisions.
const (
	Done    Decision = "DONE"    // it was changed, in the transaction that holds the entry
	Allowed Decision = "ALLOWED" // it was handed out: a secret, or evidence
	Refused Decision = "REFUSED" // the caller may not
)

// Actor is who asked. A part of Postern has a name alone.
type Actor struct {
	ID   link.ID `json:"id,omitempty"` // of the principal; empty for a token of the installation itself
	Name string  `json:"name"`
	Role string  `json:"role,omitempty"`
}

// Entry is what one line of the log says.
type Entry struct {
	At        time.Time // kept to the microsecond
	Actor     Actor
	Action    string // stable: the kind of the object, a dot and a verb, for example trusted-owner.create
	Object    link.ObjectRef
	Place     link.Place // where the object stood; decides whose entry it is
	Decision  Decision
	Rule      string          // of the policy, that decided; empty for what a part of Postern did by itself
	Reason    string          // stable, upper snake case; may be empty
	Why       string          // for people
	Before    json.RawMessage // as Value makes it; nil when there was none
	After     json.RawMessage // as Value makes it; nil when there is none
	RequestID string
	Source    string // address of who asked, where known
	Count     int64  // how many like it this entry stands for; 0 means 1
}

// Sealed is an entry at its place in the chain. The zero value is what stands before the first.
type Sealed struct {
	Position int64 // from 1, without gaps
	Previous Hash  // of the entry before; zero for the first
	Hash     Hash
	Body     []byte // the entry in canonical JSON; nil in a stub
	Digest   Hash   // of the body
}

// Hash is a SHA-256 hash.
type Hash [sha256.Size]byte

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String gives.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("not a SHA-256 hash in hexadecimal: %s", link.Quote(s))
	}
	copy(h[:], b)
	if h.String() != s {
		return h, fmt.Errorf("a hash in capitals: %s", link.Quote(s))
	}
	return h, nil
}

// What is hashed begins with what it is and the version of its form, so that no bytes mean two things.
const (
	bodyDomain  = "postern audit body 1\n"
	entryDomain = "postern audit entry 1\n"
)

// DigestOf is the hash of an entry's body.
func DigestOf(body []byte) Hash {
	return sha256.Sum256(append([]byte(bodyDomain), body...))
}

// HashOf is the hash of an entry: of its position, of the hash of the one before, and of the digest of its body, each of a
// fixed length. The body goes in by its digest so that whoever may not read it can check the chain all the same.
func HashOf(position int64, previous, digest Hash) Hash {
	b := []byte(entryDomain)
	b = binary.BigEndian.AppendUint64(b, uint64(position))
	b = append(b, previous[:]...)
	b = append(b, digest[:]...)
	return sha256.Sum256(b)
}

// MostBody is the longest body of an entry, in bytes. What is longer loses its before and after.
const MostBody = 256 << 10

// Seal puts an entry behind another, the zero Sealed for the first. salt is drawn at random for this entry alone: without it
// somebody who sees only the digest could try out what the entry may say.
func Seal(e Entry, after Sealed, salt [16]byte) (Sealed, error) {
	body, err := e.body(salt)
	if err == nil && len(body) > MostBody {
		e.Before, e.After = nil, nil
		e.Why += fmt.Sprintf(" (before and after are left out: %d bytes)", len(body))
		body, err = e.body(salt)
	}
	if err != nil {
		return Sealed{}, fmt.Errorf("write an entry of the audit log: %w", err)
	}
	s := Sealed{Position: after.Position + 1, Previous: after.Hash, Body: body, Digest: DigestOf(body)}
	s.Hash = HashOf(s.Position, s.Previous, s.Digest)
	return s, nil
}

// wireEntry is an entry's body.
type wireEntry struct {
	Action    string          `json:"action"`
	Actor     Actor           `json:"actor"`
	After     json.RawMessage `json:"after,omitempty"`
	At        string          `json:"at"`
	Before    json.RawMessage `json:"before,omitempty"`
	Count     int64           `json:"count,omitempty"`
	Decision  Decision        `json:"decision"`
	Object    wireObject      `json:"object"`
	Place     wirePlace       `json:"place"`
	Reason    string          `json:"reason,omitempty"`
	RequestID string          `json:"request_id,omitempty"`
	Rule      string          `json:"rule,omitempty"`
	Salt      string          `json:"salt"`
	Source    string          `json:"source,omitempty"`
	Why       string          `json:"why,omitempty"`
}

type wireObject struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

type wirePlace struct {
	OrganisationID link.ID `json:"organisation_id,omitempty"`
	ProjectID      link.ID `json:"project_id,omitempty"`
	ClusterID      link.ID `json:"cluster_id,omitempty"`
}

// timeLayout is RFC 3339 in UTC with microseconds, always six digits of them.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func (e Entry) body(salt [16]byte) ([]byte, error) {
	return canonical(wireEntry{
		Action: e.Action, Actor: e.Actor, After: e.After, At: e.At.UTC().Format(timeLayout), Before: e.Before, Count: e.Count,
		Decision: e.Decision, Object: wireObject(e.Object), Place: wirePlace(e.Place), Reason: e.Reason, RequestID: e.RequestID,
		Rule: e.Rule, Salt: hex.EncodeToString(salt[:]), Source: e.Source, Why: e.Why,
	})
}

// Open reads the entry in a body.
func Open(body []byte) (Entry, error) {
	var w wireEntry
	if err := json.Unmarshal(body, &w); err != nil {
		return Entry{}, fmt.Errorf("read an entry of the audit log: %w", err)
	}
	at, err := time.Parse(timeLayout, w.At)
	if err != nil {
		return Entry{}, fmt.Errorf("read the time of an entry of the audit log: %w", err)
	}
	return Entry{
		At: at, Actor: w.Actor, Action: w.Action, Object: link.ObjectRef(w.Object), Place: link.Place(w.Place), Decision: w.Decision,
		Rule: w.Rule, Reason: w.Reason, Why: w.Why, Before: w.Before, After: w.After, RequestID: w.RequestID, Source: w.Source, Count: w.Count,
	}, nil
}
