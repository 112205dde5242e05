package httpproxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// benchApplication answers every request with as many bytes as it has, with as little work as can be.
func benchApplication(b *testing.B, size int) string {
	b.Helper()
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nServer: app\r\nX-Node: a\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\nContent-Length: " +
		strconv.Itoa(size) + "\r\n\r\n")
	answer = append(answer, make([]byte, size)...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var in reader
				in.from = conn
				for {
					if _, err := in.head(64 << 10); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// benchPeer is net/http/httputil's ReverseProxy behind net/http's server, as a peer in the same run.
func benchPeer(b *testing.B, w *world, node string) string {
	b.Helper()
	target := &url.URL{Scheme: "http", Host: node}
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	})
	cert := w.ca.issue(b, siteName, siteName)
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	proxy.EnableHTTP2 = true
	proxy.StartTLS()
	b.Cleanup(proxy.Close)
	return proxy.Listener.Addr().String()
}

// BenchmarkProxy asks for small and long answers over kept connections. The allocations are those of the proxies and, over
// HTTP/2, of the client, which is the same for both.
func BenchmarkProxy(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		for _, two := range []bool{false, true} {
			node := benchApplication(b, size)
			w := newWorldAt(b, node, nil, func(c *Config) { c.Record = nil })
			for _, peer := range []struct{ name, address string }{{"httpproxy", w.address}, {"ReverseProxy", benchPeer(b, w, node)}} {
				protocol := "HTTP1"
				if two {
					protocol = "HTTP2"
				}
				b.Run(peer.name+"/"+protocol+"/"+strconv.Itoa(size), func(b *testing.B) {
					b.ReportAllocs()
					begun := processorTime()
					defer func() { b.ReportMetric(float64((processorTime()-begun).Nanoseconds())/float64(b.N), "cpu-ns/op") }()
					if two {
						to := &world{t: b, ca: w.ca, address: peer.address}
						benchTwo(b, to, size)
						return
					}
					benchOne(b, w, peer.address, size)
				})
			}
		}
	}
}

// processorTime is what the process has used of processors, which a busy machine changes less than the time that passes.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchRequest = "GET /artifactory/libs/a.jar HTTP/1.1\r\nHost: art.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"

func benchOne(b *testing.B, w *world, address string, size int) {
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: w.ca.pool(), ServerName: siteName, NextProtos: []string{"http/1.1"}})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var in reader
	in.from = conn
	buffer := make([]byte, 256<<10)
	request := []byte(benchRequest)
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := in.head(64 << 10); err != nil {
			b.Fatal(err)
		}
		for left := size; left > 0; {
			n, err := in.Read(buffer[:min(left, len(buffer))])
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
}

func benchTwo(b *testing.B, w *world, size int) {
	client := w.client(true)
	buffer := make([]byte, 256<<10)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://art.test/artifactory/libs/a.jar", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Basic YWxpY2U6c2VjcmV0")
	for b.Loop() {
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for {
			got, err := resp.Body.Read(buffer)
			n += got
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		resp.Body.Close()
		if n != size {
			b.Fatalf("%d bytes", n)
		}
	}
}

// BenchmarkHeads is what is done for a request without any input or output.
func BenchmarkHeads(b *testing.B) {
	site, err := Compile(testRules(nil))
	if err != nil {
		b.Fatal(err)
	}
	forwarded := describe(netip.MustParseAddr("203.0.113.7"), "https", 443)
	answer := head("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 5", "Server: app", "Date: Mon, 23 Nov 2026 00:00:00 GMT")
	var r request
	var a response
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if err := parseRequest(&r, benchRequest, 100); err != nil {
			b.Fatal(err)
		}
		way, _ := site.route(r.target, "")
		o := onward{target: way.target, host: r.host, forwarded: forwarded, site: site}
		out = o.appendTo(out[:0], &r)
		if err := parseResponse(&a, answer, 100); err != nil {
			b.Fatal(err)
		}
		v := view{site: site, way: &way, listener: link.PublicListener, scheme: "https", host: r.host}
		v.turnFields(&a)
	}
}
