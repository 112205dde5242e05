package httpapi

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// TestWireProxy: every proxy setting that a gateway acts by has its place on the wire. Package gateway's test reads the
// same file back.
func TestWireProxy(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	c := link.ClusterRules{ClusterID: "11111111-1111-4111-8111-111111111111", PublicAccess: link.PublicDisabled, Proxy: &link.ProxyRules{
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
				ID: "22222222-2222-4222-8222-222222222222", Name: "corporate", Kind: link.TrustCA, DER: []byte{0x30, 0}, CRL: []byte{0x30, 1},
				CRLNumber: "7", CRLNext: at,
			}, {ID: "33333333-3333-4333-8333-333333333333", Kind: link.TrustLeaf, DER: []byte{0x30, 2}}},
			Revoked: []link.RevokedCertificate{{
				ID: "44444444-4444-4444-8444-444444444444", TrustedID: "22222222-2222-4222-8222-222222222222", Serial: "1f", RevokedAt: at,
			}},
		},
	}}
	got, err := json.MarshalIndent(wireClusterRules(c), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/proxyrules.json"
	if flag.Lookup("update").Value.String() == "true" { // that of the table of permissions
		if err := os.WriteFile(file, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	none, err := json.Marshal(wireProxy(link.ProxyRules{}))
	if err != nil || string(none) != "{}" {
		t.Errorf("settings without any: %s, %v", none, err)
	}
}
