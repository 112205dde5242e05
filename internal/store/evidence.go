package store

import (
	"time"

	"github.com/postern/postern/internal/link"
)

// flowBatch is how many flows are read at once.
const flowBatch = 5000

// FlowsBetween gives the records of a cluster's flows that lived at some time from a time until another, to take.
func (tx *Tx) FlowsBetween(cluster link.ID, from, to time.Time, take func(link.Flow)) error {
	for after := int64(0); ; {
		flows, err := list(tx, func(r Row) (l listed[link.Flow], err error) {
			f := &l.v
			err = r.Scan(&l.seq, &f.Listener, &f.EndpointID, &f.Source, &f.Name, at(&f.StartedAt), at(&f.EndedAt), &f.BytesIn, &f.BytesOut)
			return l, err
		}, `SELECT seq, listener, endpoint_id, source, name, started_at, ended_at, bytes_in, bytes_out FROM flows
			WHERE cluster_id = $1 AND seq > $2 AND started_at < $3 AND (ended_at = 0 OR ended_at >= $4) ORDER BY seq LIMIT $5`,
			cluster, after, stamp(to), stamp(from), flowBatch)
		if err != nil {
			return err
		}
		for _, f := range flows {
			take(f.v)
			after = f.seq
		}
		if len(flows) < flowBatch {
			return nil
		}
	}
}

// FlowsTrimmed reports whether records of flows were dropped for their age, and how far back those that are kept go.
func (tx *Tx) FlowsTrimmed() (trimmed bool, oldest time.Time, err error) {
	var seq int64
	err = tx.row(`SELECT coalesce(min(seq), 0), coalesce(min(started_at), 0) FROM flows`).Scan(&seq, at(&oldest))
	return seq > 1, oldest, err
}

// RefusedBetween are the kinds of attempt refused on behalf of a cluster that happened at some time from a time until
// another, at most limit of them, the latest first.
func (tx *Tx) RefusedBetween(cluster link.ID, from, to time.Time, limit int) ([]link.RefusedAttempt, error) {
	return list(tx, func(r Row) (a link.RefusedAttempt, err error) {
		a.ClusterID = cluster
		err = r.Scan(&a.Listener, &a.EndpointID, &a.Name, &a.Source, &a.Reason, &a.WouldRefuse, &a.Count, at(&a.FirstAt), at(&a.LastAt))
		return a, err
	}, `SELECT listener, endpoint_id, name, source, reason, would_refuse, count, first_at, last_at FROM refused_attempts
		WHERE cluster_id = $1 AND first_at < $2 AND last_at >= $3 ORDER BY last_at DESC, seq DESC LIMIT $4`, cluster, stamp(to), stamp(from), limit)
}
