package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of egress private endpoints.
const (
	mostEgress      = 20 // of one cluster; a cloud's network takes 50 interface endpoints unless its owner asks for more
	mostDomainNames = 20 // of one egress endpoint
)

// EgressRequest describes an egress private endpoint to create.
type EgressRequest struct {
	Region     string // one of the cluster's
	Target     string // name of the customer's service
	TargetType link.EgressType
}

// EgressView is an egress private endpoint with whom the customer has to allow for it; empty while that is not known.
type EgressView struct {
	link.Egress
	Principal string
}

// EgressPrincipal is in whose name the egress endpoints of one of a cluster's regions are made. AccountID and Principal
// are empty while that is not known.
type EgressPrincipal struct {
	Provider  link.Provider
	Region    string
	AccountID string
	Principal string // as the customer writes it where it allows somebody its service
}

func egressRef(cluster link.ID, id ...string) link.ObjectRef {
	return part(link.ObjectEgress, cluster, id...)
}

// EgressPrincipals tells whom customers have to allow, for each of the cluster's regions.
func (p *Plane) EgressPrincipals(ctx context.Context, c policy.Caller, clusterID link.ID) (out []EgressPrincipal, err error) {
	err = p.read(ctx, c, egressRef(clusterID), func(tx *store.Tx) error {
		cl, err := cluster(tx, clusterID)
		if err != nil {
			return err
		}
		out = nil
		for _, r := range cl.Regions {
			account, err := tx.EgressAccount(cl.Provider, r.Name)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			out = append(out, EgressPrincipal{cl.Provider, r.Name, account, link.AccountPrincipal(r.Name, account)})
		}
		return nil
	})
	return out, err
}

// EgressEndpoints lists a part of a cluster's egress private endpoints, without those that are over, and the token of the
// next part.
func (p *Plane) EgressEndpoints(ctx context.Context, c policy.Caller, clusterID link.ID, page Page) (out []EgressView, next string, err error) {
	of := "egress " + string(clusterID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, egressRef(clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		all, seq, err := tx.EgressPage(clusterID, cut)
		if err != nil {
			return err
		}
		out, next = nil, page.next(of, seq)
		for _, e := range all {
			v, err := viewEgress(tx, e)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, next, err
}

func viewEgress(tx *store.Tx, e link.Egress) (EgressView, error) {
	account, err := tx.EgressAccount(e.Provider, e.Region)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return EgressView{e, link.AccountPrincipal(e.Region, account)}, err
}

// Egress returns one egress private endpoint. One that was deleted is still told for a while, in state DELETED.
func (p *Plane) Egress(ctx context.Context, c policy.Caller, clusterID, id link.ID) (out EgressView, err error) {
	err = p.read(ctx, c, egressRef(clusterID, string(id)), func(tx *store.Tx) error {
		e, err := clusterEgress(tx, clusterID, id)
		if err != nil {
			return err
		}
		out, err = viewEgress(tx, e)
		return err
	})
	return out, err
}

func clusterEgress(tx *store.Tx, clusterID, id link.ID) (link.Egress, error) {
	if _, err := cluster(tx, clusterID); err != nil {
		return link.Egress{}, err
	}
	e, err := tx.Egress(clusterID, id)
	return e, missing(err, "EGRESS_ENDPOINT_NOT_FOUND", "egress private endpoint "+link.Quote(string(id))+" of this cluster", "list the cluster's egress private endpoints to see their ids")
}

// egress returns one egress private endpoint to be changed: until the end of the transaction nobody else changes it.
func (ch *change) egress(clusterID, id link.ID) (link.Egress, error) {
	if err := ch.LockEgress(id); err != nil {
		return link.Egress{}, err
	}
	return clusterEgress(ch.Tx, clusterID, id)
}

// CreateEgress asks for an egress private endpoint. It may be asked for before the customer has published the service or
// allows the vendor: it comes about when both hold, or expires. Asked again for the same service it returns the one that
// there is, and starts one anew that failed or expired.
func (p *Plane) CreateEgress(ctx context.Context, c policy.Caller, clusterID link.ID, r EgressRequest) (out EgressView, err error) {
	if r.TargetType != link.PrivateService {
		return EgressView{}, invalid("target_service_type", "TARGET_TYPE_NOT_SUPPORTED", "egress endpoints to "+link.Quote(string(r.TargetType))+" are not supported",
			"give "+string(link.PrivateService)+", an endpoint service that the customer publishes")
	}
	err = p.change(ctx, c, egressRef(clusterID), func(ch *change) error {
		// Before anything is read: neither more endpoints than may be, nor one of a cluster that is being deleted.
		if err := ch.Lock("egress of", string(clusterID)); err != nil {
			return err
		}
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(cl.Regions, func(in link.ClusterRegion) bool { return in.Name == r.Region }) {
			return invalid("region", "REGION_NOT_FOUND", "cluster "+cl.Name+" is not in region "+link.Quote(r.Region), "its regions stand in the cluster")
		}
		target, err := link.ParseEgressTarget(cl.Provider, r.Region, r.Target)
		if err != nil {
			return err
		}
		if err := ch.notOwn(cl.Provider, target); err != nil {
			return err
		}
		e, err := ch.egressTo(cl, r.Region, target)
		if err != nil {
			return err
		}
		out, err = viewEgress(ch.Tx, e)
		return errors.Join(err, ch.MarkEgressDue(clusterID, e.ID))
	})
	return out, err
}

// notOwn refuses the services that this installation publishes itself. The cloud is asked about all others of the vendor.
func (ch *change) notOwn(p link.Provider, target string) error {
	all, err := ch.Services()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(s store.Service) bool { return s.Provider == p && s.Name == target }) {
		return invalid("target_service_identifier", link.ReasonOwnService, "the service is one of the vendor's own", "name a service of the customer's")
	}
	return nil
}

// egressTo returns the cluster's endpoint to a service, made or started anew where there is none that may come to work.
func (ch *change) egressTo(cl link.Cluster, region, target string) (link.Egress, error) {
	e, err := ch.EgressTo(cl.ID, region, target)
	switch {
	case err == nil && (e.State == link.Failed || e.State == link.Expired) && e.EndpointID == "":
		if e, err = ch.egress(cl.ID, e.ID); err != nil {
			return e, err
		}
		before := e
		if e, err = ch.SwapEgress(newEgress(e, ch)); err != nil {
			return e, err
		}
		return e, ch.changed(egressRef(cl.ID, string(e.ID)), eventChanged, "ASKED_AGAIN", audit.EgressOf(before), audit.EgressOf(e), "the egress endpoint to %s was asked for again", target)
	case err == nil || !errors.Is(err, store.ErrNotFound):
		return e, err
	}
	all, err := ch.ClusterEgress(cl.ID)
	if err != nil {
		return e, err
	}
	if len(all) >= mostEgress {
		return e, &link.Error{
			Kind: link.Precondition, Reason: "TOO_MANY_EGRESS_ENDPOINTS", Message: fmt.Sprintf("cluster %s has %d egress private endpoints", cl.Name, len(all)),
			Hint: fmt.Sprintf("delete one that nobody needs; a cluster may have %d", mostEgress),
		}
	}
	e = newEgress(link.Egress{
		ID: link.NewID(), ClusterID: cl.ID, Provider: cl.Provider, Region: region, Target: target, TargetType: link.PrivateService, Want: link.WantConnected,
	}, ch)
	if e, err = ch.AddEgress(e); err != nil {
		return e, err
	}
	return e, ch.changed(egressRef(cl.ID, string(e.ID)), eventCreated, "", nil, audit.EgressOf(e), "an egress endpoint in %s to %s was asked for", region, target)
}

// newEgress starts an endpoint from its beginning.
func newEgress(e link.Egress, ch *change) link.Egress {
	e.State, e.RequestedAt, e.Address = link.Pending, ch.Now(), ""
	for _, c := range []link.Condition{
		{Type: link.ConditionProvisioned, Reason: link.ReasonCreating, Message: "the endpoint is being made"},
		{Type: link.ConditionAccepted, Reason: link.ReasonCreating, Message: "the customer is asked once the endpoint is made"},
		{Type: link.ConditionDNSReady, Reason: link.ReasonNoNames, Message: "the endpoint has no domain names: it is reached by its own address"},
	} {
		c.Status = link.Unknown
		if c.Type == link.ConditionDNSReady && len(e.DomainNames) > 0 {
			c.Reason, c.Message = link.ReasonNamesWait, "the domain names lead to the endpoint once it is available"
		}
		e.Conditions = link.SetCondition(e.Conditions, c, ch.Now())
	}
	return e
}

// SetEgressNames makes names all the domain names by which the vendor's network reaches an egress endpoint. They may be
// set before the endpoint works.
func (p *Plane) SetEgressNames(ctx context.Context, c policy.Caller, clusterID, id link.ID, names []string) (out EgressView, err error) {
	wanted, err := p.checkDomainNames(names)
	if err != nil {
		return EgressView{}, err
	}
	err = p.change(ctx, c, egressRef(clusterID, string(id)), func(ch *change) error {
		e, err := ch.egress(clusterID, id)
		if err != nil {
			return err
		}
		if e.Want == link.WantGone {
			return &link.Error{
				Kind: link.Precondition, Reason: "EGRESS_ENDPOINT_DELETED", Message: "the egress private endpoint is being deleted", Hint: "ask for another one",
			}
		}
		if !slices.Equal(wanted, e.DomainNames) {
			if err := ch.namesFree(e, wanted, names); err != nil {
				return err
			}
			before := e
			e.DomainNames = wanted
			if e.NamesState = ""; len(wanted) > 0 {
				e.NamesState = link.NamesPending
			}
			if e, err = ch.SwapEgress(e); err != nil {
				return err
			}
			told := "there are no domain names any more"
			if len(wanted) > 0 {
				told = "the domain names are to be " + strings.Join(wanted, ", ")
			}
			if err := ch.changed(egressRef(clusterID, string(id)), eventChanged, "DOMAIN_NAMES", audit.EgressOf(before), audit.EgressOf(e), "%s", told); err != nil {
				return err
			}
		}
		// Also when nothing changed: whoever asks again may know that it is worth a look.
		if err := ch.MarkEgressDue(clusterID, id); err != nil {
			return err
		}
		out, err = viewEgress(ch.Tx, e)
		return err
	})
	return out, err
}

// reserved are domains in which a network's own names stand: who answers them takes over what everybody in it relies on.
var reserved = []string{
	"amazonaws.com", "amazonaws.com.cn", "api.aws", "aws.dev", "amazontrust.com", "internal", "local", "localhost", "arpa", "onion", "invalid",
}

// checkDomainNames reads domain names, and refuses those that would take from the vendor's network more than a customer
// can own. It returns them sorted, each once.
func (p *Plane) checkDomainNames(names []string) ([]string, error) {
	if len(names) > mostDomainNames {
		return nil, invalid("domain_names", "TOO_MANY", fmt.Sprintf("%d domain names are given", len(names)), fmt.Sprintf("give at most %d", mostDomainNames))
	}
	var out []string
	for i, given := range names {
		field := fmt.Sprintf("domain_names[%d]", i)
		name, err := link.ParseDomainName(field, given)
		if err != nil {
			return nil, err
		}
		zone := link.NameZone(name)
		own := strings.ToLower(strings.TrimSuffix(p.domain, "."))
		if link.Below(zone, own) || link.Below(own, zone) {
			return nil, invalid(field, "VENDORS_DOMAIN", name+" is the vendor's own, or hides it", "give a name in the customer's own domain")
		}
		for _, r := range reserved {
			if link.Below(zone, r) || link.Below(r, zone) {
				return nil, invalid(field, "RESERVED_DOMAIN", name+" belongs to the network or to the cloud itself", "give a name in the customer's own domain")
			}
		}
		if isShared(zone) {
			return nil, invalid(field, "DOMAIN_TOO_SHORT", "many share the domain "+zone, "give a name below the customer's own domain, such as service.customer."+zone)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// namesFree refuses names that stand in the way of names of another endpoint in the same network: the same domain, or, of
// another cluster, one above or below. given are the names as the caller spelled and ordered them.
func (ch *change) namesFree(e link.Egress, wanted, given []string) error {
	if err := ch.Lock("egress names in", regionKey(e.Provider, e.Region)); err != nil {
		return err
	}
	others, err := ch.EgressNames(e.Provider, e.Region)
	if err != nil {
		return err
	}
	for _, name := range wanted {
		zone := link.NameZone(name)
		for _, o := range others {
			if o.ID == e.ID {
				continue
			}
			held := o.MadeNames // that of one that goes may still stand
			if o.Want != link.WantGone {
				held = slices.Concat(o.DomainNames, held)
			}
			for _, theirs := range held {
				z := link.NameZone(theirs)
				if z != zone && (o.ClusterID == e.ClusterID || !link.Below(z, zone) && !link.Below(zone, z)) {
					continue
				}
				whose, hint := "another cluster's egress endpoint in "+e.Region, "choose another domain; the vendor can tell whose it is"
				if o.ClusterID == e.ClusterID {
					whose, hint = "the egress endpoint "+string(o.ID), "take it from there first"
				}
				i := slices.IndexFunc(given, func(g string) bool { return strings.EqualFold(strings.TrimSuffix(g, "."), name) })
				return &link.Error{
					Kind: link.Conflict, Reason: "DOMAIN_NAME_IN_USE", Field: fmt.Sprintf("domain_names[%d]", i),
					Message: name + " overlaps with a domain name of " + whose, Hint: hint,
				}
			}
		}
	}
	return nil
}

// DeleteEgress asks for the end of an egress private endpoint. It is NotFound only when there never was one.
func (p *Plane) DeleteEgress(ctx context.Context, c policy.Caller, clusterID, id link.ID) error {
	return p.change(ctx, c, egressRef(clusterID, string(id)), func(ch *change) error {
		return ch.endEgress(clusterID, id, "the end of the egress endpoint was asked for")
	})
}

func (ch *change) endEgress(clusterID, id link.ID, why string) error {
	e, err := ch.egress(clusterID, id)
	if err != nil {
		return err
	}
	if e.State == link.Deleted && e.Want == link.WantGone {
		return nil
	}
	if e.Want != link.WantGone {
		before := e
		e.Want, e.State = link.WantGone, link.Deleting
		after, err := ch.SwapEgress(e)
		if err != nil {
			return err
		}
		if err := ch.changed(egressRef(e.ClusterID, string(e.ID)), eventDeleted, "", audit.EgressOf(before), audit.EgressOf(after), "%s", why); err != nil {
			return err
		}
	}
	return ch.MarkEgressDue(e.ClusterID, e.ID)
}

// endClusterEgress asks for the end of all egress endpoints of a cluster, which goes now. They go after it.
func (ch *change) endClusterEgress(cluster link.ID) error {
	if err := ch.Lock("egress of", string(cluster)); err != nil {
		return err
	}
	all, err := ch.ClusterEgress(cluster)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := ch.endEgress(cluster, e.ID, "the cluster was deleted, and the egress endpoint goes with it"); err != nil {
			return err
		}
	}
	return nil
}
