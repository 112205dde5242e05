package store

import (
	"errors"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// WorkDelivery is the kind of work that brings a delivery to its receiver; its id is the delivery's.
const WorkDelivery = "delivery"

// told is an event with whom is to be told of it.
type told struct {
	event link.Event
	by    []link.ID // of the subscriptions
}

// receivers finds the subscriptions that are to be told of an event.
func (tx *Tx) receivers(t *told) []asked {
	e := t.event
	h, ok := e.Happening()
	if !ok {
		return nil
	}
	about := `(organisation_id = '' OR organisation_id = $2) AND (project_id = '' OR project_id = $3) AND (cluster_id = '' OR cluster_id = $4)`
	with := []any{true, e.Place.OrganisationID, e.Place.ProjectID, e.Place.ClusterID}
	if h == link.TestHappening {
		_, id, _ := strings.Cut(e.Object.ID, "/")
		about, with = `id = $2`, []any{true, id} // the one that is tested
	}
	return []asked{tx.ask(func(r Row) error {
		w, err := scanWebhook(r)
		if err == nil && w.v.Wants(h) {
			t.by = append(t.by, w.v.ID)
		}
		return err
	}, `SELECT `+webhookColumns+` FROM webhooks WHERE enabled = $1 AND `+about+` ORDER BY seq`, with...)}
}

// fanOut makes a delivery of an event for every subscription that is to be told of it, in the transaction that stores the
// event: there is one of each event and subscription, and none without the event.
func (tx *Tx) fanOut(t told) error {
	h, _ := t.event.Happening()
	for _, webhook := range t.by {
		id := link.NewID()
		_, err := tx.exec(`INSERT INTO deliveries (id, webhook_id, event_id, type, event, status, attempts, next_at, last_error, created_at, updated_at, version)
			VALUES ($1, $2, $3, $4, $5, $6, 0, $7, '', $7, $7, 1)`, id, webhook, t.event.ID, h, text(t.event), link.DeliveryPending, stamp(tx.now))
		if err != nil {
			return err
		}
		if err := tx.MarkDue(WorkDelivery, string(id)); err != nil {
			return err
		}
	}
	return nil
}

// AddTest stores the event of a test of a subscription, and returns its delivery; it is ErrNotFound when the subscription is
// switched off. It begins what a transaction writes in the order of the commits, which should end soon after.
func (tx *Tx) AddTest(webhook link.ID, e link.Event) (link.Delivery, error) {
	e.At = tx.now
	if err := tx.writeOrdered(last{events: []link.Event{e}}); err != nil {
		return link.Delivery{}, err
	}
	return tx.DeliveryOf(webhook, tx.made.event)
}

const deliveryColumns = `seq, id, webhook_id, type, event, status, attempts, next_at, last_error, created_at, updated_at, version`

func scanDelivery(r Row) (l listed[link.Delivery], err error) {
	d := &l.v
	err = r.Scan(&l.seq, &d.ID, &d.WebhookID, &d.Type, parsed(&d.Event), &d.Status, &d.Attempts, at(&d.NextAt), &d.LastError,
		at(&d.CreatedAt), at(&d.UpdatedAt), &d.Version)
	return l, err
}

// Deliveries are one part of a subscription's deliveries, of one status unless that is empty, and the seq to go on after,
// 0 at the end.
func (tx *Tx) Deliveries(webhook link.ID, status link.DeliveryStatus, c Cut) ([]link.Delivery, int64, error) {
	if status == "" {
		return cutList(tx, c, scanDelivery, `SELECT `+deliveryColumns+` FROM deliveries WHERE webhook_id = $1`, webhook)
	}
	return cutList(tx, c, scanDelivery, `SELECT `+deliveryColumns+` FROM deliveries WHERE webhook_id = $1 AND status = $2`, webhook, status)
}

// Delivery returns one delivery, or ErrNotFound.
func (tx *Tx) Delivery(id link.ID) (link.Delivery, error) {
	l, err := scanDelivery(tx.row(`SELECT `+deliveryColumns+` FROM deliveries WHERE id = $1`, id))
	return l.v, err
}

// DeliveryOf returns the delivery of an event to a subscription, or ErrNotFound.
func (tx *Tx) DeliveryOf(webhook link.ID, event int64) (link.Delivery, error) {
	l, err := scanDelivery(tx.row(`SELECT `+deliveryColumns+` FROM deliveries WHERE webhook_id = $1 AND event_id = $2`, webhook, event))
	return l.v, err
}

// SwapDelivery stores how a delivery stands, or returns ErrChanged when it is not of d.Version any more.
func (tx *Tx) SwapDelivery(d link.Delivery) (link.Delivery, error) {
	l, err := scanDelivery(tx.row(`UPDATE deliveries SET status = $3, attempts = $4, next_at = $5, last_error = $6, updated_at = $7, version = version + 1
		WHERE id = $1 AND version = $2 RETURNING `+deliveryColumns,
		d.ID, d.Version, d.Status, d.Attempts, stamp(d.NextAt), d.LastError, stamp(tx.now)))
	return l.v, changedMeanwhile(err)
}

// AddAttempt records one try of a delivery.
func (tx *Tx) AddAttempt(delivery link.ID, a link.DeliveryAttempt) error {
	_, err := tx.exec(`INSERT INTO delivery_attempts (delivery_id, at, status, error, took) VALUES ($1, $2, $3, $4, $5)`,
		delivery, stamp(a.At), a.Status, a.Error, a.Took.Microseconds())
	return err
}

// Attempts are the last tries of a delivery, at most a hundred, the oldest first.
func (tx *Tx) Attempts(delivery link.ID) ([]link.DeliveryAttempt, error) {
	return list(tx, func(r Row) (a link.DeliveryAttempt, err error) {
		var took int64
		err = r.Scan(at(&a.At), &a.Status, &a.Error, &took)
		a.Took = time.Duration(took) * time.Microsecond
		return a, err
	}, `SELECT at, status, error, took FROM (SELECT seq, at, status, error, took FROM delivery_attempts WHERE delivery_id = $1
		ORDER BY seq DESC LIMIT 100) AS newest ORDER BY seq`, delivery)
}

// Redeliver makes a delivery due anew, whatever became of it, and begins its tries from the first.
func (tx *Tx) Redeliver(d link.Delivery) (link.Delivery, error) {
	d.Status, d.Attempts, d.NextAt, d.LastError = link.DeliveryPending, 0, tx.now, ""
	d, err := tx.SwapDelivery(d)
	if err != nil {
		return d, err
	}
	return d, tx.MarkDue(WorkDelivery, string(d.ID))
}

// dropDeliveries drops those that have been over for so long.
func (tx *Tx) dropDeliveries(kept time.Duration) error {
	_, err := tx.exec(`DELETE FROM deliveries WHERE status <> 'PENDING' AND updated_at < $1`, stamp(tx.now.Add(-kept)))
	return err
}

// changedMeanwhile is what it means that a compare-and-swap hit no row.
func changedMeanwhile(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrChanged
	}
	return err
}
