package proxytest

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

// registry is where Docker's clients find one of the repositories: an authority, and what goes ahead of the names of its
// images.
func (tr *trial) registry(which int) (host, prefix string) {
	key := repositories[which]
	switch tr.settings.Docker {
	case link.DockerSubdomain:
		return at(key+"."+serverName, tr.settings.HTTPSPort), ""
	case link.DockerPort:
		r := tr.settings.Repositories[which]
		if r.ServerName == "" {
			return at(serverName, r.Port), ""
		}
		return at(r.ServerName, r.Port), ""
	default:
		return at(serverName, tr.settings.HTTPSPort), key + "/"
	}
}

// docker pushes an image, looks at it and pulls it, in both repositories, and looks at each answer that leads elsewhere.
func (tr *trial) docker(t *testing.T, certificate *tls.Certificate) {
	// Its own in each trial: a registry takes nothing for pushed that it has under this name.
	image := strings.ReplaceAll(strings.ToLower(t.Name()), "_", "-")
	for which, key := range repositories {
		host, prefix := tr.registry(which)
		name := prefix + image
		pushed := t.Run("skopeo "+key, func(t *testing.T) {
			skopeo := NewSkopeo(t, tr.network, tr.authority, certificate)
			for _, tag := range []string{"v1", "v2", "v3"} {
				if err := skopeo.Push(t.Context(), tr.image, host+"/"+name+":"+tag); err != nil {
					t.Fatalf("push: %v", err)
				}
			}
			if out, err := skopeo.Inspect(t.Context(), host+"/"+name+":v1"); err != nil || !strings.Contains(out, tr.image.Digest) {
				t.Errorf("inspect: %s, %v", out, err)
			}
			out, err := skopeo.Tags(t.Context(), host+"/"+name)
			var list struct{ Tags []string }
			if err == nil {
				err = json.Unmarshal([]byte(out), &list)
			}
			if err != nil || !slices.Equal(list.Tags, []string{"v1", "v2", "v3"}) {
				t.Errorf("tags: %v, %v", list.Tags, err)
			}
			if digest, err := skopeo.Pull(t.Context(), host+"/"+name+":v3"); err != nil || digest != tr.image.Digest {
				t.Errorf("pull: %s, %v; want %s", digest, err, tr.image.Digest)
			}
		})
		if pushed { // what follows needs the image
			t.Run("registry "+key, func(t *testing.T) { tr.leads(t, tr.client(t, certificate), which, image) })
		}
	}
	t.Run("mapping", func(t *testing.T) {
		host, prefix := tr.registry(0)
		e, err := must(t, tr.client(t, certificate), http.MethodGet, "https://"+host+"/v2/"+prefix+"echo?a=b%2Fc", http.NoBody).echo()
		if want := "/artifactory/api/docker/docker/v2/echo?a=b%2Fc"; err != nil || e.URI != want || e.Host != host {
			t.Errorf("the application got %s of %s, %v; want %s of %s", e.URI, e.Host, err, want, host)
		}
		if tr.settings.OverrideBaseURL && e.Header.Get("X-Jfrog-Override-Base-Url") != "https://"+host {
			t.Errorf("X-JFrog-Override-Base-Url: %q, want https://%s", e.Header["X-Jfrog-Override-Base-Url"], host)
		}
	})
}

// leads follows every answer that sends a client elsewhere: all of it stays below the registry's own paths.
func (tr *trial) leads(t *testing.T, c *http.Client, which int, image string) {
	host, prefix := tr.registry(which)
	root := "https://" + host + "/v2/"
	below := func(what, lead, path string) string {
		t.Helper()
		base, err := url.Parse(root)
		if err != nil {
			t.Fatal(err)
		}
		to, err := base.Parse(lead)
		if err != nil || to.Scheme != "https" || to.Host != host || !strings.HasPrefix(to.Path, path) {
			t.Fatalf("%s %q, %v; want it at %s below %s", what, lead, err, host, path)
		}
		return to.String()
	}

	var token struct{ Token string }
	for _, path := range []string{"", prefix + image + "/tags/list"} {
		challenge := must(t, c, http.MethodGet, root+path, http.NoBody)
		if challenge.status != http.StatusUnauthorized {
			t.Fatalf("%s without a token: %d %s", path, challenge.status, challenge.body)
		}
		_, realm, _ := strings.Cut(challenge.header.Get("WWW-Authenticate"), `realm="`)
		realm, _, _ = strings.Cut(realm, `"`)
		said := must(t, c, http.MethodGet, below("realm", realm, "/v2/"), http.NoBody, func(r *http.Request) { r.SetBasicAuth(User, Password) })
		if err := json.Unmarshal([]byte(said.body), &token); err != nil || token.Token == "" {
			t.Fatalf("token: %d %s", said.status, said.body)
		}
	}
	authorise := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.Token) }
	if ping := must(t, c, http.MethodGet, root, http.NoBody, authorise); ping.status != http.StatusOK {
		t.Errorf("/v2/: %d", ping.status)
	}

	// Pages of tags.
	var tags []string
	for next := root + prefix + image + "/tags/list"; next != ""; {
		page := must(t, c, http.MethodGet, next, http.NoBody, authorise)
		var list struct{ Tags []string }
		if err := json.Unmarshal([]byte(page.body), &list); err != nil || page.status != http.StatusOK {
			t.Fatalf("tags: %d %s", page.status, page.body)
		}
		tags, next = append(tags, list.Tags...), ""
		if link := page.header.Get("Link"); link != "" {
			lead, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
			next = below("Link", lead, "/v2/"+prefix+image+"/tags/list")
			if !strings.Contains(rel, "next") {
				t.Errorf("Link: %s", link)
			}
		}
	}
	if !slices.Equal(tags, []string{"v1", "v2", "v3"}) {
		t.Errorf("tags: %v", tags)
	}

	// An upload in two steps.
	blob := []byte("a blob of its own: " + image)
	sum := sha256.Sum256(blob)
	uploads := root + prefix + image + "/blobs/uploads/"
	begun := must(t, c, http.MethodPost, uploads, http.NoBody, authorise)
	if begun.status != http.StatusAccepted {
		t.Fatalf("upload: %d %s", begun.status, begun.body)
	}
	to := below("Location", begun.header.Get("Location"), "/v2/"+prefix+image+"/blobs/uploads/")
	glue := "?"
	if strings.Contains(to, "?") {
		glue = "&"
	}
	done := must(t, c, http.MethodPut, to+glue+"digest=sha256:"+hex.EncodeToString(sum[:]), strings.NewReader(string(blob)), authorise)
	if done.status != http.StatusCreated {
		t.Fatalf("upload: %d %s", done.status, done.body)
	}
	below("Location", done.header.Get("Location"), "/v2/"+prefix+image+"/blobs/sha256:")

	// A layer of another image, which the registry need not be sent again.
	query := url.Values{"mount": {tr.image.Layers[1]}, "from": {prefix + image}}
	for what, q := range map[string]string{"escaped": query.Encode(), "plain": "mount=" + tr.image.Layers[1] + "&from=" + prefix + image, "turned": "from=" + prefix + image + "&mount=" + tr.image.Layers[1]} {
		mounted := must(t, c, http.MethodPost, root+prefix+image+"-"+what+"/blobs/uploads/?"+q, http.NoBody, authorise)
		if mounted.status != http.StatusCreated {
			t.Errorf("mount from another image (%s): %d %s", what, mounted.status, mounted.body)
			continue
		}
		below("Location", mounted.header.Get("Location"), "/v2/"+prefix+image+"-"+what+"/blobs/sha256:")
	}
}
