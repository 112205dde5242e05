package httpproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func TestRequestHeads(t *testing.T) {
	const get, host = "GET / HTTP/1.1", "Host: art.test"
	for _, c := range []struct {
		name, head string
		err        error
		check      func(r *request) bool
	}{
		{"plain", head(get, host), nil, func(r *request) bool {
			return r.method == "GET" && r.target == "/" && r.host == "art.test" && r.length == 0 && !r.close
		}},
		{"close", head(get, host, "Connection: foo, Close"), nil, func(r *request) bool { return r.close && r.dropped("FOO") }},
		{"HTTP/1.0", head("GET / HTTP/1.0", host), nil, func(r *request) bool { return r.old && r.close }},
		{"absolute", head("GET https://art.test/x?y HTTP/1.1", host), nil, func(r *request) bool { return r.target == "/x?y" }},
		{"absolute without a path", head("GET https://art.test HTTP/1.1", host), nil, func(r *request) bool { return r.target == "/" }},
		{"absolute, query alone", head("GET https://art.test?y HTTP/1.1", host), nil, func(r *request) bool { return r.target == "/?y" }},
		{"upgrade", head(get, host, "Connection: keep-alive, Upgrade", "Upgrade: websocket"), nil, func(r *request) bool { return r.upgrade == "websocket" }},
		{"upgrade that Connection does not name", head(get, host, "Upgrade: websocket"), nil, func(r *request) bool { return r.upgrade == "" }},
		{"length", head("PUT / HTTP/1.1", host, "Content-Length: 12"), nil, func(r *request) bool { return r.length == 12 && len(r.fields) == 0 }},
		{"chunked", head("PUT / HTTP/1.1", host, "Transfer-Encoding: Chunked"), nil, func(r *request) bool { return r.length == chunkedLength }},
		{"expectation", head("PUT / HTTP/1.1", host, "Expect: 100-Continue", "Content-Length: 1"), nil, func(r *request) bool { return r.expect }},
		{"expectation without a body", head("PUT / HTTP/1.1", host, "Expect: 100-continue"), nil, func(r *request) bool { return !r.expect }},
		{"trailers", head(get, host, "TE: trailers, deflate;q=0.5"), nil, func(r *request) bool { return r.trailers }},
		{"blanks around a value", head(get, host, "X:\t a b \t"), nil, func(r *request) bool { return r.fields[0].value == "a b" }},
		{"bytes beyond ASCII", head("GET /ü HTTP/1.1", host, "X: ü"), nil, func(r *request) bool { return r.target == "/ü" && r.fields[0].value == "ü" }},
		{"length spelt with '_' is no length", head(get, host, "Content_Length: 5"), nil, func(r *request) bool { return r.length == 0 && r.fields[0].kind == forged }},

		{"no host", head(get), errHost, nil},
		{"two hosts", head(get, host, host), errHost, nil},
		{"another authority", head("GET https://evil.test/ HTTP/1.1", host), errHost, nil},
		{"authority with a user", head("GET https://x@art.test/ HTTP/1.1", host), errHost, nil},
		{"length and chunked", head("PUT / HTTP/1.1", host, "Content-Length: 5", "Transfer-Encoding: chunked"), errBoth, nil},
		{"two equal lengths", head("PUT / HTTP/1.1", host, "Content-Length: 5", "Content-Length: 5"), errLength, nil},
		{"two lengths", head("PUT / HTTP/1.1", host, "Content-Length: 5", "Content-Length: 6"), errLength, nil},
		{"list of lengths", head("PUT / HTTP/1.1", host, "Content-Length: 5, 5"), errLength, nil},
		{"length with a sign", head("PUT / HTTP/1.1", host, "Content-Length: +5"), errLength, nil},
		{"length in hexadecimal", head("PUT / HTTP/1.1", host, "Content-Length: 0x5"), errLength, nil},
		{"no length", head("PUT / HTTP/1.1", host, "Content-Length:"), errLength, nil},
		{"endless length", head("PUT / HTTP/1.1", host, "Content-Length: 1111111111111111111"), errLength, nil},
		{"two encodings", head("PUT / HTTP/1.1", host, "Transfer-Encoding: gzip, chunked"), errEncoding, nil},
		{"two lines of encoding", head("PUT / HTTP/1.1", host, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), errEncoding, nil},
		{"identity", head("PUT / HTTP/1.1", host, "Transfer-Encoding: identity"), errEncoding, nil},
		{"odd chunked", head("PUT / HTTP/1.1", host, "Transfer-Encoding: \vchunked"), errField, nil},
		{"chunked in HTTP/1.0", head("PUT / HTTP/1.0", host, "Transfer-Encoding: chunked"), errEncoding, nil},
		{"blank before the colon", head(get, host, "Content-Length : 5"), errField, nil},
		{"folded line", head(get, host, "X: a", " b"), errField, nil},
		{"line without a name", head(get, host, ": a"), errField, nil},
		{"line without a colon", head(get, host, "abc"), errField, nil},
		{"control character", head(get, host, "X: a\x00b"), errField, nil},
		{"lone CR", head(get, host, "X: a\rContent-Length: 5"), errField, nil},
		{"HTTP/2.0", head("GET / HTTP/2.0", host), errVersion, nil},
		{"HTTP/1.2", head("GET / HTTP/1.2", host), errVersion, nil},
		{"HTTP/0.9", head("GET /", host), errStartLine, nil},
		{"two blanks", head("GET  / HTTP/1.1", host), errVersion, nil},
		{"blank in the target", head("GET /a b HTTP/1.1", host), errVersion, nil},
		{"tabulator in the target", head("GET /a\tb HTTP/1.1", host), errTarget, nil},
		{"fragment", head("GET /a#b HTTP/1.1", host), errTarget, nil},
		{"another scheme", head("GET ftp://art.test/ HTTP/1.1", host), errTarget, nil},
		{"relative", head("GET x HTTP/1.1", host), errTarget, nil},
		{"star", head("GET * HTTP/1.1", host), errTarget, nil},
		{"another expectation", head("PUT / HTTP/1.1", host, "Expect: 200-ok", "Content-Length: 1"), errExpect, nil},
		{"too many fields", head(get, host, strings.Repeat("X: 1\r\n", 100)+"X: 1"), errFields, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r request
			err := parseRequest(&r, c.head, 100)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !c.check(&r) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAnswerHeads(t *testing.T) {
	for _, c := range []struct {
		name, head string
		err        error
		check      func(r *response) bool
	}{
		{"plain", head("HTTP/1.1 200 OK", "Content-Length: 5"), nil, func(r *response) bool { return r.status == 200 && r.length == 5 && !r.close }},
		{"without a reason", head("HTTP/1.1 200"), nil, func(r *response) bool { return r.status == 200 && r.length == endlessLength }},
		{"equal lengths", head("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"), nil, func(r *response) bool { return r.length == 5 }},
		{"HTTP/1.0 closes", head("HTTP/1.0 200 OK"), nil, func(r *response) bool { return r.close }},
		{"switch", head("HTTP/1.1 101 X", "Connection: upgrade", "Upgrade: websocket"), nil, func(r *response) bool { return r.upgrade == "websocket" }},

		{"two lengths", head("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 6"), errLength, nil},
		{"length and chunked", head("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"), errBoth, nil},
		{"another encoding", head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip"), errEncoding, nil},
		{"status of two digits", head("HTTP/1.1 20 OK"), errStatus, nil},
		{"status of letters", head("HTTP/1.1 2x0 OK"), errStatus, nil},
		{"low status", head("HTTP/1.1 099 OK"), errStatus, nil},
		{"another protocol", head("ICY 200 OK"), errVersion, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r response
			err := parseResponse(&r, c.head, 100)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !c.check(&r) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What is taken for a request ends where package http says that it ends, and goes out as one request.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		head("GET / HTTP/1.1", "Host: a"), head("PUT /x HTTP/1.1", "Host: a", "Content-Length: 3") + "abc",
		head("PUT /x HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
		head("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1", "x_forwarded_for: 2", "Connection: X-Forwarded-For, x"),
	} {
		f.Add([]byte(s))
	}
	site, err := Compile(testRules(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in reader
		in.from = bytes.NewReader(data)
		text, err := in.head(8 << 10)
		if err != nil {
			return
		}
		var r request
		if err := parseRequest(&r, string(text), 50); err != nil || r.method == "CONNECT" || r.method == "PRI" {
			return
		}
		oracle, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err == nil && (oracle.Method != r.method || oracle.Host != r.host || oracle.ContentLength != r.length) {
			t.Errorf("%+v, but package http reads %s %s %d", r, oracle.Method, oracle.Host, oracle.ContentLength)
		}
		if err == nil {
			if body, err := io.ReadAll(oracle.Body); err == nil && r.length == chunkedLength {
				from := chunks{in: &in, most: 50}
				if got, err := io.ReadAll(&from); err == nil && !bytes.Equal(got, body) {
					t.Errorf("%q, but package http reads %q", got, body)
				}
			}
		}
		o := onward{target: r.target, host: r.host, forwarded: "X-Forwarded-For: 192.0.2.1\r\n", site: site}
		out := o.appendTo(nil, &r)
		again, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			if strings.ContainsAny(r.target, "%") || strings.ContainsAny(r.host, " %/[]:\"<>\\^`{|}@") {
				return // package http also looks into what it takes for a URL and a host
			}
			t.Fatalf("not a request: %q: %v", out, err)
		}
		if !bytes.HasSuffix(out, []byte("\r\n\r\n")) || bytes.Count(out, []byte("\r\n\r\n")) != 1 {
			t.Fatalf("more than one head: %q", out)
		}
		for name, values := range again.Header {
			if k := kindOf(name); k == forged && (name != "X-Forwarded-For" && name != "X-Forwarded-Host" || len(values) != 1) {
				t.Errorf("%s: %q passed", name, values)
			}
		}
		if got := again.Header.Get("X-Forwarded-For"); got != "192.0.2.1" {
			t.Errorf("X-Forwarded-For: %s", got)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(head("HTTP/1.1 200 OK", "Content-Length: 5", "Location: https://art.test/artifactory/api/docker/docker-local/v2/x")), "/v2/x")
	f.Add([]byte(head("HTTP/1.1 401 X", `WWW-Authenticate: Bearer realm="https://art.test/artifactory/api/docker/docker-local/v2/token",service="x"`)), "/v2/")
	f.Add([]byte(head("HTTP/1.1 200 OK", `Link: </artifactory/api/docker/docker-local/v2/_catalog?n=1>; rel="next"`, "Set-Cookie: a=b; Path=/artifactory")), "/v2/_catalog")
	site, err := Compile(testRules(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, target string) {
		var in reader
		in.from = bytes.NewReader(data)
		text, err := in.head(8 << 10)
		if err != nil {
			return
		}
		var r response
		if parseResponse(&r, string(text), 50) != nil || !isTarget(target) || target[0] != '/' {
			return
		}
		way, failure := site.route(target, "docker-local")
		if failure != nil {
			return
		}
		v := view{site: site, way: &way, listener: "public", scheme: "https", host: "docker-local.art.test"}
		v.turnFields(&r)
		for _, f := range r.fields {
			if !httpguts.ValidHeaderFieldName(f.name) || !httpguts.ValidHeaderFieldValue(f.value) {
				t.Errorf("%q: %q", f.name, f.value)
			}
		}
	})
}

func TestChunks(t *testing.T) {
	for _, c := range []struct {
		name, in, want, rest string
		trailers             int
		err                  error
	}{
		{"some", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nrest", "abc0123456789", "rest", 0, nil},
		{"none", "0\r\n\r\n", "", "", 0, nil},
		{"extension", "3;a=b\r\nabc\r\n0;x\r\n\r\n", "abc", "", 0, nil},
		{"trailers", "0\r\nA: 1\r\nB: 2\r\n\r\nrest", "", "rest", 2, nil},
		{"bare LF", "3\nabc\r\n0\r\n\r\n", "", "", 0, errBareLF},
		{"bare LF behind a chunk", "3\r\nabc\n0\r\n\r\n", "abc", "", 0, errChunk},
		{"too long a chunk", "3\r\nabcd\r\n0\r\n\r\n", "abc", "", 0, errChunk},
		{"no number", "\r\n", "", "", 0, errChunk},
		{"sign", "+3\r\nabc\r\n", "", "", 0, errChunk},
		{"prefix", "0x3\r\nabc\r\n", "", "", 0, errChunk},
		{"huge", "fffffffffffffffff\r\n", "", "", 0, errChunk},
		{"cut short", "5\r\nabc", "abc", "", 0, io.ErrUnexpectedEOF},
		{"cut short behind a chunk", "3\r\nabc\r\n", "abc", "", 0, io.ErrUnexpectedEOF},
		{"malformed trailer", "0\r\nA : 1\r\n\r\n", "", "", 0, errField},
		{"more beside than in", strings.Repeat("1;"+strings.Repeat("x", 900)+"\r\na\r\n", 30) + "0\r\n\r\n", strings.Repeat("a", 18), "", 0, errChunkExcess},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, one := range []bool{false, true} {
				var in reader
				in.from = strings.NewReader(c.in)
				if one {
					in.from = oneByOne{in.from}
				}
				from := chunks{in: &in, most: 10}
				got, err := io.ReadAll(&from)
				if !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if string(got) != c.want {
					t.Errorf("got %q", got)
				}
				if err == nil {
					rest, _ := io.ReadAll(&in)
					if string(rest) != c.rest || len(from.trailers) != c.trailers {
						t.Errorf("%q is left, and %v", rest, from.trailers)
					}
				}
			}
		})
	}
}

// oneByOne reads a byte at a time.
type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func TestChunkSizes(t *testing.T) {
	for n, want := range map[int]string{0: "0", 1: "1", 15: "f", 16: "10", 255: "ff", 4096: "1000", 65526: "fff6"} {
		if got := string(appendChunkSize(nil, n)); got != want+"\r\n" {
			t.Errorf("%d: %q", n, got)
		}
	}
}
