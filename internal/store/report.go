package store

import (
	"context"
	"errors"
	"time"

	"github.com/postern/postern/internal/link"
)

// AddBatch notes a gateway's batch and reports whether it is new. A batch that is not must be left alone: it was stored.
func (tx *Tx) AddBatch(gatewayID, batchID string) (fresh bool, err error) {
	n, err := tx.exec(`INSERT INTO report_batches (batch_id, gateway_id, stored_at) VALUES ($1, $2, $3) ON CONFLICT (gateway_id, batch_id) DO NOTHING`,
		batchID, gatewayID, stamp(tx.now))
	return n > 0, err
}

// PutFlow stores a flow's record. A record that says the flow ended is never replaced by one that says it lives.
func (tx *Tx) PutFlow(f link.Flow) error {
	_, err := tx.exec(`INSERT INTO flows (id, gateway_id, cluster_id, listener, endpoint_id, source, name, started_at, ended_at, bytes_in, bytes_out, close_reason,
			port, backend)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (gateway_id, id) DO UPDATE SET ended_at = excluded.ended_at, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
			close_reason = excluded.close_reason, backend = excluded.backend WHERE flows.ended_at = 0`,
		f.ID, f.GatewayID, f.ClusterID, f.Listener, f.EndpointID, f.Source, f.Name, stamp(f.StartedAt), stamp(f.EndedAt),
		f.BytesIn, f.BytesOut, f.CloseReason, f.Port, f.Backend)
	return err
}

// Flows are one part of a cluster's flows, and the seq to go on after, 0 at the end.
func (tx *Tx) Flows(cluster link.ID, c Cut) ([]link.Flow, int64, error) {
	return cutList(tx, c, func(r Row) (l listed[link.Flow], err error) {
		f := &l.v
		err = r.Scan(&l.seq, &f.ID, &f.GatewayID, &f.ClusterID, &f.Listener, &f.EndpointID, &f.Source, &f.Name, at(&f.StartedAt),
			at(&f.EndedAt), &f.BytesIn, &f.BytesOut, &f.CloseReason, &f.Port, &f.Backend)
		return l, err
	}, `SELECT seq, id, gateway_id, cluster_id, listener, endpoint_id, source, name, started_at, ended_at, bytes_in, bytes_out, close_reason, port, backend
		FROM flows WHERE cluster_id = $1`, cluster)
}

// CountRefused adds the count of a batch to the attempts of the same kind that are known.
func (tx *Tx) CountRefused(a link.RefusedAttempt) error {
	_, err := tx.exec(`INSERT INTO refused_attempts (cluster_id, listener, endpoint_id, name, source, reason, would_refuse, count, first_at, last_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (cluster_id, listener, endpoint_id, name, source, reason, would_refuse) DO UPDATE SET
			count = refused_attempts.count + excluded.count,
			first_at = CASE WHEN excluded.first_at < refused_attempts.first_at THEN excluded.first_at ELSE refused_attempts.first_at END,
			last_at = CASE WHEN excluded.last_at > refused_attempts.last_at THEN excluded.last_at ELSE refused_attempts.last_at END`,
		a.ClusterID, a.Listener, a.EndpointID, a.Name, a.Source, a.Reason, a.WouldRefuse, a.Count, stamp(a.FirstAt), stamp(a.LastAt))
	return err
}

// RefusedAttempts are one part of the attempts refused on behalf of a cluster, or of those whose name led to no cluster
// when it is empty, and the seq to go on after, 0 at the end.
func (tx *Tx) RefusedAttempts(cluster link.ID, c Cut) ([]link.RefusedAttempt, int64, error) {
	return cutList(tx, c, func(r Row) (l listed[link.RefusedAttempt], err error) {
		a := &l.v
		err = r.Scan(&l.seq, &a.ClusterID, &a.Listener, &a.EndpointID, &a.Name, &a.Source, &a.Reason, &a.WouldRefuse, &a.Count,
			at(&a.FirstAt), at(&a.LastAt))
		return l, err
	}, `SELECT seq, cluster_id, listener, endpoint_id, name, source, reason, would_refuse, count, first_at, last_at
		FROM refused_attempts WHERE cluster_id = $1`, cluster)
}

// PutBackendHealth stores a gateway's newest view of a backend. A view of later than now is by a clock that has been set
// back since.
func (tx *Tx) PutBackendHealth(gatewayID string, h link.BackendHealth) error {
	_, err := tx.exec(`INSERT INTO backend_health (cluster_id, backend, gateway_id, healthy, reason, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (cluster_id, backend, gateway_id) DO UPDATE SET healthy = excluded.healthy, reason = excluded.reason, at = excluded.at
		WHERE excluded.at >= backend_health.at OR backend_health.at > $7`,
		h.ClusterID, h.Backend, gatewayID, h.Healthy, h.Reason, stamp(h.At), stamp(tx.now))
	return err
}

// BackendHealth is what the gateways that were seen since say of a cluster's backends.
func (tx *Tx) BackendHealth(cluster link.ID, since time.Time) ([]link.BackendHealth, error) {
	return list(tx, func(r Row) (h link.BackendHealth, err error) {
		h.ClusterID = cluster
		err = r.Scan(&h.Backend, &h.Healthy, &h.Reason, at(&h.At))
		return h, err
	}, `SELECT b.backend, b.healthy, b.reason, b.at FROM backend_health b JOIN gateways g ON g.id = b.gateway_id
		WHERE b.cluster_id = $1 AND g.last_seen_at >= $2 ORDER BY b.backend, b.gateway_id`, cluster, stamp(since))
}

// How much is kept of what gateways and time add without end. The oldest goes first.
const (
	keptFlows   = 200_000
	keptRefused = 50_000 // of the clusters', and as many under unknown names
	keptEvents  = 500_000
	keptBatches = 24 * time.Hour // a gateway does not resend a batch for longer than this

	keptDeliveries = 30 * 24 * time.Hour // those that are over, since they were
)

// Trim drops the oldest rows beyond what is kept. It is cheap when there is nothing to drop.
func (s *Store) Trim(ctx context.Context) error {
	return s.trim(ctx, keptFlows, keptRefused, keptEvents, keptBatches)
}

func (s *Store) trim(ctx context.Context, flows, refused, events int64, batches time.Duration) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(`DELETE FROM flows WHERE seq <= (SELECT coalesce(max(seq), 0) FROM flows) - $1`, flows); err != nil {
			return err
		}
		if err := errors.Join(tx.dropEvents(events), tx.dropDeliveries(keptDeliveries)); err != nil {
			return err
		}
		// Anybody can make attempts under names that lead to no cluster. They must not push out those of the clusters.
		for _, which := range []string{`cluster_id = ''`, `cluster_id <> ''`} {
			_, err := tx.exec(`DELETE FROM refused_attempts WHERE `+which+` AND seq <= (SELECT seq FROM refused_attempts WHERE `+which+`
				ORDER BY seq DESC LIMIT 1 OFFSET $1)`, refused)
			if err != nil {
				return err
			}
		}
		_, err := tx.exec(`DELETE FROM report_batches WHERE stored_at < $1`, stamp(tx.now.Add(-batches)))
		return err
	})
}
