package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/postern/postern/internal/link"
)

// ReverseProxy returns a cluster's reverse proxy and how often it was changed, from 1, or ErrNotFound.
func (tx *Tx) ReverseProxy(cluster link.ID) (p link.ReverseProxy, version int64, err error) {
	err = tx.row(`SELECT settings, version FROM reverse_proxies WHERE cluster_id = $1`, cluster).Scan(parsed(&p), &version)
	return p, version, err
}

// PutReverseProxy stores a cluster's reverse proxy in the place of the one that it had, and returns its version. When it begins
// to rewrite redirects it gets a key for them, which stays until it ends to.
func (tx *Tx) PutReverseProxy(cluster link.ID, p link.ReverseProxy) (version int64, err error) {
	var key []byte
	if p.Redirects.Mode == link.RedirectRewrite {
		key = make([]byte, link.TicketKeySize)
		_, _ = rand.Read(key) // never fails: crypto/rand aborts the program instead
	}
	err = tx.row(`INSERT INTO reverse_proxies (cluster_id, server, settings, ticket_key, version) VALUES ($1, $2, $3, $4, 1)
		ON CONFLICT (cluster_id) DO UPDATE SET server = excluded.server, settings = excluded.settings, version = reverse_proxies.version + 1,
			ticket_key = CASE WHEN excluded.ticket_key = '' OR reverse_proxies.ticket_key = '' THEN excluded.ticket_key ELSE reverse_proxies.ticket_key END
		RETURNING version`, cluster, p.Server, text(p), hex.EncodeToString(key)).Scan(&version)
	return version, err
}

// RemoveReverseProxy removes a cluster's reverse proxy, or returns ErrNotFound.
func (tx *Tx) RemoveReverseProxy(cluster link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM reverse_proxies WHERE cluster_id = $1`, cluster)
}

// addProxies adds to the rules of some clusters what the embedded server does for those that have it.
func (tx *Tx) addProxies(place map[link.ID]*link.ClusterRules, some []link.ID) error {
	type proxy struct {
		cluster link.ID
		rules   *link.ProxyRules
	}
	proxies, err := list(tx, func(r Row) (proxy, error) {
		p := proxy{rules: new(link.ProxyRules)}
		var key string
		if err := r.Scan(&p.cluster, parsed(&p.rules.Proxy), &key); err != nil || key == "" {
			return p, err
		}
		var err error
		p.rules.TicketKey, err = hex.DecodeString(key)
		return p, err
	}, `SELECT cluster_id, settings, ticket_key FROM reverse_proxies WHERE server = 'direct' AND cluster_id IN (`+places(len(some))+`)`, args(some)...)
	if err != nil || len(proxies) == 0 {
		return err
	}
	var ids []link.ID
	for _, p := range proxies {
		place[p.cluster].Proxy = p.rules
		ids = append(ids, p.cluster)
	}
	all, err := tx.certificatesOf(ids)
	if err != nil {
		return fmt.Errorf("the client certificates of %d clusters: %w", len(ids), err)
	}
	for id, c := range all {
		place[id].Proxy.Certificates = *c
	}
	return nil
}
