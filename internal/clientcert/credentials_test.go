package clientcert

import (
	"encoding/base64"
	"strings"
	"testing"
)

func basic(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func bearer(payload string) string {
	return "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestReadCredentials(t *testing.T) {
	named := func(user string) Credentials { return Credentials{NamedCredentials, user} }
	nameless := Credentials{Kind: NamelessCredentials}
	tests := []struct {
		name          string
		authorization []string
		keys          []string
		want          Credentials
	}{
		{"none", nil, nil, Credentials{}},
		{"basic", []string{basic("alice:secret")}, nil, named("alice")},
		{"basic, in any case", []string{strings.Replace(basic("alice:secret"), "Basic", "bASIC", 1)}, nil, named("alice")},
		{"basic, colons in the password", []string{basic("alice:a:b")}, nil, named("alice")},
		{"basic, in UTF-8", []string{basic("üser:x")}, nil, named("üser")},
		{"basic, more space", []string{"Basic   " + strings.TrimPrefix(basic("alice:x"), "Basic ") + " "}, nil, named("alice")},
		{"basic, no user", []string{basic(":token")}, nil, nameless},
		{"basic, no colon", []string{basic("alice")}, nil, nameless},
		{"basic, not base64", []string{"Basic alice:secret"}, nil, nameless},
		{"basic, a newline in the name", []string{basic("a\nb:c")}, nil, nameless},
		{"basic, empty", []string{"Basic"}, nil, nameless},
		{"bearer", []string{bearer(`{"sub":"alice"}`)}, nil, named("alice")},
		{"bearer, by path", []string{bearer(`{"sub":"jfac@01abc/users/alice"}`)}, nil, named("alice")},
		{"bearer, by path alone", []string{bearer(`{"sub":"users/alice","exp":1}`)}, nil, named("alice")},
		{"bearer, another path", []string{bearer(`{"sub":"jfrt@01abc/groups/alice"}`)}, nil, nameless},
		{"bearer, a service", []string{bearer(`{"sub":"jfrt@01abc"}`)}, nil, named("jfrt@01abc")},
		{"bearer, a path that ends", []string{bearer(`{"sub":"jfac@01abc/users/"}`)}, nil, nameless},
		{"bearer, otherusers", []string{bearer(`{"sub":"x/otherusers/alice"}`)}, nil, nameless},
		{"bearer, without a subject", []string{bearer(`{}`)}, nil, nameless},
		{"bearer, another type", []string{bearer(`{"sub":5}`)}, nil, nameless},
		{"bearer, something behind", []string{bearer(`{"sub":"alice"}x`)}, nil, nameless},
		{"bearer, not JSON", []string{bearer(`alice`)}, nil, nameless},
		{"bearer, opaque", []string{"Bearer cmVmdGtuOjAx"}, nil, nameless},
		{"bearer, two parts", []string{"Bearer a.e30"}, nil, nameless},
		{"bearer, not base64url", []string{"Bearer a.+.c"}, nil, nameless},
		{"bearer, empty", []string{"Bearer "}, nil, nameless},
		{"empty", []string{""}, nil, nameless},
		{"digest", []string{`Digest username="alice"`}, nil, nameless},
		{"twice", []string{basic("alice:x"), basic("alice:x")}, nil, nameless},
		{"with a key", []string{basic("alice:x")}, []string{"AKCp8"}, nameless},
		{"a key", nil, []string{"AKCp8"}, nameless},
		{"too long", []string{basic("alice:" + strings.Repeat("x", maxCredentials))}, nil, nameless},
		{"a name that is too long", []string{basic(strings.Repeat("a", MaxName+1) + ":x")}, nil, nameless},
	}
	for _, tt := range tests {
		if got := ReadCredentials(tt.authorization, tt.keys); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func FuzzReadCredentials(f *testing.F) {
	for _, s := range []string{"", basic("alice:x"), bearer(`{"sub":"jfac@01abc/users/alice"}`), bearer(`{"sub":null}`), "Bearer a.b.c", "Negotiate x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := ReadCredentials([]string{value}, nil)
		if c.Kind == NoCredentials || (c.Kind == NamedCredentials) != isUser(c.User) || c.Kind != NamedCredentials && c.User != "" {
			t.Fatalf("%q: %+v", value, c)
		}
		if len(c.User) > len(value) {
			t.Fatalf("%q: a longer name than what was sent: %q", value, c.User)
		}
	})
}
