//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
)

// The documents that the web backend has, by path, and how large they are. What is in them is chance, so that no proxy
// gains by looking at it.
const (
	smallPath = "/artifactory/api/storage/libs-release/org/example/library/1.0/library-1.0.pom"
	largePath = "/artifactory/libs-release/org/example/library/1.0/library-1.0.jar"
	smallSize = 1 << 10
	largeSize = 1 << 20
)

var documents = func() map[string][]byte {
	chance := rand.NewChaCha8([32]byte{7})
	out := map[string][]byte{smallPath: make([]byte, smallSize), largePath: make([]byte, largeSize)}
	for _, path := range []string{smallPath, largePath} {
		_, _ = chance.Read(out[path])
	}
	return out
}()

// What a client says of itself that only proxies may say. No proxy may pass it on.
const (
	forgedAddress     = "203.0.113.66"
	forgedCertificate = "forged"
)

// webBackend is the application behind the proxies that speak HTTP: it answers as little as HTTP/1.1 asks for, from
// memory, as long as the proxy keeps the connection. It checks that every request has the headers that the proxies are told
// to set, and none that they are told to take away.
type webBackend struct {
	listener net.Listener
	addr     netip.AddrPort
	answers  map[string][]byte // by path
	conns    sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
	fail error
}

func startWebBackend() (*webBackend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &webBackend{listener: l, addr: l.Addr().(*net.TCPAddr).AddrPort(), answers: map[string][]byte{}, open: map[net.Conn]struct{}{}}
	for path, body := range documents {
		head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: Application/1.0\r\nContent-Type: application/octet-stream\r\n"+
			"Date: Mon, 23 Nov 2026 00:00:00 GMT\r\nETag: \"%d\"\r\nX-Node: bench\r\nContent-Length: %d\r\n\r\n", len(body), len(body))
		b.answers[path] = append(head, body...)
	}
	b.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open[conn] = struct{}{}
			b.mu.Unlock()
			b.conns.Go(func() {
				b.failed(b.serve(conn))
				b.mu.Lock()
				delete(b.open, conn)
				b.mu.Unlock()
				_ = conn.Close()
			})
		}
	})
	return b, nil
}

// close ends the backend, with what proxies have still open.
func (b *webBackend) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	for conn := range b.open {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.conns.Wait()
}

func (b *webBackend) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.fail = err
	}
}

// failure returns the first thing that was wrong with a request, nil when nothing was.
func (b *webBackend) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail
}

// serve answers requests until the proxy has no more. How a connection ends is the proxy's affair and no error.
func (b *webBackend) serve(conn net.Conn) error {
	r := bufio.NewReader(conn)
	var head []byte
	for {
		head = head[:0]
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			line, err := r.ReadSlice('\n')
			if head = append(head, line...); err != nil {
				if errors.Is(err, bufio.ErrBufferFull) {
					continue
				}
				return nil
			}
		}
		answer, err := b.answer(head)
		if err != nil {
			return err
		}
		if _, err := conn.Write(answer); err != nil {
			return nil //nolint:nilerr // as said
		}
	}
}

// wanted are the headers that every request has, in small letters.
var wanted = [][]byte{
	[]byte("\r\nx-forwarded-for: "), []byte("\r\nx-forwarded-proto: https\r\n"), []byte("\r\nx-forwarded-port: "),
	[]byte("\r\nx-forwarded-host: "), []byte("\r\nx-jfrog-override-base-url: https://"), []byte("\r\nhost: "),
}

func (b *webBackend) answer(head []byte) ([]byte, error) {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	method, rest, _ := bytes.Cut(line, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	answer, ok := b.answers[string(path)]
	if !ok || string(method) != "GET" {
		return nil, fmt.Errorf("web backend: %q", line)
	}
	small := bytes.ToLower(head)
	for _, w := range wanted {
		if bytes.Count(small, w) != 1 {
			return nil, fmt.Errorf("web backend: not one %q in %q", w, head)
		}
	}
	if bytes.Contains(small, []byte(forgedAddress)) || bytes.Contains(small, []byte(forgedCertificate)) {
		return nil, fmt.Errorf("web backend: what a client forged in %q", head)
	}
	return answer, nil
}

// errBody is what a client finds that got other bytes than the backend has.
var errBody = errors.New("other bytes than the backend sent")

// checker compares what comes with a document, as it comes.
type checker struct {
	want []byte
	at   int
}

func (c *checker) Write(b []byte) (int, error) {
	if len(b) > len(c.want)-c.at || !bytes.Equal(b, c.want[c.at:c.at+len(b)]) {
		return 0, errBody
	}
	c.at += len(b)
	return len(b), nil
}

// end returns an error unless everything has come.
func (c *checker) end() error {
	if c.at != len(c.want) {
		return fmt.Errorf("%d of %d bytes: %w", c.at, len(c.want), io.ErrUnexpectedEOF)
	}
	return nil
}
