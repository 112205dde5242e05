package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Wire carries a driver's requests to the cloud. It counts them, and fails them where a test asks for it: before they
// arrive, or after they have taken effect and before the answer is back, which is what a crash looks like.
type Wire struct {
	base    http.RoundTripper
	mutates func(*http.Request) bool

	mu      sync.Mutex
	calls   int
	changes int
	fault   func(call int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error)
}

// errCut is what a driver sees of a request that the wire cut.
var errCut = errors.New("the wire was cut")

// NewWire returns a wire over base; nil is http.DefaultTransport. mutates tells requests that change something at the
// cloud from those that only read; when it reads the body, it puts it back.
func NewWire(base http.RoundTripper, mutates func(*http.Request) bool) *Wire {
	if base == nil {
		base = http.DefaultTransport
	}
	return &Wire{base: base, mutates: mutates}
}

// RoundTrip implements http.RoundTripper.
func (w *Wire) RoundTrip(req *http.Request) (*http.Response, error) {
	changes := w.mutates(req)
	w.mu.Lock()
	w.calls++
	call, fault := w.calls, w.fault
	w.mu.Unlock()
	send := func() (*http.Response, error) {
		if changes {
			w.mu.Lock()
			w.changes++
			w.mu.Unlock()
		}
		return w.base.RoundTrip(req)
	}
	if fault != nil {
		return fault(call, req, send)
	}
	return send()
}

// Calls returns how many requests were made since the last Heal, and Changes how many of them reached the cloud and
// were to change something.
func (w *Wire) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// Changes is explained at Calls.
func (w *Wire) Changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

// Heal ends every fault and begins to count anew.
func (w *Wire) Heal() { w.set(nil) }

// CutAt makes the process die at the n-th request from now: ctx (which cancel ends) is over, and nothing passes any
// more. With lost, the n-th request still takes effect and only its answer is lost. It reports through hit whether
// there was an n-th request.
func (w *Wire) CutAt(n int, lost bool, cancel context.CancelFunc) (hit func() bool) {
	var reached bool
	var mu sync.Mutex
	w.set(func(call int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if call < n {
			return send()
		}
		mu.Lock()
		defer mu.Unlock()
		reached = true
		if call == n && lost {
			resp, err := send()
			if err != nil {
				cancel()
				return nil, fmt.Errorf("%w, after an error: %w", errCut, err)
			}
			_ = resp.Body.Close()
		}
		cancel()
		return nil, errCut
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return reached
	}
}

// AnswerFirst makes the wire answer each distinct request's first k tries itself.
func (w *Wire) AnswerFirst(k int, answer func(*http.Request) *http.Response) {
	streak := 0
	var mu sync.Mutex
	w.set(func(_ int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		mu.Lock()
		if streak < k {
			streak++
			mu.Unlock()
			return answer(req), nil
		}
		streak = 0
		mu.Unlock()
		return send()
	})
}

// AnswerAll makes the wire answer every request itself where answer returns a response, and pass the others.
func (w *Wire) AnswerAll(answer func(*http.Request) *http.Response) {
	w.set(func(_ int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if resp := answer(req); resp != nil {
			return resp, nil
		}
		return send()
	})
}

func (w *Wire) set(fault func(int, *http.Request, func() (*http.Response, error)) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.changes, w.fault = 0, 0, fault
}
