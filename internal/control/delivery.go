package control

import (
	"context"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of what is sent because somebody asked for it, and not because something happened. An organisation has an
// allowance that comes back within an hour; a request to a webhook costs one of it, a mail to an address more, for whoever
// reads it did not ask. The vendor's own subscriptions have no bound.
const (
	mostRedelivered = 1000 // at once
	askedPerHour    = 2000
	costOfMail      = 20
)

// TestWebhook sends a test to a subscription and returns its delivery.
func (p *Plane) TestWebhook(ctx context.Context, c policy.Caller, id link.ID) (out link.Delivery, err error) {
	err = p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, w link.Webhook) error {
		if err := enabled(w); err != nil {
			return err
		}
		if _, err := ch.spend(w, 1); err != nil {
			return err
		}
		if err := ch.audit(ref, "TEST", "", nil, nil, "a test of the subscription was asked for"); err != nil {
			return err
		}
		out, err = ch.AddTest(id, link.Event{
			Object: ref, Type: link.EventTest, State: "TEST", Reason: "TEST_REQUESTED", Message: ch.caller.Name + " asked for a test of this subscription",
			NextStep: "nothing: that this arrived is what the test was for", Actor: ch.caller.Name,
		})
		return err
	})
	return out, err
}

// spend takes what some messages of a subscription cost out of its organisation's allowance, and returns for how many there
// was enough: at least one, or it is an error that says when to ask again.
func (ch *change) spend(w link.Webhook, messages int) (enough int, err error) {
	if w.OrganisationID == "" || messages == 0 {
		return messages, nil
	}
	cost := 1
	if w.Kind == link.WebhookMail {
		cost = costOfMail * len(w.Addresses)
	}
	got, wait, err := ch.TakeAll(store.Bucket{Name: "asked " + string(w.OrganisationID), Burst: askedPerHour, PerSecond: askedPerHour / time.Hour.Seconds()}, cost, messages)
	if err != nil || got > 0 {
		return got, err
	}
	wait = wait.Truncate(time.Second) + time.Second
	return 0, &link.Error{
		Kind: link.Exhausted, Reason: "TOO_MANY_MESSAGES", Message: "the organisation has asked for too many tests and redeliveries within an hour", After: wait,
		Hint: fmt.Sprintf("try again in %s; what happens meanwhile is told all the same", wait),
	}
}

func enabled(w link.Webhook) error {
	if w.Enabled {
		return nil
	}
	return &link.Error{
		Kind: link.Precondition, Reason: "WEBHOOK_DISABLED", Message: "the subscription is switched off: " + w.DisabledReason,
		Hint: "switch it on again first",
	}
}

// Deliveries lists a part of a subscription's deliveries, of one status unless that is empty, and the token of the next part.
func (p *Plane) Deliveries(ctx context.Context, c policy.Caller, id link.ID, status link.DeliveryStatus, page Page) (out []link.Delivery, next string, err error) {
	of := "deliveries " + string(id) + " " + string(status)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.readWebhook(ctx, c, id, func(tx *store.Tx, _ link.Webhook) error {
		var seq int64
		out, seq, err = tx.Deliveries(id, status, cut)
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// Delivery returns one delivery with its last tries, the oldest first.
func (p *Plane) Delivery(ctx context.Context, c policy.Caller, id, deliveryID link.ID) (out link.Delivery, tries []link.DeliveryAttempt, err error) {
	err = p.readWebhook(ctx, c, id, func(tx *store.Tx, _ link.Webhook) error {
		if out, err = delivery(tx, id, deliveryID); err != nil {
			return err
		}
		tries, err = tx.Attempts(deliveryID)
		return err
	})
	return out, tries, err
}

func delivery(tx *store.Tx, id, deliveryID link.ID) (link.Delivery, error) {
	d, err := tx.Delivery(deliveryID)
	if err == nil && d.WebhookID != id {
		err = store.ErrNotFound
	}
	return d, missing(err, "DELIVERY_NOT_FOUND", "delivery "+link.Quote(string(deliveryID))+" of this webhook", "list its deliveries to see their ids")
}

// Redeliver makes a delivery due anew, also one that arrived. Its id, by which receivers know what they have had, stays.
func (p *Plane) Redeliver(ctx context.Context, c policy.Caller, id, deliveryID link.ID) (out link.Delivery, err error) {
	err = p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, w link.Webhook) error {
		if err := enabled(w); err != nil {
			return err
		}
		d, err := delivery(ch.Tx, id, deliveryID)
		if err != nil {
			return err
		}
		if _, err := ch.spend(w, 1); err != nil {
			return err
		}
		if out, err = ch.Redeliver(d); err != nil {
			return meanwhile(err)
		}
		return ch.changed(ref, eventRedelivered, "", nil, nil, "delivery %s was made due anew", deliveryID)
	})
	return out, err
}

// RedeliverDead makes a subscription's dead deliveries due anew, the oldest first, and returns how many: at most a thousand,
// and as many as the organisation's allowance is enough for.
func (p *Plane) RedeliverDead(ctx context.Context, c policy.Caller, id link.ID) (n int, err error) {
	err = p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, w link.Webhook) error {
		if err := enabled(w); err != nil {
			return err
		}
		n = 0
		dead, _, err := ch.Deliveries(id, link.DeliveryDead, store.Cut{Limit: mostRedelivered})
		if err != nil || len(dead) == 0 {
			return err
		}
		if n, err = ch.spend(w, len(dead)); err != nil {
			return err
		}
		for _, d := range dead[:n] {
			if _, err := ch.Redeliver(d); err != nil {
				return meanwhile(err)
			}
		}
		return ch.changed(ref, eventRedelivered, "", nil, nil, "%d dead deliveries were made due anew", n)
	})
	return n, err
}

const eventRedelivered = "REDELIVERED"
