package httpproxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestShutdown(t *testing.T) {
	bothProtocols(t, func(t *testing.T, two bool) {
		begun, go_ := make(chan struct{}), make(chan struct{})
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(begun)
				<-go_
			}
			_, _ = io.WriteString(w, "whole")
		}), nil, nil)
		idle := w.raw()
		busy := w.client(two)
		type answer struct {
			body string
			err  error
		}
		answers := make(chan answer, 1)
		go func() {
			resp, err := busy.Do(newRequest(t, "GET", "https://art.test/slow", nil))
			if err != nil {
				answers <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			answers <- answer{string(body), err}
		}()
		<-begun
		down := make(chan error, 1)
		go func() { down <- w.server.Shutdown(t.Context()) }()
		if _, err := io.ReadAll(idle); err != nil && !strings.Contains(err.Error(), "reset") && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the idle flow: %v", err)
		}
		select {
		case err := <-down:
			t.Fatalf("ended with a request under way: %v", err)
		default:
		}
		close(go_)
		if a := <-answers; a.err != nil || a.body != "whole" {
			t.Errorf("the busy flow: %q, %v", a.body, a.err)
		}
		select {
		case err := <-down:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patient):
			t.Fatal("does not end")
		}
		if _, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: w.ca.pool(), ServerName: siteName}); err == nil {
			t.Error("a closed server takes flows")
		}
	})
}

func TestCloseCutsRequests(t *testing.T) {
	bothProtocols(t, func(t *testing.T, two bool) {
		begun := make(chan struct{})
		w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done()
		}), nil, nil)
		failed := make(chan error, 1)
		go func() {
			resp, err := w.client(two).Do(newRequest(t, "GET", "https://art.test/", nil))
			if err == nil {
				resp.Body.Close()
			}
			failed <- err
		}()
		<-begun
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("there was an answer")
		}
	})
}
