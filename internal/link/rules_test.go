package link

import (
	"strings"
	"testing"
)

func TestCutClaim(t *testing.T) {
	for _, tt := range []struct{ name, code, domain string }{
		{"k7f3.claim.us-east-1.pe.vendor.example", "k7f3", "us-east-1.pe.vendor.example"},
		{"k7f3.claim.test", "k7f3", "test"},
		{"claim.claim.claim", "claim", "claim"},
		{"", "", ""},
		{"k7f3", "", ""},
		{"k7f3.claim", "", ""},
		{"k7f3.claim.", "", ""},
		{".claim.test", "", ""},
		{"claim.test", "", ""},
		{"x.k7f3.claim.test", "", ""},
		{"k7f3.claims.test", "", ""},
	} {
		code, domain, ok := CutClaim(tt.name)
		if code != tt.code || domain != tt.domain || ok != (tt.code != "") {
			t.Errorf("CutClaim(%q) = %q, %q, %t", tt.name, code, domain, ok)
		}
	}
}

func FuzzCutClaim(f *testing.F) {
	f.Add("k7f3.claim.us-east-1.pe.vendor.example")
	f.Add(".claim.")
	f.Fuzz(func(t *testing.T, name string) {
		code, domain, ok := CutClaim(name)
		if ok != (code != "") || ok != (domain != "") || strings.Contains(code, ".") || ok && code+".claim."+domain != name {
			t.Errorf("CutClaim(%q) = %q, %q, %t", name, code, domain, ok)
		}
	})
}
