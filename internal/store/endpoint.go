package store

import (
	"errors"
	"time"

	"github.com/postern/postern/internal/link"
)

const endpointColumns = `provider, region, service_id, endpoint_id, owner_id, state, seen_at`

func scanEndpoint(r Row) (e link.Endpoint, err error) {
	err = r.Scan(&e.Provider, &e.Region, &e.ServiceID, &e.ID, &e.OwnerID, &e.State, at(&e.SeenAt))
	return e, err
}

// Endpoint returns an endpoint as it was last observed, or ErrNotFound.
func (tx *Tx) Endpoint(p link.Provider, id link.EndpointID) (link.Endpoint, error) {
	return scanEndpoint(tx.row(`SELECT `+endpointColumns+` FROM endpoints WHERE provider = $1 AND endpoint_id = $2`, p, id))
}

// ServiceEndpoints are the endpoints last observed at a service.
func (tx *Tx) ServiceEndpoints(p link.Provider, serviceID string) ([]link.Endpoint, error) {
	return list(tx, scanEndpoint, `SELECT `+endpointColumns+` FROM endpoints WHERE provider = $1 AND service_id = $2 ORDER BY seq`, p, serviceID)
}

// ClusterEndpoints are the observed endpoints that concern a cluster: those that have a connection with it which is not
// over, and those of the accounts that it trusts.
func (tx *Tx) ClusterEndpoints(cluster link.ID) ([]link.Endpoint, error) {
	return list(tx, scanEndpoint, `SELECT `+endpointColumns+` FROM endpoints e WHERE EXISTS (
			SELECT 1 FROM connections c WHERE c.cluster_id = $1 AND c.provider = e.provider AND c.endpoint_id = e.endpoint_id
			AND NOT (c.want = 'GONE' AND c.state = 'DELETED'))
		OR EXISTS (SELECT 1 FROM trusted_owners t WHERE t.cluster_id = $1 AND t.external_owner_id IN (e.owner_id, '*'))
		ORDER BY seq`, cluster)
}

// SeenSince tells whether an endpoint was last observed after a time. What was observed after now was observed by a clock
// that has been set back since, and says nothing about what came later.
func (tx *Tx) SeenSince(e link.Endpoint, t time.Time) bool {
	return e.SeenAt.After(t) && !e.SeenAt.After(tx.now)
}

// LockEndpoint is Lock for what is known of an endpoint and for which connections it has: the rules of a cluster follow
// from both, and whoever changes one has to see the other.
func (tx *Tx) LockEndpoint(p link.Provider, id link.EndpointID) error {
	return tx.Lock("endpoint", objectKey(p, string(id)))
}

// PutEndpoint stores an endpoint as observed and reports whether its service, owner or state are news. What was seen
// before what is stored is no news. It takes the endpoint's lock.
func (tx *Tx) PutEndpoint(e link.Endpoint) (news bool, err error) {
	if err := tx.LockEndpoint(e.Provider, e.ID); err != nil {
		return false, err
	}
	old, err := tx.Endpoint(e.Provider, e.ID)
	switch {
	case err == nil && (tx.SeenSince(old, e.SeenAt) || old.ServiceID == e.ServiceID && old.OwnerID == e.OwnerID && old.State == e.State):
		return false, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return false, err
	}
	_, err = tx.exec(`INSERT INTO endpoints (provider, region, service_id, endpoint_id, owner_id, state, seen_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (provider, endpoint_id) DO UPDATE SET region = excluded.region, service_id = excluded.service_id,
			owner_id = excluded.owner_id, state = excluded.state, seen_at = excluded.seen_at`,
		e.Provider, e.Region, e.ServiceID, e.ID, e.OwnerID, e.State, stamp(e.SeenAt))
	return true, err
}

// RemoveEndpoint forgets an endpoint that the cloud lists no more.
func (tx *Tx) RemoveEndpoint(p link.Provider, id link.EndpointID) error {
	_, err := tx.exec(`DELETE FROM endpoints WHERE provider = $1 AND endpoint_id = $2`, p, id)
	return err
}

// RemoveServiceEndpoints forgets all endpoints of a service that is no more.
func (tx *Tx) RemoveServiceEndpoints(p link.Provider, serviceID string) error {
	_, err := tx.exec(`DELETE FROM endpoints WHERE provider = $1 AND service_id = $2`, p, serviceID)
	return err
}

// WorkEndpoint is the Work.Kind of endpoints; its Work.ID is provider/endpoint id. All connections of an endpoint are
// looked at together: there is one endpoint at the cloud to accept or reject, whoever of them wants it.
const WorkEndpoint = "endpoint"

// MarkEndpointsDue is MarkEndpointDue for the endpoints of some connections, in as many steps for thousands as for a few: the
// looks at those beyond the first begin within a second.
func (tx *Tx) MarkEndpointsDue(conns []link.Connection) error {
	ids := make([]string, len(conns))
	for i, c := range conns {
		ids[i] = objectKey(c.Provider, string(c.EndpointID))
	}
	return tx.markAllDue(WorkEndpoint, ids)
}

// MarkEndpointDue makes an endpoint's connections due at once.
func (tx *Tx) MarkEndpointDue(p link.Provider, id link.EndpointID) error {
	return tx.MarkDue(WorkEndpoint, objectKey(p, string(id)))
}
