package store

import (
	"errors"

	"github.com/postern/postern/internal/link"
)

const egressColumns = `seq, id, cluster_id, provider, region, target, target_type, endpoint_id, address, state, want, domain_names, made_names,
	names_state, conditions, requested_at, created_at, updated_at, version`

func scanEgress(r Row) (l listed[link.Egress], err error) {
	e := &l.v
	err = r.Scan(&l.seq, &e.ID, &e.ClusterID, &e.Provider, &e.Region, &e.Target, &e.TargetType, &e.EndpointID, &e.Address, &e.State, &e.Want,
		parsed(&e.DomainNames), parsed(&e.MadeNames), &e.NamesState, parsed(&e.Conditions),
		at(&e.RequestedAt), at(&e.CreatedAt), at(&e.UpdatedAt), &e.Version)
	return l, err
}

// liveEgress is the condition of egress endpoints that are not over.
const liveEgress = ` AND NOT (want = 'GONE' AND state = 'DELETED')`

// EgressPage is one part of a cluster's egress endpoints, without those that are over, and the seq to go on after, 0 at the
// end.
func (tx *Tx) EgressPage(cluster link.ID, c Cut) ([]link.Egress, int64, error) {
	return cutList(tx, c, scanEgress, `SELECT `+egressColumns+` FROM egress_endpoints WHERE cluster_id = $1`+liveEgress, cluster)
}

// ClusterEgress is all of a cluster's egress endpoints in the order of creation, without those that are over.
func (tx *Tx) ClusterEgress(cluster link.ID) ([]link.Egress, error) {
	l, err := list(tx, scanEgress, `SELECT `+egressColumns+` FROM egress_endpoints WHERE cluster_id = $1`+liveEgress+` ORDER BY seq`, cluster)
	return unlisted(l), err
}

// Egress returns one egress endpoint of a cluster, also one that is over, or ErrNotFound.
func (tx *Tx) Egress(cluster, id link.ID) (link.Egress, error) {
	l, err := scanEgress(tx.row(`SELECT `+egressColumns+` FROM egress_endpoints WHERE cluster_id = $1 AND id = $2`, cluster, id))
	return l.v, err
}

// EgressTo returns a cluster's egress endpoint to a service that is not on its way out, or ErrNotFound.
func (tx *Tx) EgressTo(cluster link.ID, region, target string) (link.Egress, error) {
	l, err := scanEgress(tx.row(`SELECT `+egressColumns+` FROM egress_endpoints WHERE cluster_id = $1 AND region = $2 AND target = $3 AND want <> 'GONE'`,
		cluster, region, target))
	return l.v, err
}

// AddEgress stores a new egress endpoint; its times and version are set here.
func (tx *Tx) AddEgress(e link.Egress) (link.Egress, error) {
	l, err := scanEgress(tx.row(`INSERT INTO egress_endpoints (id, cluster_id, provider, region, target, target_type, endpoint_id, address, state, want,
			domain_names, made_names, names_state, conditions, requested_at, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $15, 1) RETURNING `+egressColumns,
		e.ID, e.ClusterID, e.Provider, e.Region, e.Target, e.TargetType, e.EndpointID, e.Address, e.State, e.Want,
		text(e.DomainNames), text(e.MadeNames), e.NamesState, text(e.Conditions), stamp(tx.now)))
	return l.v, err
}

// SwapEgress stores e in the place of what had its Version and returns it as stored, or ErrChanged when that is there no
// more.
func (tx *Tx) SwapEgress(e link.Egress) (link.Egress, error) {
	l, err := scanEgress(tx.row(`UPDATE egress_endpoints SET endpoint_id = $4, address = $5, state = $6, want = $7, domain_names = $8, made_names = $9,
			names_state = $10, conditions = $11, requested_at = $12, updated_at = $13, version = version + 1
		WHERE cluster_id = $1 AND id = $2 AND version = $3 RETURNING `+egressColumns,
		e.ClusterID, e.ID, e.Version, e.EndpointID, e.Address, e.State, e.Want, text(e.DomainNames), text(e.MadeNames), e.NamesState,
		text(e.Conditions), stamp(e.RequestedAt), stamp(tx.now)))
	if errors.Is(err, ErrNotFound) {
		err = ErrChanged
	}
	return l.v, err
}

// LockEgress keeps other transactions that take it from changing an egress endpoint until this one ends.
func (tx *Tx) LockEgress(id link.ID) error { return tx.Lock("egress-endpoint", string(id)) }

// TrimEgress drops the oldest of a cluster's egress endpoints that are over, beyond those kept, and all of them when the
// cluster is gone.
func (tx *Tx) TrimEgress(cluster link.ID, kept int) error {
	if _, err := tx.Cluster(cluster); errors.Is(err, ErrNotFound) {
		kept = 0
	} else if err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM egress_endpoints WHERE cluster_id = $1 AND want = 'GONE' AND state = 'DELETED' AND seq <= (SELECT seq FROM egress_endpoints
		WHERE cluster_id = $1 AND want = 'GONE' AND state = 'DELETED' ORDER BY seq DESC LIMIT 1 OFFSET $2)`, cluster, kept)
	return err
}

// EgressNames are the egress endpoints of all clusters that have domain names in a region's network, or had some that may
// still stand there.
func (tx *Tx) EgressNames(p link.Provider, region string) ([]link.Egress, error) {
	l, err := list(tx, scanEgress, `SELECT `+egressColumns+` FROM egress_endpoints
		WHERE provider = $1 AND region = $2 AND (domain_names NOT IN ('[]', 'null') OR made_names NOT IN ('[]', 'null')) ORDER BY seq`, p, region)
	return unlisted(l), err
}

// The Work.Kinds of egress: the Work.ID of an endpoint is that of link.ObjectEgress, the Work.ID of an account that of
// link.ObjectRegion.
const (
	WorkEgress        = "egress"
	WorkEgressAccount = "egress-account"
)

// MarkEgressDue makes an egress endpoint due at once.
func (tx *Tx) MarkEgressDue(cluster, id link.ID) error {
	return tx.MarkDue(WorkEgress, string(cluster)+"/"+string(id))
}

// MarkEgressAccountDue has it found out in whose name the egress endpoints of a region are made.
func (tx *Tx) MarkEgressAccountDue(p link.Provider, region string) error {
	return tx.MarkDue(WorkEgressAccount, objectKey(p, region))
}

// EgressAccount is the account in whose name the egress endpoints of a region are made, or ErrNotFound while that is not
// known.
func (tx *Tx) EgressAccount(p link.Provider, region string) (account string, err error) {
	err = tx.row(`SELECT account_id FROM egress_accounts WHERE provider = $1 AND region = $2`, p, region).Scan(&account)
	return account, err
}

// PutEgressAccount stores what EgressAccount returns.
func (tx *Tx) PutEgressAccount(p link.Provider, region, account string) error {
	_, err := tx.exec(`INSERT INTO egress_accounts (provider, region, account_id) VALUES ($1, $2, $3)
		ON CONFLICT (provider, region) DO UPDATE SET account_id = $3`, p, region, account)
	return err
}
