package main

import (
	"testing"

	"github.com/postern/postern/api"
)

func TestPortRule(t *testing.T) {
	for s, want := range map[string]api.PortRule{
		"443=tls":                  {Port: 443, Protocol: "TLS"},
		"443=TLS,UI":               {Port: 443, Protocol: "TLS", Traffic: "UI"},
		"5432=sql,postgres":        {Port: 5432, Protocol: "POSTGRES", Traffic: "SQL"},
		"2022=tcp,to:22":           {Port: 2022, Protocol: "TCP", BackendPort: 22},
		"22=denied":                {Port: 22, Denied: true},
		"70000=denied,tcp,to:7000": {Port: 70000, Protocol: "TCP", Denied: true, BackendPort: 7000}, // for the API to refuse
	} {
		if got, err := portRule(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "443", "443=", "=tls", "tls=443", "443=udp", "443=tls,", "443=to:", "443=to:0", "443=to:x", "443=22", "443 = tls"} {
		if got, err := portRule(s); err == nil {
			t.Errorf("%q is a rule: %+v", s, got)
		}
	}
}
