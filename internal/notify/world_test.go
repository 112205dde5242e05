package notify_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const soon = 60 * time.Second // far longer than anything here takes on a busy machine

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// world is a store with one cluster whose deliveries are made, by a clock that the test moves.
type world struct {
	t       *testing.T
	st      *store.Store
	cluster link.Cluster
	ahead   atomic.Int64 // of the machine's clock, in nanoseconds
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func newWorld(t *testing.T, edit func(*notify.Config)) *world {
	t.Helper()
	w := &world{t: t}
	log := slog.New(slog.DiscardHandler)
	w.st = storetest.Open(t, store.Options{Now: w.now, Log: log})
	cfg := notify.Config{Store: w.st, PublicURL: "https://postern.example", Open: loopback, Now: w.now, Log: log}
	edit(&cfg)
	n, err := notify.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	workers, err := w.st.Work(t.Context(), store.WorkOptions{Handlers: n.Handlers(), Poll: 10 * time.Millisecond, Sweep: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(workers.Close(), n.Close()); err != nil {
			t.Error(err)
		}
	})
	w.write(func(tx *store.Tx) error {
		p, _, err := tx.AddProject("", "acme")
		if err != nil {
			return err
		}
		w.cluster, err = tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: "acme", Provider: link.AWS, PublicAccess: link.PublicEnabled})
		return err
	})
	return w
}

func (w *world) write(f func(*store.Tx) error) {
	w.t.Helper()
	if err := w.st.Write(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

var key = []byte("0123456789abcdef0123456789abcdef")

func (w *world) subscribe(edit func(*link.Webhook)) (out link.Webhook) {
	w.t.Helper()
	out = link.Webhook{ID: link.NewID(), Kind: link.WebhookHTTP, Enabled: true}
	edit(&out)
	w.write(func(tx *store.Tx) (err error) {
		out, err = tx.AddWebhook(out, key)
		return err
	})
	return out
}

// distrusted is an event that somebody has to act upon.
func (w *world) distrusted() link.Event {
	return link.Event{
		Object: link.ObjectRef{Kind: link.ObjectConnection, ID: string(w.cluster.ID) + "/vpce-0a1b2c3d4e5f60718"},
		Type:   link.EventNotAccepted, Reason: link.ReasonOwnerNotTrusted, Message: "owner 123456789012 is not trusted by this cluster",
		NextStep: "add 123456789012 to the cluster's trusted owners", Actor: "reconciler",
	}
}

func (w *world) happens() {
	w.t.Helper()
	w.write(func(tx *store.Tx) error { return tx.AddEvent(w.distrusted()) })
}

// await waits until the newest delivery of a subscription is as it should be.
func (w *world) await(id link.ID, what string, good func(link.Delivery) bool) link.Delivery {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), soon)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last link.Delivery
	for {
		err := w.st.Read(ctx, func(tx *store.Tx) error {
			all, _, err := tx.Deliveries(id, "", store.Cut{Limit: 1, Descending: true})
			if len(all) > 0 {
				last = all[0]
			}
			return err
		})
		if err == nil && good(last) {
			return last
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited in vain for a delivery that is %s; the last is %+v (%v)", what, last, err)
		case <-tick.C:
		}
	}
}

func (w *world) awaitDelivered(id link.ID) link.Delivery {
	w.t.Helper()
	return w.await(id, "delivered", func(d link.Delivery) bool { return d.Status == link.DeliveryDelivered })
}

// later moves the clock past a delivery's next try.
func (w *world) later(d link.Delivery) {
	w.t.Helper()
	w.ahead.Add(int64(d.NextAt.Sub(w.now()) + time.Second))
	w.write(func(tx *store.Tx) error { return tx.MarkDue(store.WorkDelivery, string(d.ID)) })
}

// message is what a receiver got.
type message struct {
	header http.Header
	body   []byte
}

// receiver is a webhook's receiver with TLS, that answers as the test wants.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []message
	answer http.HandlerFunc
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.got = append(r.got, message{req.Header.Clone(), body})
		r.mu.Unlock()
		r.answer(w, req)
	}))
	r.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) messages() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.got...)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
