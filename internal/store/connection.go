package store

import (
	"errors"

	"github.com/postern/postern/internal/link"
)

const connectionColumns = `cluster_id, endpoint_id, provider, region, service_id, service_name, owner_id, state, want, approved,
	conditions, asked_at, created_at, updated_at, version`

func scanConnection(r Row) (c link.Connection, err error) {
	err = r.Scan(&c.ClusterID, &c.EndpointID, &c.Provider, &c.Region, &c.ServiceID, &c.ServiceName, &c.OwnerID, &c.State,
		&c.Want, &c.Approved, parsed(&c.Conditions), at(&c.AskedAt), at(&c.CreatedAt), at(&c.UpdatedAt), &c.Version)
	return c, err
}

// Connections are a cluster's connections in the order of creation, without those that are over.
func (tx *Tx) Connections(cluster link.ID) ([]link.Connection, error) {
	return list(tx, scanConnection, `SELECT `+connectionColumns+` FROM connections
		WHERE cluster_id = $1 AND NOT (want = 'GONE' AND state = 'DELETED') ORDER BY seq`, cluster)
}

// Connection returns one connection, also one that is over, or ErrNotFound.
func (tx *Tx) Connection(cluster link.ID, id link.EndpointID) (link.Connection, error) {
	return scanConnection(tx.row(`SELECT `+connectionColumns+` FROM connections WHERE cluster_id = $1 AND endpoint_id = $2`, cluster, id))
}

// EndpointConnections are the connections of one endpoint with any cluster, without those that are over.
func (tx *Tx) EndpointConnections(p link.Provider, id link.EndpointID) ([]link.Connection, error) {
	return list(tx, scanConnection, `SELECT `+connectionColumns+` FROM connections
		WHERE provider = $1 AND endpoint_id = $2 AND NOT (want = 'GONE' AND state = 'DELETED') ORDER BY seq`, p, id)
}

// EndpointsSeenIn are the endpoints of connections that were seen in a region.
func (tx *Tx) EndpointsSeenIn(p link.Provider, region string) ([]link.EndpointID, error) {
	return list(tx, scanEndpointID, `SELECT DISTINCT endpoint_id FROM connections
		WHERE provider = $1 AND region = $2 AND NOT (want = 'GONE' AND state = 'DELETED')`, p, region)
}

// EndpointsAwaitedIn are the endpoints of connections of a region's clusters that were not seen anywhere yet.
func (tx *Tx) EndpointsAwaitedIn(p link.Provider, region string) ([]link.EndpointID, error) {
	return list(tx, scanEndpointID, `SELECT DISTINCT c.endpoint_id FROM connections c JOIN clusters k ON k.id = c.cluster_id
		WHERE c.provider = $1 AND c.region = '' AND NOT (c.want = 'GONE' AND c.state = 'DELETED') AND k.regions LIKE $2`, p, inRegion(region))
}

func scanEndpointID(r Row) (id link.EndpointID, err error) {
	err = r.Scan(&id)
	return id, err
}

// AddConnection stores a new connection; its times and version are set here.
func (tx *Tx) AddConnection(c link.Connection) (link.Connection, error) {
	return scanConnection(tx.row(`INSERT INTO connections (cluster_id, endpoint_id, provider, region, service_id, service_name, owner_id,
			state, want, approved, conditions, asked_at, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13, $12, $12, 1) RETURNING `+connectionColumns,
		c.ClusterID, c.EndpointID, c.Provider, c.Region, c.ServiceID, c.ServiceName, c.OwnerID, c.State, c.Want, c.Approved,
		text(c.Conditions), stamp(tx.now), stamp(c.AskedAt)))
}

// SwapConnection stores c in the place of what had its Version and returns it as stored, or ErrChanged when that is
// there no more.
func (tx *Tx) SwapConnection(c link.Connection) (link.Connection, error) {
	c, err := scanConnection(tx.row(`UPDATE connections SET region = $4, service_id = $5, service_name = $6, owner_id = $7, state = $8,
			want = $9, approved = $10, conditions = $11, created_at = $12, updated_at = $13, asked_at = $14, version = version + 1
		WHERE cluster_id = $1 AND endpoint_id = $2 AND version = $3 RETURNING `+connectionColumns,
		c.ClusterID, c.EndpointID, c.Version, c.Region, c.ServiceID, c.ServiceName, c.OwnerID, c.State,
		c.Want, c.Approved, text(c.Conditions), stamp(c.CreatedAt), stamp(tx.now), stamp(c.AskedAt)))
	if errors.Is(err, ErrNotFound) {
		err = ErrChanged
	}
	return c, err
}
