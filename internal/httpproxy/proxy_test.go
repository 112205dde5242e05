package httpproxy

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// echo answers with the request as it came, its body last.
func echo(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	_ = r.Header.Write(&b)
	b.WriteString("\n")
	_, _ = io.Copy(&b, r.Body)
	_, _ = w.Write(bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")))
}

func TestRequestsReachTheApplication(t *testing.T) {
	bothProtocols(t, func(t *testing.T, two bool) {
		w := newWorld(t, http.HandlerFunc(echo), nil, nil)
		client := w.client(two)
		resp, body := do(t, client, newRequest(t, "POST", "https://art.test/artifactory/api/x?y=%2F", strings.NewReader("hello"), "X-Own", "1"))
		if resp.status != 200 || resp.ProtoMajor == 2 != two {
			t.Fatalf("%s over %s", resp.Status, resp.Proto)
		}
		for _, want := range []string{
			"POST /artifactory/api/x?y=%2F HTTP/1.1\n", "Host: art.test\n", "X-Own: 1\n", "X-Forwarded-For: 203.0.113.7\n",
			"X-Forwarded-Proto: https\n", "X-Forwarded-Port: 443\n", "X-Forwarded-Host: art.test\n", "\nhello", "Content-Length: 5\n",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("no %q in:\n%s", want, body)
			}
		}
		if got := resp.Header.Get("Strict-Transport-Security"); got != "max-age=63072000" {
			t.Errorf("Strict-Transport-Security: %s", got)
		}
		if r := w.recorded(); r.Status != 200 || r.Code != "" || r.Node != "c1 "+w.node || r.In != 5 || r.ClusterID != "c1" {
			t.Errorf("record: %+v", r)
		}
	})
}

func TestBodiesPassUnchanged(t *testing.T) {
	bothProtocols(t, func(t *testing.T, two bool) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("known") != "" && r.ContentLength >= 0 {
				w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
			}
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		}), nil, nil)
		client := w.client(two)
		var all sync.WaitGroup
		for _, size := range []int{0, 1, 8 << 10, 16 << 10, 16<<10 + 1, 100_000, 1 << 20, 5 << 20} {
			for _, known := range []string{"", "1"} {
				all.Go(func() {
					data := make([]byte, size)
					_, _ = rand.Read(data)
					var body io.Reader = bytes.NewReader(data)
					if known == "" {
						body = io.MultiReader(body) // of a length that the client does not know
					}
					for range 3 {
						r := newRequest(t, "PUT", "https://art.test/x?known="+known, body)
						resp, err := client.Do(r)
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
							t.Errorf("%d bytes, known %q: got %d, %v", size, known, len(got), err)
						}
						body = bytes.NewReader(data)
					}
				})
			}
		}
		all.Wait()
	})
}
