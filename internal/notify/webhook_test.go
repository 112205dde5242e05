package notify_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/store"
)

// trusting makes a notifier trust a test server's certificate.
func trusting(srv *httptest.Server) func(*notify.Config) {
	return func(c *notify.Config) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(srv.Certificate())
	}
}

func TestWebhook(t *testing.T) {
	r := newReceiver(t, status(http.StatusNoContent))
	w := newWorld(t, trusting(r.Server))
	sub := w.subscribe(func(s *link.Webhook) { s.URL = r.URL + "/hook?tenant=7" })
	w.happens()
	d := w.awaitDelivered(sub.ID)
	all := r.messages()
	if len(all) != 1 {
		t.Fatalf("%d messages, want 1", len(all))
	}
	got := all[0]
	if id := got.header.Get("webhook-id"); id != string(d.ID) {
		t.Errorf("webhook-id %q, want the delivery's %s", id, d.ID)
	}
	// The oracle is the library of those who wrote the specification.
	oracle, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	if err := oracle.Verify(got.body, got.header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	if err := oracle.Verify(append(got.body, ' '), got.header); err == nil {
		t.Error("the signature also fits another body")
	}
	var body map[string]any
	if err := json.Unmarshal(got.body, &body); err != nil {
		t.Fatal(err)
	}
	id := string(w.cluster.ID)
	want := map[string]any{
		"type": "connection.action_needed", "timestamp": d.Event.At.Format(time.RFC3339Nano),
		"data": map[string]any{
			"event_id": float64(d.Event.ID), "project_id": string(w.cluster.ProjectID), "cluster_id": id, "cluster_name": "acme",
			"object": map[string]any{"kind": "connection", "id": "vpce-0a1b2c3d4e5f60718"},
			"reason": "OWNER_NOT_TRUSTED", "message": "owner 123456789012 is not trusted by this cluster", "actor": "reconciler",
			"next_step": "add 123456789012 to the cluster's trusted owners",
			"links": map[string]any{
				"cluster": "https://postern.example/api/v1/clusters/" + id,
				"object":  "https://postern.example/api/v1/clusters/" + id + "/networking/private-endpoint-connections/vpce-0a1b2c3d4e5f60718",
				"events":  "https://postern.example/api/v1/clusters/" + id + "/networking/private-endpoint-connections/vpce-0a1b2c3d4e5f60718/events",
			},
		},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	err = w.st.Read(t.Context(), func(tx *store.Tx) error {
		tries, err := tx.Attempts(d.ID)
		if len(tries) != 1 || tries[0].Status != http.StatusNoContent || tries[0].Error != "" {
			t.Errorf("tries: %+v", tries)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every try says the same under the same id; a receiver that was down gets it when it is up again.
func TestWebhookIsTriedAgain(t *testing.T) {
	r := newReceiver(t, status(http.StatusBadGateway))
	w := newWorld(t, trusting(r.Server))
	sub := w.subscribe(func(s *link.Webhook) { s.URL = r.URL })
	w.happens()
	d := w.await(sub.ID, "tried once", func(d link.Delivery) bool { return d.Attempts == 1 })
	if d.Status != link.DeliveryPending || d.LastError != "the receiver answered 502 Bad Gateway" {
		t.Errorf("after a failure: %+v", d)
	}
	if wait := d.NextAt.Sub(d.UpdatedAt); wait < 4*time.Second || wait > 10*time.Second {
		t.Errorf("the next try is %v after the first", wait)
	}
	r.mu.Lock()
	r.answer = status(http.StatusOK)
	r.mu.Unlock()
	w.later(d)
	if d = w.awaitDelivered(sub.ID); d.Attempts != 2 || d.LastError != "" {
		t.Errorf("in the end: %+v", d)
	}
	all := r.messages()
	if len(all) != 2 || !bytes.Equal(all[0].body, all[1].body) || all[0].header.Get("webhook-id") != all[1].header.Get("webhook-id") {
		t.Errorf("%d messages that are not one: %+v", len(all), all)
	}
}

func TestWebhookEnds(t *testing.T) {
	elsewhere := newReceiver(t, status(http.StatusOK))
	plain := httptest.NewServer(status(http.StatusOK))
	t.Cleanup(plain.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		url    func(own string) string
		edit   func(*notify.Config)
		words  string
		status link.DeliveryStatus
		wait   time.Duration // at least, until the next try
	}{
		{name: "gone", answer: status(http.StatusGone), words: "the receiver answered 410 Gone", status: link.DeliveryDead},
		{
			name: "a redirect", answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			}, words: "the receiver answered 307 Temporary Redirect: redirects are not followed", status: link.DeliveryPending,
		},
		{
			name: "asked to wait", answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusTooManyRequests)
			}, words: "the receiver answered 429 Too Many Requests", status: link.DeliveryPending, wait: time.Hour,
		},
		{
			name: "asked to wait for years", answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "99999999")
				w.WriteHeader(http.StatusServiceUnavailable)
			}, words: "the receiver answered 503 Service Unavailable", status: link.DeliveryPending, wait: 12 * time.Hour,
		},
		{
			name: "no answer", answer: func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				panic(http.ErrAbortHandler) // or a client that is just hanging up would still get an answer
			},
			edit:  func(c *notify.Config) { c.Timeout = time.Second },
			words: "no answer within 1 seconds", status: link.DeliveryPending,
		},
		{
			name: "a certificate of nobody", edit: func(c *notify.Config) { c.RootCAs = x509.NewCertPool() },
			words: "the receiver's certificate cannot be verified", status: link.DeliveryPending,
		},
		{
			name: "a certificate of somebody else", url: func(own string) string { return strings.Replace(own, "127.0.0.1", "localhost", 1) },
			words: "the receiver's certificate cannot be verified", status: link.DeliveryPending,
		},
		{
			name: "no TLS", url: func(string) string { return strings.Replace(plain.URL, "http:", "https:", 1) },
			words: "the receiver does not speak TLS", status: link.DeliveryPending,
		},
		{
			name: "nobody listens", url: func(string) string { return "https://" + closed.Addr().String() },
			words: "the receiver refuses connections", status: link.DeliveryPending,
		},
		{
			name: "an address of our own", edit: func(c *notify.Config) { c.Open = nil },
			words: "the receiver's name leads to an address that is not public", status: link.DeliveryPending,
		},
		{
			name: "a name of our own", edit: func(c *notify.Config) { c.Open = nil },
			url:   func(own string) string { return strings.Replace(own, "127.0.0.1", "localhost", 1) },
			words: "the receiver's name leads to an address that is not public", status: link.DeliveryPending,
		},
		{
			name: "the cloud's metadata", url: func(string) string { return "https://169.254.169.254/latest/meta-data/" },
			words: "the receiver's name leads to an address that is not public", status: link.DeliveryPending,
		},
		{
			name: "a name that nobody has", url: func(string) string { return "https://receiver.invalid/" },
			words: "the receiver's name cannot be resolved", status: link.DeliveryPending,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.answer == nil {
				tt.answer = status(http.StatusOK)
			}
			r := newReceiver(t, tt.answer)
			w := newWorld(t, func(c *notify.Config) {
				trusting(r.Server)(c)
				if tt.edit != nil {
					tt.edit(c)
				}
			})
			sub := w.subscribe(func(s *link.Webhook) {
				s.URL = r.URL
				if tt.url != nil {
					s.URL = tt.url(r.URL)
				}
			})
			w.happens()
			d := w.await(sub.ID, "tried once", func(d link.Delivery) bool { return d.Attempts == 1 })
			if d.Status != tt.status || d.LastError != tt.words {
				t.Errorf("status %s, %q; want %s, %q", d.Status, d.LastError, tt.status, tt.words)
			}
			if got := d.NextAt.Sub(d.UpdatedAt); tt.wait > 0 && (got < tt.wait-time.Minute || got > tt.wait+time.Minute) {
				t.Errorf("the next try is after %v, want %v", got, tt.wait)
			}
			err := w.st.Read(t.Context(), func(tx *store.Tx) error {
				after, err := tx.Webhook(sub.ID)
				if gone := tt.status == link.DeliveryDead; after.Enabled == gone || gone && after.DisabledReason != link.DisabledByReceiver {
					t.Errorf("the subscription: %+v", after)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	if n := len(elsewhere.messages()); n != 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
}

// While a secret is being changed, a receiver that knows either of the two is content.
func TestWebhookSignsWithBothKeys(t *testing.T) {
	r := newReceiver(t, status(http.StatusOK))
	w := newWorld(t, trusting(r.Server))
	sub := w.subscribe(func(s *link.Webhook) { s.URL = r.URL })
	newer := []byte("another key of thirty-two bytes!")
	w.write(func(tx *store.Tx) error {
		_, err := tx.RotateSigningKey(sub.ID, newer, tx.Now().Add(time.Hour))
		return err
	})
	w.happens()
	w.awaitDelivered(sub.ID)
	w.ahead.Store(int64(2 * time.Hour))
	w.happens()
	w.await(sub.ID, "the second", func(d link.Delivery) bool { return d.Event.ID == 2 && d.Status == link.DeliveryDelivered })
	all := r.messages()
	for i, want := range []map[string]bool{{string(key): true, string(newer): true}, {string(key): false, string(newer): true}} {
		for k, good := range want {
			oracle, err := standardwebhooks.NewWebhookRaw([]byte(k))
			if err != nil {
				t.Fatal(err)
			}
			// The oracle's clock is the machine's, and cannot be moved.
			if err := oracle.VerifyIgnoringTimestamp(all[i].body, all[i].header); (err == nil) != good {
				t.Errorf("message %d with key %q: %v", i+1, k, err)
			}
		}
	}
}

// A receiver that takes its time does not keep others from theirs.
func TestSlowReceiverHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	slow := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	quick := newReceiver(t, status(http.StatusOK))
	w := newWorld(t, trusting(quick.Server)) // httptest's servers have one certificate
	t.Cleanup(func() { close(release) })
	w.subscribe(func(s *link.Webhook) { s.URL = slow.URL })
	for range 10 {
		w.happens()
	}
	other := w.subscribe(func(s *link.Webhook) { s.URL = quick.URL })
	w.happens()
	w.awaitDelivered(other.ID)
	if n := len(slow.messages()); n > 2 {
		t.Errorf("%d tries at once to one receiver", n)
	}
}
