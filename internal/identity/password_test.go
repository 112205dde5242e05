package identity

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

// cheap is Passwords for tests: what a hash costs is not what they are about.
func cheap() *Passwords {
	p := NewPasswords()
	p.cost = cost{time: 1, memory: 64, threads: 1}
	return p
}

const pass = "correct horse battery"

func TestPasswordsAreFoundAgain(t *testing.T) {
	p := cheap()
	kept, err := p.Hash(t.Context(), pass)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := p.Hash(t.Context(), pass); again == kept {
		t.Error("two hashes of one password are the same: there is no salt")
	}
	for _, c := range []struct {
		name, kept, password string
		right                bool
	}{
		{"the password", kept, pass, true},
		{"another", kept, pass + "!", false},
		{"none", kept, "", false},
		{"of an account without one", "", pass, false},
		{"of an account without one, and none", "", "", false},
		{"longer than any", kept, strings.Repeat("ä", 100_000), false},
	} {
		right, stale, err := p.Check(t.Context(), c.kept, c.password)
		if err != nil || right != c.right || stale {
			t.Errorf("%s: right %t, stale %t, %v", c.name, right, stale, err)
		}
	}
}

// The parameters are those that were decided on, and stand in what is kept.
func TestPasswordParameters(t *testing.T) {
	kept, err := NewPasswords().Hash(t.Context(), pass)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kept, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("kept as %s", kept[:32])
	}
	old, err := cheap().Hash(t.Context(), pass)
	if err != nil {
		t.Fatal(err)
	}
	right, stale, err := NewPasswords().Check(t.Context(), old, pass)
	if !right || !stale || err != nil {
		t.Errorf("a hash of a lower cost: right %t, stale %t, %v", right, stale, err)
	}
}

func TestHashesWaitForTheirTurn(t *testing.T) {
	p := cheap()
	for range cap(p.turns) {
		p.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Hash(ctx, pass); !errors.Is(err, context.Canceled) {
		t.Errorf("a hash beyond the bound: %v", err)
	}
	if _, _, err := p.Check(ctx, "", pass); !errors.Is(err, context.Canceled) {
		t.Errorf("a check beyond the bound: %v", err)
	}
	<-p.turns
	if _, err := p.Hash(t.Context(), pass); err != nil {
		t.Errorf("with a turn to have: %v", err)
	}
}

func TestUnfitPasswords(t *testing.T) {
	for _, c := range []struct {
		password string
		fit      bool
	}{
		{"", false},
		{strings.Repeat("a", 11), false},
		{strings.Repeat("a", 12), true},
		{"zwölf Zeichen"[:12], false},
		{"ääääääääääää", true},
		{strings.Repeat("ä", 256), true},
		{strings.Repeat("ä", 257), false},
		{"with \xff inside it", false},
	} {
		err := CheckPassword("password", c.password)
		if (err == nil) != c.fit {
			t.Errorf("a password of %d bytes: %v", len(c.password), err)
		}
		if err != nil && (link.KindOf(err) != link.Invalid || c.password != "" && strings.Contains(err.Error(), c.password)) {
			t.Errorf("a password of %d bytes: %v", len(c.password), err)
		}
	}
}

func FuzzKeptPassword(f *testing.F) {
	kept, err := cheap().Hash(f.Context(), pass)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kept)
	f.Add(strings.Replace(kept, "m=64", "m=4294967295", 1))
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Add("$2b$12$abc")
	f.Fuzz(func(t *testing.T, s string) {
		c, salt, hash, err := parsePHC(s)
		if err == nil && (c.memory > 1<<20 || c.time > 64 || len(salt) != saltLength || len(hash) != hashLength) {
			t.Errorf("%q: %+v", s, c)
		}
	})
}
