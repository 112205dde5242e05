package proxytest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// hosts tries names that are almost the proxy's: they are refused, also where the name of the TLS handshake is right and
// where plain HTTP only redirects.
func (tr *trial) hosts(t *testing.T) {
	scheme, port := tr.scheme()
	names := []string{
		"docker.art.test.evil.example", "art.test.evil.example", "x.artXtest", "dockerart.test", "a.b.art.test", "evil.example", "127.0.0.1",
	}
	if tr.settings.Docker != link.DockerSubdomain {
		names = append(names, "docker.art.test")
	}
	t.Run("hosts", func(t *testing.T) {
		c := tr.client(t, nil)
		for _, name := range names {
			if a := must(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody, host(at(name, port))); a.status != http.StatusMisdirectedRequest {
				t.Errorf("Host %s: %d, want 421\n%s", name, a.status, a.body)
			}
			if !tr.settings.HTTPS {
				continue
			}
			// The certificate is right for none of them; whoever does not look at it must not get anywhere either.
			careless := tr.client(t, nil, func(tr *http.Transport) { tr.TLSClientConfig.InsecureSkipVerify = true })
			a, err := ask(t, careless, http.MethodGet, "https://"+at(name, port)+tr.path("echo"), http.NoBody)
			if err == nil && a.status != http.StatusMisdirectedRequest && a.status != http.StatusForbidden {
				t.Errorf("%s in handshake and Host: %d, want 421, 403 or a refused handshake\n%s", name, a.status, a.body)
			}
			for _, r := range tr.settings.Repositories {
				if r.Port == 0 {
					continue
				}
				own := serverName
				if r.ServerName != "" {
					own = r.ServerName
				}
				if a := must(t, c, http.MethodGet, "https://"+at(own, r.Port)+"/v2/", http.NoBody, host(at(name, r.Port))); a.status != http.StatusMisdirectedRequest {
					t.Errorf("Host %s at the port of %s: %d, want 421", name, r.Key, a.status)
				}
			}
			if !tr.settings.HTTP {
				continue
			}
			if a := must(t, c, http.MethodGet, "http://"+at(serverName, tr.settings.HTTPPort)+"/", http.NoBody, host(name)); a.status != http.StatusMisdirectedRequest {
				t.Errorf("Host %s over HTTP: %d %s, want 421", name, a.status, a.header.Get("Location"))
			}
		}
		if _, err := must(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody, host(at("ART.test", port))).echo(); err != nil {
			t.Errorf("a host name in capitals: %v", err)
		}
	})
	if scheme != "https" || !tr.settings.HTTP {
		return
	}
	t.Run("redirect", func(t *testing.T) {
		own := []string{serverName}
		if tr.settings.Docker == link.DockerSubdomain {
			own = append(own, "docker."+serverName)
		}
		for _, name := range own {
			const path = "/artifactory/a%2Fb?c=d%20e"
			a := must(t, tr.client(t, nil), http.MethodGet, "http://"+at(name, tr.settings.HTTPPort)+path, http.NoBody)
			if want := "https://" + at(name, port) + path; a.status/100 != 3 || a.header.Get("Location") != want {
				t.Errorf("http: %d, %q; want a redirect to %q", a.status, a.header.Get("Location"), want)
			}
		}
	})
}

// headers looks at what the application is told, and at what the client gets back.
func (tr *trial) headers(t *testing.T) {
	scheme, port := tr.scheme()
	t.Run("headers", func(t *testing.T) {
		c := tr.client(t, tr.certificate())
		a := must(t, c, http.MethodGet, tr.url(tr.path("a%2Fb/c%20d?e=f%2Fg&h=%20")), http.NoBody)
		e, err := a.echo()
		if err != nil {
			t.Fatal(err)
		}
		authority := at(serverName, port)
		if want := "/artifactory/a%2Fb/c%20d?e=f%2Fg&h=%20"; e.URI != want || e.Host != authority {
			t.Errorf("the application got %s of %s, want %s of %s", e.URI, e.Host, want, authority)
		}
		want := map[string]string{
			"X-Forwarded-Proto": scheme, "X-Forwarded-Host": authority, "X-Forwarded-Port": strconv.Itoa(int(port)), "X-Forwarded-For": "127.0.0.1",
		}
		if tr.settings.OverrideBaseURL {
			want["X-Jfrog-Override-Base-Url"] = scheme + "://" + authority
		}
		for name, value := range want {
			if got := e.Header[name]; !slices.Equal(got, []string{value}) {
				t.Errorf("%s: %q, want %q once", name, got, value)
			}
		}
		if got := e.Header["X-Jfrog-Override-Base-Url"]; !tr.settings.OverrideBaseURL && len(got) > 0 {
			t.Errorf("X-JFrog-Override-Base-Url: %q, which nobody asked for", got)
		}
		// Caddy 2.6 adds its own, and has no way to leave it out where another header of that name comes from behind.
		if got := a.header["Server"]; !slices.Contains(got, "Application/1.0") {
			t.Errorf("Server: %q, want the application's", got)
		}
		hsts := a.header.Get("Strict-Transport-Security")
		if (scheme == "https") != strings.Contains(hsts, "max-age=63072000") {
			t.Errorf("Strict-Transport-Security over %s: %q", scheme, hsts)
		}
		if away := must(t, c, http.MethodGet, tr.url(tr.path("away")), http.NoBody); away.header.Get("Location") != Away {
			t.Errorf("a redirect to %s came as %s", Away, away.header.Get("Location"))
		}
		if pages, err := must(t, c, http.MethodGet, tr.url("/ui/x"), http.NoBody).echo(); err != nil || !pages.Router || pages.URI != "/ui/x" {
			t.Errorf("pages: %+v, %v; want them from the router's port", pages, err)
		}
	})
	if scheme != "https" {
		return
	}
	t.Run("tls", func(t *testing.T) {
		oldest := uint16(tls.VersionTLS12)
		if tr.settings.Profile == link.TLSModern {
			oldest = tls.VersionTLS13
		}
		for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			c := tr.client(t, tr.certificate(), func(tr *http.Transport) {
				tr.TLSClientConfig.MinVersion, tr.TLSClientConfig.MaxVersion = version, version
			})
			if _, err := ask(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody); (err == nil) != (version >= oldest) {
				t.Errorf("%s with the profile %s: %v", tls.VersionName(version), tr.settings.Profile, err)
			}
		}
		c := tr.client(t, tr.certificate(), func(tr *http.Transport) { tr.Protocols.SetHTTP2(true) })
		resp, err := c.Get(tr.url(tr.path("blob"))) //nolint:noctx // it has a time limit
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || err != nil || !bytes.Equal(body, tr.app.Blob) {
			t.Errorf("%s, %d bytes, %v; want the blob over HTTP/2", resp.Proto, len(body), err)
		}
	})
}

// forged sends every header by which proxies talk to applications, in every spelling that an application may take for it,
// without and with a certificate.
func (tr *trial) forged(t *testing.T, certificate *tls.Certificate) {
	names := slices.Concat(link.ForwardedHeaders, link.CertificateHeaders, []string{tr.settings.ClientCertificates.Header})
	spellings := map[string]func(string) string{
		"as it is":       func(s string) string { return s },
		"small letters":  strings.ToLower,
		"capitals":       strings.ToUpper,
		"underscores":    func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		"one underscore": func(s string) string { return strings.Replace(s, "-", "_", 1) },
		"last underscore": func(s string) string {
			i := max(strings.LastIndex(s, "-"), 0)
			return s[:i] + strings.Replace(s[i:], "-", "_", 1)
		},
	}
	paths := []string{tr.url(tr.path("echo"))}
	if tr.settings.Docker != link.DockerNone {
		host, prefix := tr.registry(0)
		paths = append(paths, "https://"+host+"/v2/"+prefix+"echo")
	}
	certificates := []*tls.Certificate{tr.certificate()}
	if certificate != nil && certificates[0] == nil {
		certificates = append(certificates, certificate)
	}
	t.Run("forged", func(t *testing.T) {
		for _, shown := range certificates {
			for _, http2 := range []bool{false, true} {
				c := tr.client(t, shown, func(tr *http.Transport) { tr.Protocols.SetHTTP2(http2) })
				for what, spell := range spellings {
					for _, path := range paths {
						a := must(t, c, http.MethodGet, path, http.NoBody, func(r *http.Request) {
							for _, name := range names {
								r.Header[spell(name)] = []string{"forged", "forged twice"}
							}
						})
						if a.status == http.StatusBadRequest && strings.Contains(what, "underscore") {
							continue // whoever cannot take it away may refuse it
						}
						e, err := a.echo()
						if err != nil {
							t.Errorf("%s, %s: %v", path, what, err)
						}
						for name, values := range e.Header {
							if strings.Contains(strings.Join(values, " "), "forged") {
								t.Errorf("%s, %s: the application got %s: %q", path, what, name, values)
							}
						}
						tr.genuine(t, e, shown)
					}
				}
			}
			// A header that is named in Connection is not forwarded; what the proxy says itself has to be.
			c := tr.client(t, shown)
			e, err := must(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody, func(r *http.Request) {
				r.Header["Connection"] = []string{"close, X-Forwarded-For, X-Forwarded-Proto, X-JFrog-Override-Base-Url, " + tr.settings.ClientCertificates.Header}
			}).echo()
			if err != nil || e.Header.Get("X-Forwarded-For") != "127.0.0.1" || e.Header.Get("X-Forwarded-Proto") == "" {
				t.Errorf("headers named in Connection: %v, %v", e.Header, err)
			}
			tr.genuine(t, e, shown)
		}
	})
}

// genuine holds an echo's certificate header against the certificate that the client showed, nil for none.
func (tr *trial) genuine(t *testing.T, e Echo, shown *tls.Certificate) {
	t.Helper()
	header := tr.settings.ClientCertificates.Header
	values := e.Header.Values(header)
	got, err := tr.server.Certificate(values)
	switch {
	case err != nil:
		t.Errorf("%s: %v\n%q", header, err, values)
	case shown == nil && got != nil:
		t.Errorf("%s of a client that showed none: %s", header, got.Subject)
	case shown != nil && (got == nil || !got.Equal(shown.Leaf)):
		t.Errorf("%s: %q, want the client's certificate", header, values)
	}
}

// certificates tries clients with certificates of each kind.
func (tr *trial) certificates(t *testing.T) {
	required := tr.settings.ClientCertificates.Mode == link.CertificatesRequired
	for _, tc := range []struct {
		name  string
		shown *tls.Certificate
		pass  bool
	}{
		{"absent", nil, !required},
		{"trusted", &tr.known, true},
		{"of a strange authority", &tr.strange, false},
		{"revoked", &tr.revoked, tr.settings.ClientCertificates.CRLFile == ""},
	} {
		t.Run("certificate "+tc.name, func(t *testing.T) {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				if version == tls.VersionTLS12 && tr.settings.Profile == link.TLSModern {
					continue
				}
				c := tr.client(t, tc.shown, func(tr *http.Transport) {
					tr.TLSClientConfig.MaxVersion = version
					if tc.shown != nil { // also where the server's list of authorities does not ask for it
						tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.shown, nil }
					}
				})
				a, err := ask(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody)
				if err == nil && tc.pass {
					var e Echo
					if e, err = a.echo(); err == nil {
						tr.genuine(t, e, tc.shown)
					}
				}
				switch {
				case tc.pass && err != nil:
					t.Errorf("%s: %v", tls.VersionName(version), err)
				case !tc.pass && err == nil && (a.status < 400 || a.status >= 500):
					t.Errorf("%s: %d, want a refusal\n%s", tls.VersionName(version), a.status, a.body)
				}
			}
		})
	}
	t.Run("certificate resumed", func(t *testing.T) {
		for _, shown := range []*tls.Certificate{&tr.known, tr.certificate()} {
			cache := tls.NewLRUClientSessionCache(10)
			for range 3 {
				c := tr.client(t, shown, func(tr *http.Transport) { tr.TLSClientConfig.ClientSessionCache, tr.DisableKeepAlives = cache, true })
				e, err := must(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody).echo()
				if err != nil {
					t.Error(err)
				}
				tr.genuine(t, e, shown)
			}
		}
	})
	t.Run("curl", func(t *testing.T) {
		dir := t.TempDir()
		cert := writePEM(t, dir, "client.crt", "CERTIFICATE", tr.known.Certificate...)
		for _, version := range []string{"--http1.1", "--http2"} {
			out, err := Curl(t.Context(), tr.authorityFile, version, "--cert", cert, "--key", writeKey(t, dir, "client.key", tr.known), tr.url(tr.path("echo")))
			e, notEcho := answer{status: http.StatusOK, body: out}.echo()
			if err != nil || notEcho != nil {
				t.Fatalf("%s: %v, %v", version, err, notEcho)
			}
			tr.genuine(t, e, &tr.known)
		}
	})
}

// failover asks more often than there are nodes, one of which is down. Without bodies, requests that have one may meet the
// dead node once.
func (tr *trial) failover(t *testing.T, bodies bool) {
	c := tr.client(t, tr.certificate())
	for _, path := range []string{tr.path("echo"), "/ui/"} {
		lost := 0
		for range 6 {
			for _, method := range []string{http.MethodPost, http.MethodGet} {
				var body io.Reader = http.NoBody
				if method == http.MethodPost {
					body = strings.NewReader("body")
				}
				a := must(t, c, method, tr.url(path), body)
				if e, err := a.echo(); err == nil && e.Node == 1 {
					continue
				}
				if bodies || method != http.MethodPost || lost > 0 {
					t.Errorf("%s %s: %d %s; want an answer of the node that lives", method, path, a.status, a.body)
				}
				lost++
			}
		}
	}
}

// context looks at an application whose paths have another name outside.
func (tr *trial) context(t *testing.T) {
	t.Run("context", func(t *testing.T) {
		c := tr.client(t, tr.certificate())
		if got := must(t, c, http.MethodGet, tr.url(tr.path("cookie")), http.NoBody).header.Get("Set-Cookie"); !strings.Contains(got, "Path=/"+tr.settings.PublicContext) {
			t.Errorf("Set-Cookie: %q, want the path of outside", got)
		}
	})
}

// streaming sees that nothing is held back on the way, in either direction, and that large bodies come whole.
func (tr *trial) streaming(t *testing.T) {
	c := tr.client(t, tr.certificate())
	t.Run("blob", func(t *testing.T) {
		if got := must(t, c, http.MethodGet, tr.url(tr.path("blob")), http.NoBody); got.body != string(tr.app.Blob) {
			t.Errorf("%d, %d bytes: not what the application sent", got.status, len(got.body))
		}
		sum := sha256.Sum256(tr.app.Blob)
		for _, body := range []io.Reader{bytes.NewReader(tr.app.Blob), io.MultiReader(bytes.NewReader(tr.app.Blob))} { // with a length, and chunked
			got := must(t, c, http.MethodPut, tr.url(tr.path("blob")), body, func(r *http.Request) { r.Header.Set("Expect", "100-continue") })
			if got.body != hex.EncodeToString(sum[:]) {
				t.Errorf("%d %q: not what the application got", got.status, got.body)
			}
		}
	})
	id := url.QueryEscape(t.Name())
	t.Run("down", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, tr.url(tr.path("stream/down?id="+id)), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := bufio.NewReader(resp.Body)
		if line, err := body.ReadString('\n'); err != nil || line != "first\n" {
			t.Fatalf("%q, %v; want the first line before there is another", line, err)
		}
		tr.app.Release(t.Name()[:strings.LastIndex(t.Name(), "/")])
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "last\n" {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		body, w := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, tr.url(tr.path("stream/up?id="+id)), body)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			first := make([]byte, 32<<10)
			_, err := w.Write(first)
			select {
			case <-tr.app.Arrived(t.Name()[:strings.LastIndex(t.Name(), "/")]):
			case <-ctx.Done():
				err = fmt.Errorf("the application did not see the beginning before the end was sent: %w", ctx.Err())
			}
			if err == nil {
				_, err = w.Write(first)
			}
			_ = w.CloseWithError(err)
			sent <- err
		}()
		resp, err := c.Do(req)
		if err == nil {
			defer resp.Body.Close()
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadAll(resp.Body); err != nil || string(n) != strconv.Itoa(64<<10) {
			t.Errorf("%d: %q, %v", resp.StatusCode, n, err)
		}
	})
	t.Run("websocket", func(t *testing.T) {
		const key = "dGhlIHNhbXBsZSBub25jZQ=="
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, tr.url(tr.path("ws")), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key},
		}
		resp, err := c.Transport.RoundTrip(req) // the client's time limit hides that the body can be written to
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		stream, ok := resp.Body.(io.ReadWriter)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != WebSocketAccept(key) {
			t.Fatalf("%s, %v", resp.Status, resp.Header)
		}
		for _, text := range []string{"hello", "are you there?"} {
			frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // the mask is zero: RFC 6455, section 5.3
			if _, err := stream.Write(frame); err != nil {
				t.Fatal(err)
			}
			back := make([]byte, len(frame))
			if _, err := io.ReadFull(stream, back); err != nil || !bytes.Equal(back, frame) {
				t.Fatalf("%q came back as %q, %v", frame, back, err)
			}
		}
	})
}

// proxied comes as a load balancer does: with a PROXY header ahead of everything, from an address that the server trusts
// and from one that it does not.
func (tr *trial) proxied(t *testing.T) {
	dial := func(local string, header []byte) func(*http.Transport) {
		return func(tr *http.Transport) {
			tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
				conn, err := d.DialContext(ctx, network, "127.0.0.1:"+port)
				if err == nil {
					_, err = conn.Write(header)
				}
				return conn, err
			}
		}
	}
	header := proxyHeader([4]byte{198, 51, 100, 7})
	t.Run("trusted peer", func(t *testing.T) {
		e, err := must(t, tr.client(t, nil, dial("127.0.0.1", header)), http.MethodGet, tr.url(tr.path("echo")), http.NoBody).echo()
		if got := e.Header["X-Forwarded-For"]; err != nil || !slices.Equal(got, []string{"198.51.100.7"}) {
			t.Errorf("X-Forwarded-For: %q, %v; want the address of the PROXY header", got, err)
		}
	})
	t.Run("another peer", func(t *testing.T) {
		a, err := ask(t, tr.client(t, nil, dial("127.0.0.2", header)), http.MethodGet, tr.url(tr.path("echo")), http.NoBody)
		if err != nil || a.status >= 400 && a.status < 500 {
			return
		}
		e, err := a.echo()
		if got := e.Header["X-Forwarded-For"]; err != nil || !slices.Equal(got, []string{"127.0.0.2"}) {
			t.Errorf("X-Forwarded-For: %q, %v; want no belief in the PROXY header", got, err)
		}
	})
	t.Run("no header", func(t *testing.T) {
		c := tr.client(t, nil, dial("127.0.0.1", nil))
		c.Timeout = 20 * time.Second
		if a, err := ask(t, c, http.MethodGet, tr.url(tr.path("echo")), http.NoBody); err == nil && a.status < 400 {
			t.Errorf("%d without a PROXY header", a.status)
		}
	})
}

// proxyHeader is a PROXY v2 header of a stream from an address (the specification's section 2.2), with the endpoint that
// AWS adds to it.
func proxyHeader(source [4]byte) []byte {
	const endpoint = "\x01vpce-0123456789abcdef0"
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11)
	b = binary.BigEndian.AppendUint16(b, uint16(12+3+len(endpoint)))
	b = append(b, source[:]...)
	b = append(b, 10, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, 40000)
	b = binary.BigEndian.AppendUint16(b, 443)
	b = append(b, 0xEA)
	b = binary.BigEndian.AppendUint16(b, uint16(len(endpoint)))
	return append(b, endpoint...)
}
