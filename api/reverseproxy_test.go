package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestReverseProxyUnless: who has the settings of a tag is not sent them again.
func TestReverseProxyUnless(t *testing.T) {
	current, tags := `"1"`, []string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tags = append(tags, r.Header.Get("If-None-Match"))
		w.Header().Set("ETag", current)
		if r.Header.Get("If-None-Match") == current {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(`{"server":"nginx","server_name":` + current + `}`))
	}))
	defer srv.Close()
	c := New(srv.URL, "token")
	var tag string
	for i, want := range []string{"1", "", "", "2", ""} {
		if i == 3 {
			current = `"2"`
		}
		p, now, changed, err := c.ReverseProxyUnless(t.Context(), "c1", tag)
		if err != nil || changed != (want != "") || p.ServerName != want || now != current {
			t.Errorf("ask %d: %+v, tag %s, changed %t, %v; want %q", i, p, now, changed, err, want)
		}
		tag = now
	}
	if want := []string{"", `"1"`, `"1"`, `"1"`, `"2"`}; !slices.Equal(tags, want) {
		t.Errorf("it sent the tags %q, want %q", tags, want)
	}
	srv.Close()
	if _, now, changed, err := c.ReverseProxyUnless(t.Context(), "c1", tag); err == nil || changed || now != tag {
		t.Errorf("of a server that is gone: tag %s, changed %t, %v", now, changed, err)
	}
}

func TestRepositoryNames(t *testing.T) {
	s := func(server, method, wildcard string, keys ...string) (out ReverseProxySettings) {
		out = ReverseProxySettings{Server: server, DockerMethod: method, Wildcard: wildcard}
		for _, k := range keys {
			out.Repositories = append(out.Repositories, ProxyRepository{Key: k})
		}
		return out
	}
	const name = "acme.pe.example"
	for _, tt := range []struct {
		what string
		s    ReverseProxySettings
		want []string
	}{
		{"below the name", s("direct", "SUBDOMAIN", "", "docker", "npm"), []string{"docker." + name, "npm." + name}},
		{"below the wildcard, which is the name's", s("direct", "SUBDOMAIN", "*."+name, "docker"), []string{"docker." + name}},
		{"below the wildcard, which is below the name", s("direct", "SUBDOMAIN", "*.images."+name, "docker"), []string{"docker.images." + name}},
		{"the wildcard is the public name's", s("direct", "SUBDOMAIN", "*.acme.example", "docker"), []string{"docker." + name}},
		{"the wildcard only ends alike", s("direct", "SUBDOMAIN", "*.not"+name, "docker"), []string{"docker." + name}},
		{"no repositories", s("direct", "SUBDOMAIN", ""), nil},
		{"by path", s("direct", "REPOPATHPREFIX", "", "docker"), nil},
		{"another web server has names of its own", s("nginx", "SUBDOMAIN", "*."+name, "docker"), nil},
		{"no reverse proxy", ReverseProxySettings{}, nil},
	} {
		if got := tt.s.RepositoryNames(name); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}
