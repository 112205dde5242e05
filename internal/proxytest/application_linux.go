package proxytest

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // what RFC 6455 takes it for is no secret
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// Application stands in for what is behind a reverse proxy. At every node its direct port serves what is below
// /artifactory/ and its router's port everything:
//
//	/artifactory/api/docker/KEY/v2/…  the registry of that repository; one page of tags has two; …/v2/echo is an echo
//	/artifactory/blob                 1 MiB; sent there, its digest is answered
//	/artifactory/stream/down?id=ID    a line, and after Release(ID) another
//	/artifactory/stream/up?id=ID      tells Arrived(ID) of the body's first byte, and answers the length of it
//	/artifactory/ws                   a WebSocket that sends back what it gets
//	/artifactory/cookie               sets a cookie for /artifactory
//	/artifactory/away                 a redirect to Away; with ?to=URL to that
//	every other                       an Echo
type Application struct {
	Blob []byte // what /artifactory/blob serves

	registries map[string]*Registry
	mu         sync.Mutex
	signals    map[string]chan struct{}
}

// Away is where the application redirects to: a host that is not the proxy's.
const Away = "https://bucket.storage.example/object?signature=s3cret"

// User and Password are whom the protected registries know.
const (
	User     = "builder"
	Password = "correct horse"
)

// Echo is a request as the application got it.
type Echo struct {
	Method, URI, Host string
	Header            http.Header // names as they came, but for the case of letters
	Node              int         // which of the nodes, in the order in which they were made
	Router            bool        // came to the router's port
}

// NewApplication makes an application with these registries, and no node yet.
func NewApplication(registries ...*Registry) *Application {
	a := &Application{Blob: make([]byte, 1<<20), registries: map[string]*Registry{}, signals: map[string]chan struct{}{}}
	chance := rand.NewChaCha8([32]byte{1})
	_, _ = chance.Read(a.Blob)
	for _, r := range registries {
		a.registries[r.Key] = r
	}
	return a
}

// Node starts a node of a number, until the test ends.
func (a *Application) Node(t testing.TB, number int) link.ProxyNode {
	t.Helper()
	return link.ProxyNode{Host: "127.0.0.1", DirectPort: a.listen(t, number, false), RouterPort: a.listen(t, number, true)}
}

func (a *Application) listen(t testing.TB, number int, router bool) uint16 {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", "Application/1.0")
			if !router && !strings.HasPrefix(r.URL.Path, "/artifactory/") {
				http.Error(w, "not the router", http.StatusNotFound)
				return
			}
			a.serve(w, r, Echo{Node: number, Router: router})
		}),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("application: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func (a *Application) serve(w http.ResponseWriter, r *http.Request, e Echo) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/artifactory/api/docker/"); ok {
		key, path, _ := strings.Cut(rest, "/")
		if reg := a.registries[key]; reg != nil && path != "v2/echo" {
			reg.serve(w, r, "/"+path)
			return
		}
	}
	switch r.URL.Path {
	case "/artifactory/blob":
		if r.Method == http.MethodGet {
			_, _ = w.Write(a.Blob)
			return
		}
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		_, _ = io.WriteString(w, hex.EncodeToString(sum.Sum(nil)))
	case "/artifactory/stream/down":
		a.streamDown(w, r)
	case "/artifactory/stream/up":
		a.streamUp(w, r)
	case "/artifactory/ws":
		echoWebSocket(w, r)
	case "/artifactory/cookie":
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/artifactory", HttpOnly: true, Secure: true})
	case "/artifactory/away":
		w.Header().Set("Location", cmp.Or(r.URL.Query().Get("to"), Away))
		w.WriteHeader(http.StatusFound)
	default:
		e.Method, e.URI, e.Host, e.Header = r.Method, r.RequestURI, r.Host, r.Header
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e)
	}
}

// Release has the answer of /artifactory/stream/down go on.
func (a *Application) Release(id string) { close(a.signal("down" + id)) }

// Arrived is closed when /artifactory/stream/up has the first byte.
func (a *Application) Arrived(id string) <-chan struct{} { return a.signal("up" + id) }

func (a *Application) signal(name string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signals[name] == nil {
		a.signals[name] = make(chan struct{})
	}
	return a.signals[name]
}

func (a *Application) streamDown(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "first\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-a.signal("down" + r.URL.Query().Get("id")):
		_, _ = io.WriteString(w, "last\n")
	case <-r.Context().Done():
	}
}

func (a *Application) streamUp(w http.ResponseWriter, r *http.Request) {
	body := bufio.NewReader(r.Body)
	if _, err := body.Peek(1); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	close(a.signal("up" + r.URL.Query().Get("id")))
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return // the client has left
	}
	fmt.Fprint(w, n)
}

// webSocketKey is what RFC 6455, section 1.3, has appended to a client's key.
const webSocketKey = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// WebSocketAccept is the answer that a server owes to a client's key: RFC 6455, section 4.2.2.
func WebSocketAccept(key string) string {
	sum := sha1.Sum([]byte(key + webSocketKey)) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echoWebSocket agrees to the upgrade and sends back the stream as it comes; frames are the client's affair.
func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
		http.Error(w, "no upgrade", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		WebSocketAccept(r.Header.Get("Sec-WebSocket-Key")))
	if err := rw.Flush(); err == nil {
		_, _ = io.Copy(conn, rw.Reader)
	}
}

// publicURL is the URL by which the client asked, as an application finds it in what proxies tell.
func publicURL(r *http.Request) *url.URL {
	if base, err := url.Parse(r.Header.Get("X-Jfrog-Override-Base-Url")); err == nil && base.Host != "" {
		return &url.URL{Scheme: base.Scheme, Host: base.Host}
	}
	u := &url.URL{Scheme: "http", Host: r.Host}
	if scheme := r.Header.Get("X-Forwarded-Proto"); scheme != "" {
		u.Scheme = scheme
	}
	if host := r.Header.Get("X-Forwarded-Host"); host != "" {
		u.Host = host
	}
	return u
}

// tags lists a repository's tags in pages of two.
func (g *Registry) tags(w http.ResponseWriter, r *http.Request, path string) {
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if status, err := g.get(r.Context(), path, &list); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	const page = 2
	slices.Sort(list.Tags)
	at, _ := slices.BinarySearch(list.Tags, r.URL.Query().Get("last")+"\x00")
	if list.Tags = list.Tags[at:]; len(list.Tags) > page {
		list.Tags = list.Tags[:page]
		next := url.URL{Path: g.prefix() + path[1:], RawQuery: url.Values{"last": {list.Tags[page-1]}, "n": {"2"}}.Encode()}
		if !g.Relative {
			base := publicURL(r)
			next.Scheme, next.Host = base.Scheme, base.Host
		}
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", &next))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// get asks the registry itself.
func (g *Registry) get(ctx context.Context, path string, into any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url.JoinPath(g.prefix(), path).String(), http.NoBody)
	if err != nil {
		return http.StatusInternalServerError, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusBadGateway, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, errors.New(resp.Status)
	}
	return http.StatusOK, json.NewDecoder(resp.Body).Decode(into)
}
