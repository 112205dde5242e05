package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/postern/postern/internal/link"
)

// Bounds of a password, in characters. There is no rule about which: length is what counts (NIST SP 800-63B, section 5.1.1).
const (
	ShortestPassword = 12
	LongestPassword  = 256
)

// cost is what a hash costs: OWASP's least for argon2id (Password Storage Cheat Sheet).
type cost struct {
	time    uint32
	memory  uint32 // KiB
	threads uint8
}

var presentCost = cost{time: 2, memory: 19 << 10, threads: 1}

const (
	saltLength = 16 // bytes
	hashLength = 32 // bytes
)

// Passwords hashes passwords with argon2id (RFC 9106). It computes only a few hashes at once, because each takes 19 MiB and a
// processor: more who ask wait for their turn as long as their context lasts. It is safe for concurrent use.
type Passwords struct {
	cost  cost
	turns chan struct{}
}

// NewPasswords returns Passwords that compute at most one hash per processor at a time.
func NewPasswords() *Passwords {
	return &Passwords{cost: presentCost, turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// CheckPassword refuses a password that nobody should have. field names the input in the error.
func CheckPassword(field, password string) error {
	refuse := func(message string) error {
		return &link.Error{
			Kind: link.Invalid, Reason: "UNFIT_PASSWORD", Field: field, Message: message,
			Hint: fmt.Sprintf("give %d to %d characters; any will do, so a sentence is fine", ShortestPassword, LongestPassword),
		}
	}
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return refuse("the password is not valid UTF-8")
	case n < ShortestPassword:
		return refuse("the password is too short")
	case n > LongestPassword:
		return refuse("the password is too long")
	}
	return nil
}

// Hash makes what is kept of a password, in the PHC string format: parameters, salt and hash. The error is ctx's.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails: crypto/rand aborts the program instead
	hash, err := p.derive(ctx, p.cost, password, salt)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.memory, p.cost.time, p.cost.threads, b64(salt), b64(hash)), nil
}

// Check reports whether password is the one that Hash made kept of, and whether kept was made at a lower cost than hashes
// are made now and should be replaced. With an empty kept, of an account that has no password or is none, it does the same
// work for nothing, so that nobody learns by time which accounts there are.
func (p *Passwords) Check(ctx context.Context, kept, password string) (right, stale bool, err error) {
	if kept == "" {
		_, err := p.derive(ctx, p.cost, password, make([]byte, saltLength))
		return false, false, err
	}
	c, salt, want, err := parsePHC(kept)
	if err != nil {
		return false, false, err
	}
	got, err := p.derive(ctx, c, password, salt)
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, c != p.cost, nil
}

// derive waits for its turn and computes a hash.
func (p *Passwords) derive(ctx context.Context, c cost, password string, salt []byte) ([]byte, error) {
	if utf8.RuneCountInString(password) > LongestPassword {
		password = password[:LongestPassword] // it is nobody's, and shall not cost more than others
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, hashLength), nil
}

// parsePHC reads what Hash wrote. It refuses costs that nobody chose: they could be a denial of service.
func parsePHC(s string) (c cost, salt, hash []byte, err error) {
	fail := func(what string) (cost, []byte, []byte, error) {
		return cost{}, nil, nil, fmt.Errorf("a password is kept in a form that is not known: %s", what)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return fail("algorithm or version")
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); n != 3 || err != nil ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", c.memory, c.time, c.threads) {
		return fail("parameters")
	}
	if c.memory < 8 || c.memory > 1<<20 || c.time < 1 || c.time > 64 || c.threads < 1 || c.threads > 16 {
		return fail("parameters out of bounds")
	}
	strict := base64.RawStdEncoding.Strict()
	if salt, err = strict.DecodeString(parts[4]); err != nil || len(salt) != saltLength {
		return fail("salt")
	}
	if hash, err = strict.DecodeString(parts[5]); err != nil || len(hash) != hashLength {
		return fail("hash")
	}
	return c, salt, hash, nil
}
