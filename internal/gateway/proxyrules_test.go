package gateway

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// proxyRulesJSON is a cluster with every proxy setting, as the control plane's own test holds it to be.
func proxyRulesJSON(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../httpapi/testdata/proxyrules.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProxyRulesAreReadBack(t *testing.T) {
	var wire api.GatewayClusterRules
	if err := json.Unmarshal([]byte(proxyRulesJSON(t)), &wire); err != nil {
		t.Fatal(err)
	}
	got, err := clusterRules(wire)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0).UTC()
	want := &link.ProxyRules{
		Proxy: link.ReverseProxy{
			Server: link.Embedded, ServerName: "art.test", Wildcard: "*.art.test", AppContext: "artifactory", PublicContext: "repo",
			Nodes: []link.ProxyNode{{Host: "10.0.0.1", DirectPort: 8081, RouterPort: 8082}, {Host: "node.test", DirectPort: 8081}},
			HTTP:  true, HTTPS: true, HTTPPort: 80, HTTPSPort: 443, Profile: link.TLSModern, OverrideBaseURL: true,
			Docker:             link.DockerPort,
			Repositories:       []link.ProxyRepository{{Key: "docker-local", ServerName: "docker.test", Port: 5001}, {Key: "maven"}},
			ClientCertificates: link.ProxyCertificates{Header: "X-Client"},
			Redirects:          link.Redirects{Mode: link.RedirectFollow, Hosts: []string{"bucket.s3.test"}},
		},
		TicketKey: []byte("0123456789abcdef0123456789abcdef"),
		Certificates: link.ClientCertificates{
			Mode: link.CertificatesRequired, Identity: []link.IdentitySource{link.IdentityEmail, link.IdentitySubjectCN},
			Expression: `[^@]+(?=\d{0,}@)`, Users: link.Users{Listed: true, Names: []string{"ann"}, Disabled: []string{"bob"}},
			OCSP: true, Responders: []string{"ocsp.test"},
			Trusted: []link.TrustedCertificate{{
				ID: "22222222-2222-4222-8222-222222222222", ClusterID: acmeID, Name: "corporate", Kind: link.TrustCA, DER: []byte{0x30, 0},
				CRL: []byte{0x30, 1}, CRLNumber: "7", CRLNext: at,
			}, {ID: "33333333-3333-4333-8333-333333333333", ClusterID: acmeID, Kind: link.TrustLeaf, DER: []byte{0x30, 2}}},
			Revoked: []link.RevokedCertificate{{
				ID: "44444444-4444-4444-8444-444444444444", ClusterID: acmeID, TrustedID: "22222222-2222-4222-8222-222222222222",
				Serial: "1f", RevokedAt: at,
			}},
		},
	}
	if diff := cmp.Diff(want, got.Proxy); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestProxyRulesAreReadStrictly: what this gateway does not know could be what restricts.
func TestProxyRulesAreReadStrictly(t *testing.T) {
	whole := func(text string) string {
		return `{"revision":1,"tag":"t","clusters":[` + strings.ReplaceAll(text, "\n", "") + `]}`
	}
	good := proxyRulesJSON(t)
	for _, change := range [][2]string{
		{"", ""},
		{`"server_name": "art.test"`, `"server_name": "art test"`},
		{`"wildcard": "*.art.test"`, `"wildcard": "art.test"`},
		{`"host": "node.test"`, `"host": ""`},
		{`"direct_port": 8081`, `"direct_port": 70000`},
		{`"MODERN"`, `"OLD"`},
		{`"PORTPERREPO"`, `"PORT"`},
		{`"key": "maven"`, `"key": ""`},
		{`"mode": "FOLLOW"`, `"mode": "ASK"`},
		{`"bucket.s3.test"`, `""`},
		{`"mode": "REQUIRED"`, `"mode": "OFF"`},
		{`"ticket_key": "MDEy`, `"ticket_key": "`},
		{`"san.email"`, `"san.other"`},
		{`"ocsp.test"`, `"ocsp\ntest"`},
		{`"id": "22222222`, `"id": "x`},
		{`"kind": "CA"`, `"kind": "ROOT"`},
		{`"certificate": "MAI="`, `"certificate": ""`},
		{`"trusted_id": "22222222`, `"trusted_id": "x`},
		{`"serial": "1f"`, `"serial": "1F"`},
		{`"https_port": 443`, `"https_port": 443, "allow_all": false`},
	} {
		t.Run(change[1], func(t *testing.T) {
			if change[0] != "" && !strings.Contains(good, change[0]) {
				t.Fatalf("there is no %s", change[0])
			}
			doc, err := decodeDocument([]byte(whole(strings.Replace(good, change[0], change[1], 1))))
			if err == nil {
				_, err = ruleDelta(doc)
			}
			if (err == nil) != (change[0] == "") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestATicketKeyOfTheGatewaysOwnIsTold: with several gateways it is of no use, which nobody would find out.
func TestATicketKeyOfTheGatewaysOwnIsTold(t *testing.T) {
	for _, tt := range []struct {
		mode link.RedirectMode
		key  []byte
		told int
	}{
		{link.RedirectRewrite, nil, 1},
		{link.RedirectRewrite, bytes.Repeat([]byte{7}, link.TicketKeySize), 0},
		{link.RedirectFollow, nil, 0},
		{"", nil, 0},
	} {
		var log bytes.Buffer
		s := sites{log: slog.New(slog.NewTextHandler(&log, nil))}
		rules := &link.ClusterRules{ClusterID: acmeID, PrivateNames: []string{acmePrivate}, Proxy: &link.ProxyRules{
			Proxy: link.ReverseProxy{Server: link.Embedded, Redirects: link.Redirects{Mode: tt.mode, Hosts: []string{"bucket.test"}}}, TicketKey: tt.key,
		}}
		for range 3 {
			if s.get(rules).made == nil {
				t.Fatal(log.String())
			}
		}
		if told := strings.Count(log.String(), "a key of this gateway's own"); told != tt.told {
			t.Errorf("%s with a key of %d bytes: told %d times, want %d: %s", tt.mode, len(tt.key), told, tt.told, &log)
		}
	}
}
