package webserver

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// draw makes settings, most of which can be right. Names and paths come short and as long as they may be.
func draw(t *rapid.T, server link.WebServer) link.ReverseProxy {
	yes := func(label string) bool { return rapid.Bool().Draw(t, label) }
	label := rapid.OneOf(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?`), rapid.StringMatching(`[a-z]{63}`))
	name := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "longest") == 0 {
			return strings.Repeat(strings.Repeat("n", 59)+".", 3) + "example" // as much as a repository's label leaves
		}
		return strings.Join(rapid.SliceOfN(label, 1, 2).Draw(t, "labels"), ".") + ".test"
	})
	host := rapid.OneOf(name, rapid.SampledFrom([]string{"localhost", "10.0.0.5", "2001:db8::7", "app_1.internal", "x"}))
	port := rapid.Map(rapid.OneOf(rapid.IntRange(1, 65535), rapid.SampledFrom([]int{80, 443})), func(n int) uint16 { return uint16(n) })
	segment := rapid.OneOf(rapid.SampledFrom([]string{"", "artifactory"}), rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`))
	path := rapid.OneOf(rapid.SampledFrom([]string{"/etc/ssl/certs/art.pem", "/x"}), rapid.StringMatching(`/[A-Za-z0-9@+=_-]{1,20}(/[A-Za-z0-9._+=@-]{0,10}[a-z]){1,3}`),
		rapid.StringMatching(`(/[a-z]{50}){4}/[a-z]{50}`))

	p := link.ReverseProxy{
		Server: server, ServerName: name.Draw(t, "server_name"), Upstream: rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{0,63}`)).Draw(t, "upstream"),
		AppContext: segment.Draw(t, "app_context"), PublicContext: segment.Draw(t, "public_context"),
		HTTP: yes("http"), HTTPS: yes("https"), Certificate: path.Draw(t, "certificate"),
		Profile: rapid.SampledFrom([]link.TLSProfile{"", link.TLSModern}).Draw(t, "tls_profile"), OverrideBaseURL: yes("override_base_url"),
		Docker: rapid.SampledFrom([]link.DockerMethod{link.DockerSubdomain, link.DockerPath, link.DockerPort, link.DockerNone}).Draw(t, "docker_method"),
	}
	p.Key = rapid.SampledFrom([]string{p.Certificate, p.Certificate + ".key", "/etc/ssl/private/other.key"}).Draw(t, "key")
	if yes("own ports") {
		p.HTTPPort, p.HTTPSPort = port.Draw(t, "http_port"), port.Draw(t, "https_port")
	}
	if yes("wildcard") {
		p.Wildcard = "*." + name.Draw(t, "wildcard")
	}
	router := yes("router")
	for range rapid.IntRange(1, 4).Draw(t, "nodes") {
		n := link.ProxyNode{Host: host.Draw(t, "host"), DirectPort: port.Draw(t, "direct_port")}
		if router {
			n.RouterPort = port.Draw(t, "router_port")
		}
		p.Nodes = append(p.Nodes, n)
	}
	key := rapid.StringMatching(`[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?`)
	if p.Docker != link.DockerSubdomain {
		key = rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,63}`)
	}
	for _, k := range rapid.SliceOfNDistinct(key, 0, 5, rapid.ID[string]).Draw(t, "repositories") {
		r := link.ProxyRepository{Key: k}
		if p.Docker == link.DockerPort {
			r.Port = port.Draw(t, "port")
			if yes("own name") {
				r.ServerName = name.Draw(t, "name")
			}
		}
		p.Repositories = append(p.Repositories, r)
	}
	if p.HTTPS && yes("client_certificates") {
		p.ClientCertificates = link.ProxyCertificates{
			Mode:   rapid.SampledFrom([]link.CertificateMode{link.CertificatesOptional, link.CertificatesRequired}).Draw(t, "mode"),
			CAFile: path.Draw(t, "ca_file"), Depth: rapid.IntRange(0, 10).Draw(t, "depth"), Header: rapid.SampledFrom([]string{"", "X-Client-Cert", "Client-Cert", "X-Acme"}).Draw(t, "header"),
		}
		if server != link.Caddy && yes("crl") {
			p.ClientCertificates.CRLFile = path.Draw(t, "crl_file")
		}
	}
	if server != link.Caddy && yes("proxy_protocol") {
		p.ProxyProtocol = true
		p.TrustedPeers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}[:rapid.IntRange(1, 2).Draw(t, "trusted_peers")]
		// Versions that cannot tell endpoints apart refuse them before any server is asked.
		for _, id := range rapid.SliceOfNDistinct(rapid.StringMatching(`vpce-[0-9a-f]{17}`), 0, 3, rapid.ID[string]).Draw(t, "endpoints") {
			p.Endpoints = append(p.Endpoints, link.EndpointID(id))
		}
	}
	return p
}

// TestWhatPassesIsAccepted: whatever settings pass proxyconf's check, the installed server's own accepts what is rendered of
// them. -rapid.checks has it look at more.
func TestWhatPassesIsAccepted(t *testing.T) {
	checks(t, 20)
	for _, server := range []link.WebServer{link.NGINX, link.Apache, link.HAProxy, link.Caddy} {
		t.Run(string(server), func(t *testing.T) {
			program := need(t, server)
			looked := 0
			rapid.Check(t, func(rt *rapid.T) {
				p := draw(rt, server)
				if errs := proxyconf.Check(proxyconf.Complete(p)); len(errs) > 0 {
					rt.Skipf("the settings do not pass: %v", errs)
				}
				out, err := proxyconf.Render(p, program.Target())
				if e, ok := errors.AsType[*link.Error](err); ok && e.Reason == "TARGET_CANNOT" {
					rt.Skipf("the version cannot do that: %v", err)
				} else if err != nil {
					rt.Fatal(err)
				}
				rep, err := Check(context.Background(), p, program.Target())
				if err != nil {
					rt.Fatal(err)
				}
				looked++
				if rep.Outcome != Accepted || len(rep.Missing) > 0 || rep.Version != program.Version || rep.Started != (server == link.Apache) {
					rt.Fatalf("%+v\n%s", rep, numbered(out.Text))
				}
			})
			t.Logf("%s %s accepted %d of them", server, program.Version, looked)
		})
	}
}

// checks has rapid look at n cases in this test, unless -rapid.checks says otherwise: each runs programs and waits for disks.
func checks(t *testing.T, n int) {
	t.Helper()
	const name = "rapid.checks"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	before := flag.Lookup(name).Value.String()
	set := func(s string) {
		if err := flag.Lookup(name).Value.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	set(strconv.Itoa(n))
	t.Cleanup(func() { set(before) })
}

func numbered(text string) string {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		fmt.Fprintf(&b, "%4d %s", n, line)
	}
	return b.String()
}
