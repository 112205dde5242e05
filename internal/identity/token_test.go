package identity

import (
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestKeysTellWhichTheyAre(t *testing.T) {
	id := link.NewID()
	key := NewKey(id)
	if got, err := ParseKey(key); err != nil || got != id {
		t.Fatalf("ParseKey(NewKey(%s)) = %s, %v", id, got, err)
	}
	if len(key) != 86 || !strings.HasPrefix(key, KeyPrefix(id)) {
		t.Errorf("a key of %d characters that begins with %s", len(key), key[:10])
	}
	if NewKey(id) == key {
		t.Error("two keys of one id are the same")
	}
}

// Every single mistyped character is noticed, and so is a lost one and two that changed places.
func TestMistypedKeysAreNoticed(t *testing.T) {
	key := NewKey(link.NewID())
	bad := func(s, what string) {
		t.Helper()
		if s == key {
			return
		}
		_, err := ParseKey(s)
		if err == nil {
			t.Errorf("%s passes", what)
		} else if strings.Contains(err.Error(), s[len(s)/2:]) {
			t.Errorf("%s: the error repeats the key", what)
		}
	}
	for i := range key {
		for _, c := range []string{"0", "a", "Z", "_", "é"} {
			bad(key[:i]+c+key[i+1:], "one character changed")
		}
		bad(key[:i]+key[i+1:], "one character lost")
		if i > 0 {
			bad(key[:i-1]+key[i:i+1]+key[i-1:i]+key[i+1:], "two characters exchanged")
		}
	}
}

func TestTokensOfOneKindAreNotOfAnother(t *testing.T) {
	kinds := []TokenKind{SessionToken, ResetToken, CodeToken}
	for _, of := range kinds {
		token := NewToken(of)
		for _, kind := range kinds {
			if IsToken(kind, token) != (kind == of) {
				t.Errorf("IsToken(%s, a token of %s) = %t", kind, of, kind != of)
			}
		}
		if _, err := ParseKey(token); err == nil {
			t.Errorf("a token of %s passes for a key", of)
		}
		if IsToken(of, token[:len(token)-1]) || IsToken(of, token+"0") || IsToken(of, "") {
			t.Errorf("a token of %s that is cut passes", of)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	id := link.ID("0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11")
	f.Add(NewKey(id))
	f.Add(NewToken(SessionToken))
	f.Add(KeyPrefix(id) + strings.Repeat("0", secretLength+checksumLength))
	f.Add("pst_")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseKey(s)
		if err != nil {
			if link.KindOf(err) != link.Invalid || id != "" {
				t.Errorf("%q: %v with id %q", s, err, id)
			}
			return
		}
		if _, err := link.ParseID("id", string(id)); err != nil || !strings.HasPrefix(s, KeyPrefix(id)) {
			t.Errorf("%q is taken for the key %q", s, id)
		}
	})
}
