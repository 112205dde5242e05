package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Clusters lists a part of the clusters that the caller may see, and returns the token of the next part, empty at the end.
func (p *Plane) Clusters(ctx context.Context, c policy.Caller, page Page) (out []link.Cluster, next string, err error) {
	cut, err := page.cut("clusters")
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectCluster}, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.ClustersWithin(policy.ReachOf(c, link.ObjectCluster), cut)
		for i := range out {
			out[i] = shown(c, out[i])
		}
		next = page.next("clusters", seq)
		return err
	})
	return out, next, err
}

// Cluster returns one cluster.
func (p *Plane) Cluster(ctx context.Context, c policy.Caller, id link.ID) (out link.Cluster, err error) {
	err = p.read(ctx, c, clusterRef(id), func(tx *store.Tx) error {
		out, err = cluster(tx, id)
		out = shown(c, out)
		return err
	})
	return out, err
}

func cluster(tx *store.Tx, id link.ID) (link.Cluster, error) {
	out, err := tx.Cluster(id)
	if errors.Is(err, store.ErrNotFound) {
		return out, noCluster(id)
	}
	return out, err
}

func noCluster(id link.ID) error {
	return missing(store.ErrNotFound, "CLUSTER_NOT_FOUND", "cluster "+link.Quote(string(id)), "list the clusters to see their ids")
}

// operates tells whether a caller is the vendor's: only that sees where flows go behind the gateways.
func operates(c policy.Caller) bool {
	return policy.May(c, policy.Read, link.ObjectRef{Kind: link.ObjectTraffic}, link.Place{}).Allow
}

// shown is a cluster as a caller sees it: a customer does not see the vendor's servers.
func shown(c policy.Caller, cl link.Cluster) link.Cluster {
	if !operates(c) {
		cl.Backends = nil
	}
	return cl
}

// CreateCluster makes a cluster whose allow list lets everybody in by its public door. Asked again for the very same
// cluster it returns the one that there is; another cluster of the name is a Conflict.
func (p *Plane) CreateCluster(ctx context.Context, c policy.Caller, r ClusterRequest) (out link.Cluster, err error) {
	if r.PublicAccess == "" {
		r.PublicAccess = link.PublicEnabled
	}
	if err := checkCluster(r); err != nil {
		return link.Cluster{}, err
	}
	err = p.act(ctx, c, policy.Create, link.ObjectRef{Kind: link.ObjectCluster}, projectRef(r.ProjectID), func(ch *change) error {
		if _, err := ch.Project(r.ProjectID); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return invalid("project_id", "PROJECT_NOT_FOUND", "there is no project "+link.Quote(string(r.ProjectID)), "create it first, or list the projects to see their ids")
			}
			return err
		}
		for i, name := range r.Regions {
			if err := offered(ch.Tx, r.Provider, name, fmt.Sprintf("regions[%d]", i)); err != nil {
				return err
			}
		}
		switch old, err := ch.ClusterNamed(r.Name); {
		case err == nil && asRequested(old, r):
			out = old
			return nil
		case err == nil:
			return &link.Error{
				Kind: link.Conflict, Reason: "NAME_TAKEN", Field: "name",
				Message: "there is another cluster named " + r.Name, Hint: "choose another name: it stands in the cluster's host names",
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		fresh := link.Cluster{
			ID: link.NewID(), ProjectID: r.ProjectID, Name: r.Name, Provider: r.Provider, Backends: r.Backends, PublicAccess: r.PublicAccess,
		}
		for _, region := range r.Regions {
			fresh.Regions = append(fresh.Regions, link.ClusterRegion{
				Name:        region,
				PublicName:  link.PublicName(r.Name, region, p.domain),
				PrivateName: link.PrivateName(r.Name, region, p.domain),
			})
		}
		if out, err = ch.AddCluster(fresh); err != nil {
			return err
		}
		var open []link.AllowEntry
		for _, everyone := range []string{"0.0.0.0/0", "::/0"} {
			e := link.AllowEntry{Prefix: netip.MustParsePrefix(everyone), UI: true, SQL: true, Name: "everyone"}
			if err := ch.PutAllowEntry(out.ID, e); err != nil {
				return err
			}
			open = append(open, e)
		}
		return errors.Join(ch.RulesChanged(store.RulesOfCluster, out.ID), ch.changed(clusterRef(out.ID), eventCreated, "", nil, audit.ClusterOf(out, open), "cluster %s was created in %s", r.Name, strings.Join(r.Regions, ", ")),
			ch.backendsChanged(out.ID, eventCreated, nil, out.Backends))
	})
	return out, err
}

func checkCluster(r ClusterRequest) error {
	if err := checkLabel("name", r.Name); err != nil {
		return err
	}
	if err := checkProvider("cloud_provider", r.Provider); err != nil {
		return err
	}
	if len(r.Regions) == 0 {
		return invalid("regions", "REGIONS_REQUIRED", "a cluster needs a region", "list the regions to see which are offered")
	}
	if err := checkLength("regions", r.Regions); err != nil {
		return err
	}
	for i, name := range r.Regions {
		if slices.Contains(r.Regions[:i], name) {
			return invalid(fmt.Sprintf("regions[%d]", i), "DUPLICATE", "region "+link.Quote(name)+" is given twice", "")
		}
	}
	if err := checkPublicAccess(r.PublicAccess); err != nil {
		return err
	}
	return checkBackends(r.Backends)
}

func offered(tx *store.Tx, p link.Provider, region, field string) error {
	_, err := tx.Region(p, region)
	if errors.Is(err, store.ErrNotFound) {
		return invalid(field, "REGION_NOT_OFFERED", fmt.Sprintf("region %s of %s is not offered here", link.Quote(region), p),
			"list the regions to see which are; an operator can add one")
	}
	if err != nil {
		return err
	}
	return notEnding(tx, p, region)
}

func checkBackends(backends []string) error {
	if err := checkLength("backends", backends); err != nil {
		return err
	}
	for i, b := range backends {
		host, port, err := net.SplitHostPort(b)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || n == 0 || !isHost(host) {
			return invalid(fmt.Sprintf("backends[%d]", i), "MALFORMED_BACKEND", "not host:port: "+link.Quote(b), "for example sql.internal:26257 or [2001:db8::1]:443")
		}
		if slices.Contains(backends[:i], b) {
			return invalid(fmt.Sprintf("backends[%d]", i), "DUPLICATE", b+" is given twice", "")
		}
	}
	return nil
}

// isHost reports whether s is an IP address or a host name.
func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return !a.IsUnspecified()
	}
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isHostByte(c) {
				return false
			}
		}
	}
	return true
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func checkPublicAccess(a link.PublicAccess) error {
	switch a {
	case link.PublicEnabled, link.PublicReportOnly, link.PublicDisabled:
		return nil
	}
	return invalid("public_access", "MALFORMED_PUBLIC_ACCESS", "not a state of the public door: "+link.Quote(string(a)),
		"give ENABLED, REPORT_ONLY or DISABLED")
}

func asRequested(c link.Cluster, r ClusterRequest) bool {
	regions := make([]string, len(c.Regions))
	for i, region := range c.Regions {
		regions[i] = region.Name
	}
	return c.ProjectID == r.ProjectID && c.Provider == r.Provider && slices.Equal(regions, r.Regions) && slices.Equal(c.Backends, r.Backends) &&
		c.PublicAccess == r.PublicAccess
}

// UpdateCluster changes what u names.
func (p *Plane) UpdateCluster(ctx context.Context, c policy.Caller, id link.ID, u ClusterUpdate) (out link.Cluster, err error) {
	if u.Backends != nil {
		if err := checkBackends(*u.Backends); err != nil {
			return link.Cluster{}, err
		}
	}
	var names []string
	if u.CustomNames != nil {
		if names, err = customNames(*u.CustomNames, p.domain); err != nil {
			return link.Cluster{}, err
		}
	}
	err = p.change(ctx, c, trafficRef(id), func(ch *change) error {
		if out, err = cluster(ch.Tx, id); err != nil {
			return err
		}
		if u.CustomNames != nil {
			if out, err = ch.setCustomNames(out, names, *u.CustomNames); err != nil {
				return err
			}
		}
		if u.Backends == nil || slices.Equal(out.Backends, *u.Backends) {
			return nil
		}
		before := out.Backends
		out.Backends = *u.Backends
		if out, err = ch.UpdateCluster(out); err != nil {
			return err
		}
		return errors.Join(ch.forgetBackends(out), ch.RulesChanged(store.RulesOfCluster, id), ch.note(clusterRef(id), eventChanged, "BACKENDS", "the backends were changed"),
			ch.note(trafficRef(id), eventChanged, "BACKENDS", "the backends are now %s", strings.Join(out.Backends, ", ")), ch.backendsChanged(id, eventChanged, before, out.Backends))
	})
	return out, err
}

// backendsChanged writes the entry of a cluster's backends, which are the vendor's to know.
func (ch *change) backendsChanged(id link.ID, typ string, before, after []string) error {
	return ch.audit(trafficRef(id), typ, "BACKENDS", before, after, "the backends are now "+orNone(strings.Join(after, ", ")))
}

// SetPublicAccess opens, watches or closes a cluster's public door.
func (p *Plane) SetPublicAccess(ctx context.Context, c policy.Caller, id link.ID, a link.PublicAccess) (out link.Cluster, err error) {
	if err := checkPublicAccess(a); err != nil {
		return link.Cluster{}, err
	}
	err = p.change(ctx, c, part(link.ObjectPublicAccess, id), func(ch *change) error {
		if out, err = cluster(ch.Tx, id); err != nil || out.PublicAccess == a {
			return err
		}
		before := out.PublicAccess
		out.PublicAccess = a
		if out, err = ch.UpdateCluster(out); err != nil {
			return err
		}
		return errors.Join(ch.RulesChanged(store.RulesOfCluster, id), ch.note(clusterRef(id), eventChanged, "PUBLIC_ACCESS", "public access went from %s to %s", before, a),
			ch.audit(part(link.ObjectPublicAccess, id), eventChanged, "", audit.PublicValue{PublicAccess: before}, audit.PublicValue{PublicAccess: a},
				fmt.Sprintf("public access went from %s to %s", before, a)))
	})
	return shown(c, out), err
}

// DeleteCluster removes a cluster with its allow list, trusted owners and egress private endpoints. While it has connections it is refused: whoever
// uses them should lose them by name, not by the way.
func (p *Plane) DeleteCluster(ctx context.Context, c policy.Caller, id link.ID) error {
	return p.change(ctx, c, clusterRef(id), func(ch *change) error {
		old, err := cluster(ch.Tx, id)
		if err != nil {
			return err
		}
		conns, err := ch.Connections(id)
		if err != nil {
			return err
		}
		if len(conns) > 0 {
			return &link.Error{
				Kind: link.Precondition, Reason: "CONNECTIONS_EXIST",
				Message: fmt.Sprintf("cluster %s still has %d private endpoint connections, %s among them", old.Name, len(conns), conns[0].EndpointID),
				Hint:    "delete them and wait until they are gone from the list",
			}
		}
		return errors.Join(ch.endClusterEgress(id), ch.UnlistClaims(id), ch.RemoveCluster(id), ch.RulesChanged(store.RulesOfCluster, id),
			ch.changed(clusterRef(id), eventDeleted, "", audit.ClusterOf(old, nil), nil, "cluster %s was deleted", old.Name))
	})
}
