package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// decodeRules reads one document of the rules stream, strictly: a field or a value that this gateway does not know
// could be the one that restricts, so a document with it is refused whole and the rules stay as they are.
func decodeRules(doc []byte) (api.GatewayRules, link.RuleSet, error) {
	var wire api.GatewayRules
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wire); err != nil {
		return wire, link.RuleSet{}, fmt.Errorf("rules: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wire, link.RuleSet{}, errors.New("rules: more than one document in a line")
	}
	set, err := ruleSet(wire)
	return wire, set, err
}

// ruleSet checks rules from the wire and puts them into our own terms.
func ruleSet(wire api.GatewayRules) (link.RuleSet, error) {
	if wire.Revision < 0 {
		return link.RuleSet{}, fmt.Errorf("rules: revision %d is negative", wire.Revision)
	}
	set := link.RuleSet{Revision: wire.Revision, Clusters: make([]link.ClusterRules, len(wire.Clusters))}
	for i, w := range wire.Clusters {
		c, err := clusterRules(w)
		if err != nil {
			return link.RuleSet{}, fmt.Errorf("rules of revision %d, cluster %s: %w", wire.Revision, link.Quote(w.ClusterID), err)
		}
		set.Clusters[i] = c
	}
	return set, nil
}

func clusterRules(w api.GatewayClusterRules) (link.ClusterRules, error) {
	id, err := link.ParseID("cluster_id", w.ClusterID)
	if err != nil {
		return link.ClusterRules{}, err
	}
	c := link.ClusterRules{
		ClusterID: id, PrivateNames: w.PrivateNames, PublicNames: w.PublicNames,
		PublicAccess: link.PublicAccess(w.PublicAccess), Endpoints: make([]link.EndpointID, len(w.EndpointIDs)),
		AllowList: make([]link.AllowEntry, len(w.AllowList)),
	}
	switch c.PublicAccess {
	case link.PublicEnabled, link.PublicReportOnly, link.PublicDisabled:
	default:
		return c, fmt.Errorf("unknown public access %s", link.Quote(w.PublicAccess))
	}
	for _, names := range [][]string{w.PrivateNames, w.PublicNames} {
		for _, n := range names {
			if n == "" || len(n) > 254 || strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return c, fmt.Errorf("not a host name: %s", link.Quote(n))
			}
		}
	}
	for _, t := range w.Backends {
		b := t.Address
		host, port, err := net.SplitHostPort(b)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			return c, fmt.Errorf("not a backend (host:port): %s", link.Quote(b))
		}
		c.Backends = append(c.Backends, link.Backend{Address: b, Weight: t.Weight, Draining: t.Draining})
	}
	for i, e := range w.EndpointIDs {
		if e == "" || len(e) > 1024 {
			return c, fmt.Errorf("not an endpoint id: %s", link.Quote(e))
		}
		c.Endpoints[i] = link.EndpointID(e)
	}
	for i, a := range w.AllowList {
		p, err := netip.ParsePrefix(a.Prefix)
		if err != nil || p != p.Masked() {
			return c, fmt.Errorf("not an address range: %s", link.Quote(a.Prefix))
		}
		c.AllowList[i] = link.AllowEntry{Prefix: p, UI: a.UI, SQL: a.SQL}
	}
	return c, nil
}
