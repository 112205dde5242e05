package identity

import "testing"

func TestSeal(t *testing.T) {
	seal := func(key []byte) *Seal {
		s, err := NewSeal(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	key := NewSealKey()
	s := seal(key)
	sealed, err := s.Close("login", "what the browser keeps")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := seal(key).Open("login", sealed, &got); err != nil || got != "what the browser keeps" {
		t.Errorf("opened: %q, %v", got, err)
	}
	for name, broken := range map[string]error{
		"of another purpose": s.Open("other", sealed, &got),
		"of another key":     seal(NewSealKey()).Open("login", sealed, &got),
		"of nothing":         s.Open("login", "", &got),
		"of no base64":       s.Open("login", "?", &got),
	} {
		if broken == nil {
			t.Errorf("a seal %s opens", name)
		}
	}
	for i := range sealed {
		c := byte('A')
		if sealed[i] == c {
			c = 'B'
		}
		if s.Open("login", sealed[:i]+string(c)+sealed[i+1:], &got) == nil {
			t.Errorf("a seal opens with its character %d changed", i)
		}
	}
	if _, err := NewSeal(key[1:]); err == nil {
		t.Error("a short key passes")
	}
}
