// Package notify tells people and programs what happened: it brings the deliveries that the store made of events to their
// receivers, as signed webhooks (https://www.standardwebhooks.com) and as mail, and writes the events of what is about to
// expire. A delivery is tried until it arrives, for about three days, by whichever process takes its work; it may arrive
// more than once, always with the same id, and deliveries may overtake one another.
package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// Config is what a Notifier needs. Zero fields other than Store take the default named.
type Config struct {
	Store     *store.Store   // stays the caller's to close, after the Notifier
	PublicURL string         // of the API, without /api/v1: what links begin with. Empty: links are paths
	Open      []netip.Prefix // that are not public, and to which webhooks are sent all the same; none
	Mail      *MailConfig    // nil: mails are not sent, and wait
	RootCAs   *x509.CertPool // that vouch for receivers; the system's when nil
	Timeout   time.Duration  // the longest that one try may take; 15 s
	Agent     string         // User-Agent of webhooks and mails; "Postern"
	Now       func() time.Time
	Log       *slog.Logger // slog.Default()
}

// Notifier delivers until it is closed.
type Notifier struct {
	cfg    Config
	http   *http.Client
	slots  slots
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// warnEvery is how often is looked for what is about to expire.
const warnEvery = 30 * time.Second

// Start begins to look for what is about to expire, and returns what delivers by its Handlers. ctx bounds only the start.
// Close ends it, after the workers that have the handlers.
func Start(ctx context.Context, cfg Config) (*Notifier, error) {
	if cfg.Store == nil {
		return nil, errors.New("a notifier needs a store")
	}
	if cfg.Mail != nil {
		if err := cfg.Mail.check(); err != nil {
			return nil, err
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Agent == "" {
		cfg.Agent = "Postern"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	n := &Notifier{cfg: cfg, http: newClient(cfg), slots: slots{taken: map[link.ID]int{}}}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.done.Go(func() { n.warn(run) })
	return n, nil
}

// Close ends what Start began.
func (n *Notifier) Close() error {
	n.cancel()
	n.done.Wait()
	n.http.CloseIdleConnections()
	return nil
}

// Handlers do the work that deliveries are, for whoever does the store's work.
func (n *Notifier) Handlers() map[string]store.Handler {
	return map[string]store.Handler{store.WorkDelivery: n.deliver}
}

// warn writes the events of what is about to expire, and of keys and certificates that did, each once.
func (n *Notifier) warn(ctx context.Context) {
	tick := time.NewTicker(warnEvery)
	defer tick.Stop()
	for {
		if err := warnOfClaims(ctx, n.cfg.Store); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("look for claims that are about to expire", "err", err)
		}
		if err := tellOfKeys(ctx, n.cfg.Store); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("look for API keys that expire", "err", err)
		}
		if err := tellOfCertificates(ctx, n.cfg.Store); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("look for certificates that expire", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// How long before its end a claim is told of; not that of a claim that was good for less than twice as long.
const warnClaim = 10 * time.Minute

func warnOfClaims(ctx context.Context, st *store.Store) error {
	return st.Write(ctx, func(tx *store.Tx) error {
		claims, err := tx.WarnClaims(tx.Now().Add(warnClaim), 2*warnClaim)
		if err != nil {
			return err
		}
		for _, c := range claims {
			err := tx.AddEvent(link.Event{
				Object: link.ObjectRef{Kind: link.ObjectClaim, ID: string(c.ClusterID) + "/" + string(c.ID)}, Type: link.EventExpiring,
				State: string(link.ClaimOpen), Reason: "NOT_USED_YET", Actor: actor,
				Message:  fmt.Sprintf("claim %s was not used and expires at %s", c.ID, c.ExpiresAt.Format(time.RFC3339)),
				NextStep: "use it before then, or make another one",
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// actor is who the events of this package are by.
const actor = "notifier"

// How many tries go on at once: the workers are not there for slow receivers alone, nor is one receiver to take all.
const (
	mostTries        = 16
	mostTriesOfOne   = 2
	busy             = 500 * time.Millisecond // until a delivery that found no slot is looked at again
	afterLostVersion = time.Millisecond
)

// slots are the tries that go on.
type slots struct {
	mu    sync.Mutex
	all   int
	taken map[link.ID]int // by subscription
}

// take reports whether a try to a subscription may begin; then give has to be called when it is over.
func (s *slots) take(webhook link.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= mostTries || s.taken[webhook] >= mostTriesOfOne {
		return false
	}
	s.all++
	s.taken[webhook]++
	return true
}

func (s *slots) give(webhook link.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.taken[webhook]--; s.taken[webhook] == 0 {
		delete(s.taken, webhook)
	}
}

// parcel is a delivery with all that sending it takes.
type parcel struct {
	delivery link.Delivery
	webhook  link.Webhook
	keys     link.SigningKeys
	cluster  string // name of the cluster that the event is about; empty when there is none
}

// deliver tries one delivery, when its time has come, and stores what came of it. A process that ends between the two
// leaves the delivery to the next, which sends it again with the same id.
func (n *Notifier) deliver(ctx context.Context, w store.Work) store.Outcome {
	p, err := n.parcel(ctx, link.ID(w.ID))
	now := n.cfg.Now()
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && p.delivery.Status != link.DeliveryPending:
		return store.Outcome{Forget: true}
	case err != nil:
		n.cfg.Log.Error("read a delivery", "id", w.ID, "err", err)
		return store.Outcome{Look: time.Second, Failed: true}
	case p.delivery.NextAt.After(now):
		return store.Outcome{Look: p.delivery.NextAt.Sub(now)}
	}
	var r result
	if p.webhook.Enabled {
		if !n.slots.take(p.webhook.ID) {
			return store.Outcome{Look: busy + rand.N(busy)}
		}
		r = n.try(ctx, p)
		n.slots.give(p.webhook.ID)
		if ctx.Err() != nil && !r.arrived {
			return store.Outcome{} // cut off: this was no try
		}
	} else {
		r = result{gone: true, words: "the subscription is switched off: " + p.webhook.DisabledReason}
	}
	next := after(p.delivery, r, n.cfg.Now(), rand.Float64())
	err = n.cfg.Store.Write(ctx, func(tx *store.Tx) error { return record(tx, p, next, r) })
	switch {
	case errors.Is(err, store.ErrChanged):
		return store.Outcome{Look: afterLostVersion} // somebody asked for it anew, or had it too
	case err != nil:
		if ctx.Err() == nil {
			n.cfg.Log.Error("store what came of a delivery", "id", w.ID, "err", err)
		}
		return store.Outcome{Look: time.Second, Failed: true}
	case next.Status != link.DeliveryPending:
		return store.Outcome{Forget: true}
	}
	n.cfg.Log.Info("a delivery did not arrive", "id", w.ID, "webhook", p.webhook.ID, "attempts", next.Attempts, "next_at", next.NextAt, "why", r.words)
	return store.Outcome{Look: max(next.NextAt.Sub(n.cfg.Now()), time.Millisecond)}
}

func (n *Notifier) parcel(ctx context.Context, id link.ID) (p parcel, err error) {
	err = n.cfg.Store.Read(ctx, func(tx *store.Tx) error {
		if p.delivery, err = tx.Delivery(id); err != nil {
			return err
		}
		if p.webhook, err = tx.Webhook(p.delivery.WebhookID); err != nil {
			return err
		}
		if p.keys, err = tx.SigningKeys(p.webhook.ID); err != nil {
			return err
		}
		if p.webhook.Addresses, err = stillTold(tx, p.webhook); err != nil {
			return err
		}
		cluster, err := tx.Cluster(p.delivery.Event.Place.ClusterID)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		p.cluster = cluster.Name
		return err
	})
	return p, err
}

// stillTold are a subscription's addresses without those of people who have left its organisation meanwhile.
func stillTold(tx *store.Tx, w link.Webhook) (out []string, err error) {
	for _, address := range w.Addresses {
		left := false
		if w.OrganisationID != "" {
			if left, err = tx.HasLeft(w.OrganisationID, strings.ToLower(address)); err != nil {
				return nil, err
			}
		}
		if !left {
			out = append(out, address)
		}
	}
	return out, nil
}

// try sends a parcel once.
func (n *Notifier) try(ctx context.Context, p parcel) result {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	began := n.cfg.Now()
	var r result
	if p.webhook.Kind == link.WebhookMail {
		r = n.mail(ctx, p)
	} else {
		r = n.post(ctx, p)
	}
	r.at, r.took = began, n.cfg.Now().Sub(began)
	return r
}

// record stores what came of a try.
func record(tx *store.Tx, p parcel, next link.Delivery, r result) error {
	if _, err := tx.SwapDelivery(next); err != nil {
		return err
	}
	if !r.at.IsZero() {
		err := tx.AddAttempt(next.ID, link.DeliveryAttempt{At: r.at, Status: r.status, Error: next.LastError, Took: r.took})
		if err != nil {
			return err
		}
	}
	if !r.gone || !p.webhook.Enabled {
		return nil
	}
	return errors.Join(
		tx.DisableWebhook(p.webhook.ID, link.DisabledByReceiver),
		tx.AddEvent(link.Event{
			Object: link.ObjectRef{Kind: link.ObjectWebhook, ID: string(p.webhook.OrganisationID) + "/" + string(p.webhook.ID)},
			Type:   "CHANGED", Reason: link.DisabledByReceiver, Actor: actor,
			Message: "the receiver answered 410 Gone: the subscription was switched off", NextStep: "delete it, or switch it on again",
		}),
	)
}
