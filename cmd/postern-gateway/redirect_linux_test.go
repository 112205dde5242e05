package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/proxytest"
)

// TestLayersInAStorage: a registry that sends its clients to a storage for layers, asked by skopeo through the gateway. Only
// with PASS does the client speak with the storage.
func TestLayersInAStorage(t *testing.T) {
	needs(t, "docker-registry", "skopeo")
	registry := &proxytest.Registry{Key: "docker"}
	v := newWebVendor(t, registry)
	s := newStorage(t, v.authority)
	registry.Storage = "https://" + s.host() + "/"
	registry.Start(t)
	s.handler = http.FileServer(http.Dir(registry.Dir))
	serveNames(t, map[string][]string{storageName: {"127.0.0.1"}})
	p := v.gateway(install(t), "gw-1", "--private-target", "127.0.0.0/8")
	v.set(nil)
	image := proxytest.NewImage(t, 7)
	name := fmt.Sprintf("%s:%d/app:v1", webDocker, port(p.public))
	if err := proxytest.NewSkopeo(t, proxytest.NewNetwork(t), v.authority, nil).Push(t.Context(), image, name); err != nil {
		t.Fatalf("push: %v", err)
	}

	for _, tt := range []struct {
		mode            string
		pulled          bool
		client, gateway bool // asks the storage
	}{
		{"PASS", true, true, false},
		{"FOLLOW", true, false, true},
		{"REWRITE", true, false, true},
		{"REFUSE", false, false, false},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			v.set(func(p *api.ReverseProxySettings) {
				p.Redirects = &api.ProxyRedirects{Mode: tt.mode}
				if tt.gateway {
					p.Redirects.Hosts = []string{s.host()}
				}
			})
			s.take()
			network := proxytest.NewNetwork(t)
			digest, err := proxytest.NewSkopeo(t, network, v.authority, nil).Pull(t.Context(), name)
			switch {
			case tt.pulled && (err != nil || digest != image.Digest):
				t.Errorf("pulled %s, want %s: %v", digest, image.Digest, err)
			case !tt.pulled && (err == nil || !strings.Contains(err.Error(), "502 (Bad Gateway)")):
				t.Errorf("skopeo is told %s, %v", digest, err)
			}
			if got := slices.Contains(network.Asked(), s.host()); got != tt.client {
				t.Errorf("the client asked the storage: %v, want %v (%v)", got, tt.client, network.Asked())
			}
			asked := s.take()
			if got := len(asked) > 0; got != (tt.client || tt.gateway) {
				t.Errorf("the storage was asked %d times", len(asked))
			}
			for _, r := range asked {
				if tt.gateway && (r.Header.Get("Authorization") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("User-Agent") != "") {
					t.Errorf("the gateway told the storage %v", r.Header)
				}
			}
		})
	}
}

// TestTicketsOfAnotherGateway: a client that one gateway sends to a ticket may redeem it at any other.
func TestTicketsOfAnotherGateway(t *testing.T) {
	v := newWebVendor(t)
	s := newStorage(t, v.authority)
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the object") })
	serveNames(t, map[string][]string{storageName: {"127.0.0.1"}})
	one := v.gateway(install(t), "gw-1", "--private-target", "127.0.0.0/8")
	two := v.gateway(install(t), "gw-2", "--private-target", "127.0.0.0/8")
	rewrite := func(p *api.ReverseProxySettings) {
		p.Redirects = &api.ProxyRedirects{Mode: "REWRITE", Hosts: []string{s.host()}}
	}
	v.set(rewrite)

	ticket := func(p *program) string {
		t.Helper()
		sent := v.get(v.client(p, false), "https://"+webPublic+"/artifactory/away?to=https://"+s.host()+"/object?signature=s3cret")
		to := sent.header.Get("Location")
		if sent.status != http.StatusFound || !strings.HasPrefix(to, "/.postern/redirect/") || strings.Contains(to, "storage") {
			t.Fatalf("%d, Location %s", sent.status, to)
		}
		return to
	}
	redeem := func(p *program, ticket string) answer {
		t.Helper()
		return v.get(v.client(p, true), "https://"+webPublic+ticket)
	}
	first := ticket(one)
	for _, p := range []*program{one, two} {
		if got := redeem(p, first); got.status != http.StatusOK || got.body != "the object" {
			t.Errorf("%+v", got)
		}
	}
	if asked := s.take(); len(asked) != 2 || asked[0].URL.RawQuery != "signature=s3cret" {
		t.Errorf("the storage was asked %d times", len(asked))
	}

	// The key stays when other settings change, is in no answer of the API, and is another one when REWRITE is turned on anew.
	v.set(func(p *api.ReverseProxySettings) { rewrite(p); p.TLSProfile = "MODERN" })
	if got := redeem(two, first); got.status != http.StatusOK {
		t.Errorf("after another change: %+v", got)
	}
	settings, err := v.operator.ReverseProxy(t.Context(), v.cluster)
	if text, err2 := json.Marshal(settings); err != nil || err2 != nil || strings.Contains(string(text), "ticket") {
		t.Errorf("%s, %v", text, err)
	}
	v.set(nil)
	if got := redeem(one, first); got.status != http.StatusNotFound {
		t.Errorf("where nothing is rewritten: %+v", got)
	}
	v.set(rewrite)
	if got := redeem(one, first); got.status != http.StatusNotFound {
		t.Errorf("a ticket of the key before: %+v", got)
	}
	if got := redeem(two, ticket(one)); got.status != http.StatusOK {
		t.Errorf("%+v", got)
	}
}

// TestRedirectsIntoTheInside: whatever an application answers, the gateway speaks with the hosts of the settings alone, at
// addresses that are public or that its own flags allow.
func TestRedirectsIntoTheInside(t *testing.T) {
	v := newWebVendor(t)
	s := newStorage(t, v.authority)
	lead := map[string]string{
		"/once":   "/object",
		"/away":   "https://elsewhere.storage.example:" + s.port + "/object",
		"/circle": "/circle",
		"/plain":  "http://" + s.host() + "/object",
		"/meta":   "http://169.254.169.254/latest/meta-data/iam",
		"/inside": "https://inside.storage.example:" + s.port + "/object",
	}
	const object = "the object"
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to, ok := lead[r.URL.Path]; ok {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, object)
	})
	hosts := []string{s.host()}
	names := map[string][]string{storageName: {"127.0.0.1"}, "elsewhere.storage.example": {"127.0.0.1"}}
	for name, addrs := range map[string][]string{
		"inside": {"10.20.30.40"}, "metadata": {"169.254.169.254"}, "azure": {"168.63.129.16"}, "six": {"fd00:ec2::254"}, "mapped": {"::ffff:169.254.169.254"},
		"this": {"0.0.0.0"}, "shared": {"100.100.100.200"}, "several": {"169.254.169.254", "10.20.30.40", "127.0.0.1"}, "nobody": {},
	} {
		host := name + ".storage.example"
		names[host] = addrs
		hosts = append(hosts, host+":"+s.port)
	}
	serveNames(t, names)
	p := v.gateway(install(t), "gw-1", "--private-target", "127.0.0.0/8")
	strict := v.gateway(install(t), "gw-2")
	v.set(func(p *api.ReverseProxySettings) { p.Redirects = &api.ProxyRedirects{Mode: "FOLLOW", Hosts: hosts} })

	const leaves, failed = `"code":"REDIRECT_LEAVES_PRIVATE_PATH"`, `"code":"redirect_failed"`
	at := func(name string) string { return "https://" + name + ".storage.example:" + s.port + "/object" }
	for _, tt := range []struct {
		name, to string
		by       *program
		want     string // of the body; the status is 200 for the object, and else 502
	}{
		{"the storage", "https://" + s.host() + "/object?signature=s3cret", p, object},
		{"by way of itself", "https://" + s.host() + "/once", p, object},
		{"a name of several addresses, of which one may be dialled", at("several"), p, object},

		{"a private address that no flag allows", "https://" + s.host() + "/object", strict, failed},
		{"a name that resolves privately", at("inside"), p, failed},
		{"a name of the metadata service", at("metadata"), p, failed},
		{"of Azure's", at("azure"), p, failed},
		{"of the one by IPv6", at("six"), p, failed},
		{"of the one that is IPv4 in IPv6", at("mapped"), p, failed},
		{"a name of this host", at("this"), p, failed},
		{"a name of a shared address", at("shared"), p, failed},
		{"a name without an address", at("nobody"), p, failed},

		{"the metadata service", "http://169.254.169.254/latest/meta-data/iam", p, leaves},
		{"the metadata service by https", "https://169.254.169.254/latest/meta-data/iam", p, leaves},
		{"loopback", "https://127.0.0.1:" + s.port + "/object", p, leaves},
		{"loopback by IPv6", "https://[::1]:" + s.port + "/object", p, leaves},
		{"loopback as a number", "https://2130706433:" + s.port + "/object", p, leaves},
		{"a host that is not listed", at("elsewhere"), p, leaves},
		{"a port that is not listed", "https://" + storageName + "/object", p, leaves},
		{"a name that begins like a listed one", "https://" + storageName + ".evil.example:" + s.port + "/object", p, leaves},
		{"a listed name as the user of another", "https://" + storageName + ":" + s.port + "@evil.example/object", p, leaves},
		{"a backslash", `https://` + s.host() + `\@evil.example/object`, p, leaves},
		{"http", "http://" + s.host() + "/object", p, leaves},
		{"ftp", "ftp://" + s.host() + "/object", p, leaves},
		{"gopher", "gopher://" + s.host() + "/_object", p, leaves},

		{"by way of a host that is not listed", "https://" + s.host() + "/away", p, leaves},
		{"by way of http", "https://" + s.host() + "/plain", p, leaves},
		{"by way of the metadata service", "https://" + s.host() + "/meta", p, leaves},
		{"by way of a name that resolves privately", "https://" + s.host() + "/inside", p, failed},
		{"in a circle", "https://" + s.host() + "/circle", p, failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.take()
			got := v.get(v.client(tt.by, false), "https://"+webPublic+"/artifactory/away?to="+url.QueryEscape(tt.to), "Authorization", "Bearer s3cret", "Cookie", "a=s3cret")
			status := http.StatusBadGateway
			if tt.want == object {
				status = http.StatusOK
			}
			if got.status != status || !strings.Contains(got.body, tt.want) {
				t.Errorf("%d %s, want %d with %s", got.status, got.body, status, tt.want)
			}
			if tt.want != object && strings.Contains(got.body, "storage") {
				t.Errorf("the client is told %s", got.body)
			}
			for _, r := range s.take() {
				if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
					t.Errorf("the storage was told %v", r.Header)
				}
			}
		})
	}

	// Nothing of it is in the log: the addresses are signed.
	for _, program := range []*program{p, strict} {
		program.signal(t, syscall.SIGTERM)
		for line := range program.lines {
			if strings.Contains(line, "s3cret") {
				t.Errorf("the log says %s", line)
			}
		}
	}
}
