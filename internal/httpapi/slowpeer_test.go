package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// TestAnnouncedBodyThatNeverComes holds the server to its word that nobody, and nobody unknown least of all, can keep a
// request open by announcing a body and sending none.
func TestAnnouncedBodyThatNeverComes(t *testing.T) {
	st := storetest.Open(t, store.Options{})
	plane := control.New(st, control.Options{Domain: "postern.test"})
	// Twice as long is what an answer may take: on a machine with much to do it may take long.
	srv := httptest.NewServer(httpapi.New(plane, httpapi.Options{BodyTimeout: 3 * time.Second}))
	t.Cleanup(srv.Close)
	for _, row := range []struct {
		request string
		status  int
	}{
		{"GET /healthz", http.StatusOK},
		{"GET /openapi.json", http.StatusOK},
		{"GET /no/such/path", http.StatusNotFound},
		{"PATCH /api/v1/projects", http.StatusMethodNotAllowed},
		{"POST /api/v1/projects", http.StatusUnauthorized},
	} {
		t.Run(row.request, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", row.request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != row.status {
				t.Errorf("status %d, want %d", resp.StatusCode, row.status)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Errorf("the answer breaks off: %v", err)
			}
			if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the connection stays open for more: %d bytes, %v", n, err)
			}
		})
	}
}

// TestAnswersThatNobodyReads: a peer asks for much and takes nothing. It is given up.
func TestAnswersThatNobodyReads(t *testing.T) {
	st := storetest.Open(t, store.Options{})
	plane := control.New(st, control.Options{Domain: "postern.test"})
	srv := httptest.NewUnstartedServer(httpapi.New(plane, httpapi.Options{BodyTimeout: 50 * time.Millisecond}))
	closed := make(chan struct{}, 10)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	go func() { // it blocks when the server reads no more, until the server gives up
		_, _ = io.WriteString(conn, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the connection of a peer that reads nothing stays")
	}
}
