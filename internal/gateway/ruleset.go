package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// decodeDocument reads one document of the rules stream, strictly: a field that this gateway does not know could be the
// one that restricts, so a document with it is refused whole and the rules stay as they are.
func decodeDocument(doc []byte) (wire api.GatewayRules, err error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wire); err != nil {
		return wire, fmt.Errorf("rules: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wire, errors.New("rules: more than one document in a line")
	}
	return wire, nil
}

// ruleDelta checks rules from the wire, as strictly, and puts them into our own terms; a full set is a change from 0.
func ruleDelta(wire api.GatewayRules) (link.RuleDelta, error) {
	d, err := readDelta(wire)
	if err != nil {
		return link.RuleDelta{}, fmt.Errorf("rules of revision %d: %w", wire.Revision, err)
	}
	return d, nil
}

func readDelta(wire api.GatewayRules) (d link.RuleDelta, err error) {
	d.From, d.Revision = wire.From, wire.Revision
	removed := len(wire.RemovedClusters) + len(wire.RemovedProjects) + len(wire.RemovedClaims)
	switch {
	case wire.Revision < 1:
		return d, errors.New("a revision is at least 1")
	case wire.From < 0 || wire.From > wire.Revision:
		return d, fmt.Errorf("a change from revision %d leads nowhere", wire.From)
	case wire.From == 0 && removed > 0:
		return d, errors.New("a full set removes nothing")
	case len(wire.Tag) > 100:
		return d, errors.New("the tag is too long")
	}
	if wire.Ports != nil {
		ports, err := all(*wire.Ports, portRule)
		if err != nil {
			return d, err
		}
		d.Ports = &ports
	}
	if d.Clusters, err = all(wire.Clusters, func(w api.GatewayClusterRules) (link.ClusterRules, error) {
		c, err := clusterRules(w)
		if err != nil {
			err = fmt.Errorf("cluster %s: %w", link.Quote(w.ClusterID), err)
		}
		return c, err
	}); err != nil {
		return d, err
	}
	if d.Projects, err = all(wire.Projects, projectRules); err != nil {
		return d, err
	}
	if d.Claims, err = all(wire.Claims, claimRule); err != nil {
		return d, err
	}
	for _, r := range []struct {
		name string
		wire []string
		into *[]link.ID
	}{
		{"removed_clusters", wire.RemovedClusters, &d.RemovedClusters},
		{"removed_projects", wire.RemovedProjects, &d.RemovedProjects},
		{"removed_claims", wire.RemovedClaims, &d.RemovedClaims},
	} {
		*r.into, err = all(r.wire, func(id string) (link.ID, error) { return link.ParseID(r.name, id) })
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

// all puts a list from the wire into our own terms, to the first that is wrong.
func all[From, To any](list []From, f func(From) (To, error)) ([]To, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]To, len(list))
	for i, v := range list {
		var err error
		if out[i], err = f(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func clusterRules(w api.GatewayClusterRules) (c link.ClusterRules, err error) {
	c = link.ClusterRules{
		PrivateNames: w.PrivateNames, PublicNames: w.PublicNames, ProxyProtocol: w.ProxyProtocol,
		PublicAccess: link.PublicAccess(w.PublicAccess), DeniedPorts: w.DeniedPorts,
	}
	if c.ClusterID, err = link.ParseID("cluster_id", w.ClusterID); err != nil {
		return c, err
	}
	if w.ProjectID != "" {
		if c.ProjectID, err = link.ParseID("project_id", w.ProjectID); err != nil {
			return c, err
		}
	}
	switch c.PublicAccess {
	case link.PublicEnabled, link.PublicReportOnly, link.PublicDisabled:
	default:
		return c, fmt.Errorf("unknown public access %s", link.Quote(w.PublicAccess))
	}
	for _, names := range [][]string{w.PrivateNames, w.PublicNames} {
		for _, n := range names {
			if !hostName(n) {
				return c, fmt.Errorf("not a host name: %s", link.Quote(n))
			}
		}
	}
	if slices.Contains(w.DeniedPorts, 0) {
		return c, errors.New("port 0 cannot be denied: there is none")
	}
	if c.Backends, err = all(w.Backends, target); err != nil {
		return c, err
	}
	if c.Endpoints, err = all(w.EndpointIDs, endpointID); err != nil {
		return c, err
	}
	c.AllowList, err = all(w.AllowList, func(a api.AllowRule) (link.AllowEntry, error) {
		p, err := netip.ParsePrefix(a.Prefix)
		if err != nil || p != p.Masked() {
			return link.AllowEntry{}, fmt.Errorf("not an address range: %s", link.Quote(a.Prefix))
		}
		return link.AllowEntry{Prefix: p, UI: a.UI, SQL: a.SQL}, nil
	})
	if err != nil {
		return c, err
	}
	if w.Health != nil {
		if c.Health, err = healthCheck(*w.Health); err != nil {
			return c, err
		}
	}
	if w.Limits != nil {
		if w.Limits.Flows < 0 || w.Limits.FlowsPerSecond < 0 || w.Limits.FlowsPerEndpoint < 0 || w.Limits.FlowsPerSecondByEndpoint < 0 {
			return c, errors.New("a limit is below 0")
		}
		c.Limits = link.Limits(*w.Limits)
	}
	if w.Proxy != nil {
		if c.Proxy, err = proxyRules(c.ClusterID, *w.Proxy); err != nil {
			return c, fmt.Errorf("proxy: %w", err)
		}
	}
	return c, nil
}

func hostName(n string) bool {
	return n != "" && len(n) <= 254 && !strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r > '~' })
}

func endpointID(e string) (link.EndpointID, error) {
	if e == "" || len(e) > 1024 {
		return "", fmt.Errorf("not an endpoint id: %s", link.Quote(e))
	}
	return link.EndpointID(e), nil
}

func target(t api.GatewayTarget) (link.Backend, error) {
	host, port, err := net.SplitHostPort(t.Address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		return link.Backend{}, fmt.Errorf("not a backend (host:port): %s", link.Quote(t.Address))
	}
	if t.Weight < 0 || t.Weight > 256 {
		return link.Backend{}, fmt.Errorf("the weight %d of backend %s is not from 1 to 256", t.Weight, t.Address)
	}
	return link.Backend{Address: t.Address, Weight: t.Weight, Draining: t.Draining}, nil
}

// longestCheck bounds the times of health checks, in seconds: a day.
const longestCheck = 24 * 60 * 60

func healthCheck(w api.GatewayHealthCheck) (link.HealthCheck, error) {
	h := link.HealthCheck{
		Check: link.Check(w.Check), Path: w.Path, Statuses: w.Statuses, Interval: time.Duration(w.IntervalSeconds) * time.Second,
		Timeout: time.Duration(w.TimeoutSeconds) * time.Second, Rise: w.Rise, Fall: w.Fall,
	}
	switch h.Check {
	case link.CheckTCP, link.CheckTLS, link.CheckHTTP, link.CheckHTTPS, link.CheckPostgres:
	default:
		return h, fmt.Errorf("unknown health check %s", link.Quote(w.Check))
	}
	if w.Path != "" && (w.Path[0] != '/' || len(w.Path) > 2048 || strings.ContainsFunc(w.Path, func(r rune) bool { return r <= ' ' || r > '~' })) {
		return h, fmt.Errorf("not a path to ask for: %s", link.Quote(w.Path))
	}
	for _, s := range w.Statuses {
		if s < 100 || s > 599 {
			return h, fmt.Errorf("%d is no HTTP status", s)
		}
	}
	for _, n := range []int{w.IntervalSeconds, w.TimeoutSeconds, w.Rise, w.Fall} {
		if n < 0 || n > longestCheck {
			return h, fmt.Errorf("%d is out of the range of a health check's settings", n)
		}
	}
	return h, nil
}

func portRule(w api.GatewayPort) (link.PortRule, error) {
	p := link.PortRule{
		Port: w.Port, Protocol: link.Protocol(w.Protocol), Traffic: link.Traffic(w.Traffic), Denied: w.Denied, BackendPort: w.BackendPort,
	}
	if p.Port == 0 {
		return p, errors.New("a rule of port 0: there is none")
	}
	switch p.Protocol {
	case link.ProtocolAuto, link.ProtocolTLS, link.ProtocolPostgres, link.ProtocolTCP:
	default:
		return p, fmt.Errorf("port %d has the unknown protocol %s", p.Port, link.Quote(w.Protocol))
	}
	switch p.Traffic {
	case link.TrafficAny, link.TrafficUI, link.TrafficSQL:
	default:
		return p, fmt.Errorf("port %d has the unknown traffic %s", p.Port, link.Quote(w.Traffic))
	}
	return p, nil
}

func projectRules(w api.GatewayProjectRules) (p link.ProjectRules, err error) {
	if p.ProjectID, err = link.ParseID("project_id", w.ProjectID); err == nil {
		p.Endpoints, err = all(w.EndpointIDs, endpointID)
	}
	return p, err
}

func claimRule(w api.GatewayClaimRule) (c link.ClaimRule, err error) {
	c = link.ClaimRule{Domain: w.Domain, ExpiresAt: w.ExpiresAt}
	if c.ID, err = link.ParseID("claim id", w.ID); err != nil {
		return c, err
	}
	if c.ClusterID, err = link.ParseID("cluster_id", w.ClusterID); err != nil {
		return c, err
	}
	if !hostName(w.Domain) || strings.ToLower(w.Domain) != w.Domain || strings.HasSuffix(w.Domain, ".") {
		return c, fmt.Errorf("claim %s: not a domain: %s", c.ID, link.Quote(w.Domain))
	}
	if copy(c.Hash[:], w.Hash) != len(c.Hash) || len(w.Hash) != len(c.Hash) {
		return c, fmt.Errorf("claim %s: a hash of %d bytes", c.ID, len(w.Hash))
	}
	return c, nil
}
