package store

import (
	"context"
	"time"

	"github.com/postern/postern/internal/link"
)

// BumpRules starts a new revision of the rules with this transaction. Whatever changes what Rules answers calls it;
// calling it twice in a transaction makes one revision.
func (tx *Tx) BumpRules() error {
	if tx.bumped {
		return nil
	}
	if _, err := tx.exec(`UPDATE rules_revision SET revision = revision + 1 WHERE id = 1`); err != nil {
		return err
	}
	tx.bumped = true
	return nil
}

// RulesRevision is the current revision of the rules, at least 1.
func (tx *Tx) RulesRevision() (n int64, err error) {
	err = tx.row(`SELECT revision FROM rules_revision WHERE id = 1`).Scan(&n)
	return n, err
}

// Rules are the rules as of this transaction. An endpoint stands in them while its connection is wanted, somebody let
// it in (its owner is trusted by this cluster now, or an admin approved it), and the cloud shows it let in.
func (tx *Tx) Rules() (link.RuleSet, error) {
	revision, err := tx.RulesRevision()
	if err != nil {
		return link.RuleSet{}, err
	}
	rules := link.RuleSet{Revision: revision}
	clusters, err := list(tx, scanCluster, `SELECT `+clusterColumns+` FROM clusters ORDER BY seq`)
	if err != nil {
		return link.RuleSet{}, err
	}
	place := make(map[link.ID]*link.ClusterRules, len(clusters))
	rules.Clusters = make([]link.ClusterRules, len(clusters))
	for i, c := range clusters {
		r := link.ClusterRules{ClusterID: c.v.ID, ProjectID: c.v.ProjectID, PublicAccess: c.v.PublicAccess}
		for _, b := range c.v.Backends {
			r.Backends = append(r.Backends, link.Backend{Address: b})
		}
		for _, region := range c.v.Regions {
			r.PrivateNames = append(r.PrivateNames, region.PrivateName)
			r.PublicNames = append(r.PublicNames, region.PublicName)
		}
		rules.Clusters[i] = r
		place[r.ClusterID] = &rules.Clusters[i]
	}
	type pair struct {
		cluster  link.ID
		endpoint link.EndpointID
	}
	pairs, err := list(tx, func(r Row) (p pair, err error) {
		err = r.Scan(&p.cluster, &p.endpoint)
		return p, err
	},
		`SELECT c.cluster_id, c.endpoint_id FROM connections c
		JOIN endpoints e ON e.provider = c.provider AND e.endpoint_id = c.endpoint_id
		WHERE c.want = 'CONNECTED' AND c.state IN ('PENDING', 'AVAILABLE') AND e.state IN ('PENDING', 'AVAILABLE')
		AND (c.approved OR EXISTS (SELECT 1 FROM trusted_owners t WHERE t.cluster_id = c.cluster_id
			AND t.type = CASE c.provider WHEN 'AWS' THEN 'AWS_ACCOUNT_ID' WHEN 'AZURE' THEN 'AZURE_SUBSCRIPTION_ID' ELSE 'GCP_PROJECT_ID' END
			AND t.external_owner_id IN (e.owner_id, '*')))
		ORDER BY c.seq`)
	if err != nil {
		return link.RuleSet{}, err
	}
	for _, p := range pairs {
		if r := place[p.cluster]; r != nil {
			r.Endpoints = append(r.Endpoints, p.endpoint)
		}
	}
	entries, err := list(tx, func(r Row) (e clusterEntry, err error) {
		l, err := scanAllowEntry(&e.cluster)(r)
		e.entry = l.v
		return e, err
	}, `SELECT cluster_id, `+allowColumns+` FROM allow_entries ORDER BY seq`)
	if err != nil {
		return link.RuleSet{}, err
	}
	for _, e := range entries {
		if r := place[e.cluster]; r != nil {
			r.AllowList = append(r.AllowList, e.entry)
		}
	}
	return rules, nil
}

type clusterEntry struct {
	cluster link.ID
	entry   link.AllowEntry
}

// rulesPoll is how often a waiter asks the database itself: in time another process may commit the revision.
const rulesPoll = 5 * time.Second

// WaitRules returns the rules once their revision differs from after, which is at once for a gateway that holds none or
// holds those of a database that is no more.
func (s *Store) WaitRules(ctx context.Context, after int64) (link.RuleSet, error) {
	poll := time.NewTicker(rulesPoll)
	defer poll.Stop()
	for {
		news := s.listen() // before reading, so that a commit in between is not missed
		var rules link.RuleSet
		err := s.Read(ctx, func(tx *Tx) error {
			revision, err := tx.RulesRevision()
			if err != nil || revision == after {
				return err
			}
			rules, err = tx.Rules()
			return err
		})
		if err != nil || rules.Revision != 0 {
			return rules, err
		}
		select {
		case <-ctx.Done():
			return link.RuleSet{}, ctx.Err()
		case <-news:
		case <-poll.C:
		}
	}
}

func (s *Store) listen() <-chan struct{} {
	s.sources.Lock()
	defer s.sources.Unlock()
	return s.news
}

// tell wakes everybody who waits for new rules.
func (s *Store) tell() {
	s.sources.Lock()
	defer s.sources.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}
