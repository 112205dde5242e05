package store

import (
	"encoding/base64"
	"time"

	"github.com/postern/postern/internal/link"
)

const webhookColumns = `seq, id, organisation_id, kind, url, addresses, types, project_id, cluster_id, description, enabled, disabled_reason,
	created_at, updated_at, version`

func scanWebhook(r Row) (l listed[link.Webhook], err error) {
	w := &l.v
	err = r.Scan(&l.seq, &w.ID, &w.OrganisationID, &w.Kind, &w.URL, parsed(&w.Addresses), parsed(&w.Types), &w.ProjectID, &w.ClusterID,
		&w.Description, &w.Enabled, &w.DisabledReason, at(&w.CreatedAt), at(&w.UpdatedAt), &w.Version)
	return l, err
}

// Webhooks are one part of the subscriptions of an organisation, or of the installation's own when it is empty, and the
// seq to go on after, 0 at the end.
func (tx *Tx) Webhooks(organisation link.ID, c Cut) ([]link.Webhook, int64, error) {
	return cutList(tx, c, scanWebhook, `SELECT `+webhookColumns+` FROM webhooks WHERE organisation_id = $1`, organisation)
}

// CountWebhooks is how many subscriptions an organisation has.
func (tx *Tx) CountWebhooks(organisation link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM webhooks WHERE organisation_id = $1`, organisation).Scan(&n)
	return n, err
}

// Webhook returns one subscription, or ErrNotFound.
func (tx *Tx) Webhook(id link.ID) (link.Webhook, error) {
	l, err := scanWebhook(tx.row(`SELECT `+webhookColumns+` FROM webhooks WHERE id = $1`, id))
	return l.v, err
}

// AddWebhook stores a new subscription with the key that its messages are signed with, nil for mail. Its times and its
// version are set here.
func (tx *Tx) AddWebhook(w link.Webhook, key []byte) (link.Webhook, error) {
	l, err := scanWebhook(tx.row(`INSERT INTO webhooks (id, organisation_id, kind, url, addresses, types, project_id, cluster_id, description,
			enabled, disabled_reason, secret, secret_before, before_until, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', 0, $13, $13, 1) RETURNING `+webhookColumns,
		w.ID, w.OrganisationID, w.Kind, w.URL, text(orEmpty(w.Addresses)), text(orEmpty(w.Types)), w.ProjectID, w.ClusterID, w.Description,
		w.Enabled, w.DisabledReason, base64.StdEncoding.EncodeToString(key), stamp(tx.now)))
	return l.v, err
}

// SwapWebhook stores what can be changed of a subscription, or returns ErrChanged when it is not of w.Version any more.
func (tx *Tx) SwapWebhook(w link.Webhook) (link.Webhook, error) {
	l, err := scanWebhook(tx.row(`UPDATE webhooks SET url = $3, addresses = $4, types = $5, project_id = $6, cluster_id = $7, description = $8,
			enabled = $9, disabled_reason = $10, updated_at = $11, version = version + 1 WHERE id = $1 AND version = $2 RETURNING `+webhookColumns,
		w.ID, w.Version, w.URL, text(orEmpty(w.Addresses)), text(orEmpty(w.Types)), w.ProjectID, w.ClusterID, w.Description, w.Enabled,
		w.DisabledReason, stamp(tx.now)))
	return l.v, changedMeanwhile(err)
}

// DisableWebhook switches a subscription off that is not already, whatever else was changed about it.
func (tx *Tx) DisableWebhook(id link.ID, reason string) error {
	_, err := tx.exec(`UPDATE webhooks SET enabled = $2, disabled_reason = $3, updated_at = $4, version = version + 1 WHERE id = $1 AND enabled`,
		id, false, reason, stamp(tx.now))
	return err
}

// RemoveWebhook removes a subscription with its deliveries.
func (tx *Tx) RemoveWebhook(id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM webhooks WHERE id = $1`, id)
}

// SigningKeys returns what a subscription's messages are signed with now.
func (tx *Tx) SigningKeys(id link.ID) (k link.SigningKeys, err error) {
	var now, before string
	err = tx.row(`SELECT secret, secret_before, before_until FROM webhooks WHERE id = $1`, id).Scan(&now, &before, at(&k.BeforeUntil))
	if err != nil {
		return k, err
	}
	if k.Now, err = base64.StdEncoding.DecodeString(now); err != nil || before == "" || !tx.now.Before(k.BeforeUntil) {
		k.BeforeUntil = time.Time{}
		return k, err
	}
	k.Before, err = base64.StdEncoding.DecodeString(before)
	return k, err
}

// RotateSigningKey gives a subscription a new key; the one until now stays good beside it until a time.
func (tx *Tx) RotateSigningKey(id link.ID, key []byte, until time.Time) (link.Webhook, error) {
	l, err := scanWebhook(tx.row(`UPDATE webhooks SET secret_before = secret, before_until = $3, secret = $2, updated_at = $4, version = version + 1
		WHERE id = $1 RETURNING `+webhookColumns, id, base64.StdEncoding.EncodeToString(key), stamp(until), stamp(tx.now)))
	return l.v, err
}

// orEmpty is a list that is [] as JSON when it is empty.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
