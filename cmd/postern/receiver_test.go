package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receivers are the receivers of webhooks that scripts started, by the name that the script gave.
var receivers sync.Map

// hookReceiver keeps the webhooks that it got and whose signature is right.
type hookReceiver struct {
	mu     sync.Mutex
	secret string   // empty until the script has told it
	got    []string // "type id", each message that was in order
	bad    []string
}

func (r *hookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	var message struct {
		Type string `json:"type"`
	}
	hook, err2 := standardwebhooks.NewWebhook(r.secret)
	if err2 == nil {
		err2 = hook.Verify(body, req.Header)
	}
	if err := errors.Join(err, err2, json.Unmarshal(body, &message)); err != nil {
		r.bad = append(r.bad, err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.got = append(r.got, message.Type+" "+req.Header.Get("webhook-id"))
}

// startReceiver starts a receiver of webhooks on loopback until the script ends: receiver URL-VARIABLE NAME.
func startReceiver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: receiver variable name")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	r := &hookReceiver{}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(ln) }()
	ts.Defer(func() {
		_ = srv.Shutdown(context.Background())
		<-served
	})
	receivers.Store(ts.Name()+args[1], r)
	ts.Setenv(args[0], "http://"+ln.Addr().String())
}

func receiverOf(ts *testscript.TestScript, name string) *hookReceiver {
	r, ok := receivers.Load(ts.Name() + name)
	if !ok {
		ts.Fatalf("there is no receiver %s", name)
	}
	return r.(*hookReceiver)
}

// tellSecret tells a receiver the secret that it checks signatures with: secret NAME SECRET.
func tellSecret(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: secret name secret")
	}
	r := receiverOf(ts, args[0])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = args[1]
}

// received checks how many messages of a type, or of an id, a receiver got, and that none was out of order:
// received NAME TEXT TIMES.
func received(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: received name text times")
	}
	r := receiverOf(ts, args[0])
	err := poll(60*time.Second, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := 0
		for _, got := range r.got {
			if strings.Contains(got, args[1]) {
				n++
			}
		}
		if fmt.Sprint(n) != args[2] || len(r.bad) > 0 {
			return fmt.Errorf("%d of %q in %q; refused: %q", n, args[1], r.got, r.bad)
		}
		return nil
	})
	ts.Check(err)
}
