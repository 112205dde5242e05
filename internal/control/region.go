package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Regions lists the regions in which the vendor is reachable, with their services.
func (p *Plane) Regions(ctx context.Context, c policy.Caller) (out []RegionView, err error) {
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectRegion}, func(tx *store.Tx) error {
		regions, err := tx.Regions()
		if err != nil {
			return err
		}
		for _, r := range regions {
			v := RegionView{Region: r}
			switch s, err := tx.Service(r.Provider, r.Name); {
			case err == nil:
				v.Service = &s.Service
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

// PutRegion describes a region, in the place of what was said of it before. A service that stands there is made to
// match.
func (p *Plane) PutRegion(ctx context.Context, c policy.Caller, r link.Region) (out link.Region, err error) {
	if len(r.Ports) == 0 {
		r.Ports = []uint16{443}
	}
	if err := checkRegion(r); err != nil {
		return link.Region{}, err
	}
	ref := link.ObjectRef{Kind: link.ObjectRegion, ID: regionKey(r.Provider, r.Name)}
	err = p.change(ctx, c, ref, func(ch *change) error {
		old, err := ch.Region(r.Provider, r.Name)
		known := err == nil
		if known {
			if err := notEnding(ch.Tx, r.Provider, r.Name); err != nil {
				return err
			}
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if known && old.VPCID == r.VPCID && slices.Equal(old.SubnetIDs, r.SubnetIDs) && slices.Equal(old.Targets, r.Targets) && slices.Equal(old.Ports, r.Ports) {
			out = old
			return nil
		}
		if out, err = ch.PutRegion(r); err != nil {
			return err
		}
		if err := ch.MarkEgressAccountDue(r.Provider, r.Name); err != nil {
			return err
		}
		if !known {
			return ch.note(ref, eventCreated, "", "region %s of %s was added", r.Name, r.Provider)
		}
		if _, err := ch.Service(r.Provider, r.Name); err == nil {
			err = ch.MarkServiceDue(r.Provider, r.Name)
			if err != nil {
				return err
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return ch.note(ref, eventChanged, "", "region %s of %s was changed", r.Name, r.Provider)
	})
	return out, err
}

// DeleteRegion gives a region up: its service is deleted at the cloud, with the endpoints that are attached to it turned
// away, and then the region is gone. While clusters are reached in it, it is refused. Asking again changes nothing.
func (p *Plane) DeleteRegion(ctx context.Context, c policy.Caller, provider link.Provider, name string) (out RegionView, err error) {
	ref := link.ObjectRef{Kind: link.ObjectRegion, ID: regionKey(provider, name)}
	err = p.change(ctx, c, ref, func(ch *change) error {
		r, err := ch.Region(provider, name)
		if err != nil {
			return missing(err, "REGION_NOT_FOUND", "region "+link.Quote(name)+" of "+link.Quote(string(provider)), "list the regions to see which there are")
		}
		out = RegionView{Region: r}
		const most = 3
		clusters, err := ch.ClustersIn(provider, name, most)
		if err != nil {
			return err
		}
		if len(clusters) > 0 {
			return &link.Error{
				Kind: link.Precondition, Reason: "CLUSTERS_EXIST",
				Message: fmt.Sprintf("clusters are reached in %s, among them %s", name, strings.Join(clusters, ", ")),
				Hint:    "delete these clusters first, and their connections before",
			}
		}
		s, err := ch.Service(provider, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return errors.Join(ch.RemoveRegion(provider, name), ch.changed(ref, eventDeleted, "", r, nil, "region %s of %s was deleted", name, provider))
		case err != nil:
			return err
		case s.Gone:
			out.Service = &s.Service
			return ch.MarkServiceDue(provider, name)
		}
		if err := ch.EndService(provider, name); err != nil {
			return err
		}
		if s, err = ch.Service(provider, name); err != nil {
			return err
		}
		out.Service = &s.Service
		return ch.changed(ref, eventDeleted, "", r, nil, "the end of region %s of %s was asked for; its service is being deleted", name, provider)
	})
	return out, err
}

// notEnding refuses what would be done to a region that is being deleted.
func notEnding(tx *store.Tx, p link.Provider, region string) error {
	s, err := tx.Service(p, region)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && s.Gone {
		return &link.Error{
			Kind: link.Precondition, Reason: "REGION_DELETING", Message: "region " + region + " is being deleted",
			Hint: "wait until it is gone from the list of regions",
		}
	}
	return err
}

func checkRegion(r link.Region) error {
	if err := checkProvider("provider", r.Provider); err != nil {
		return err
	}
	if err := checkLabel("region", r.Name); err != nil {
		return err
	}
	if err := errors.Join(checkLength("subnet_ids", r.SubnetIDs), checkLength("gateway_targets", r.Targets)); err != nil {
		return err
	}
	if !strings.HasPrefix(r.VPCID, "vpc-") || len(r.VPCID) > 64 {
		return invalid("vpc_id", "MALFORMED_VPC_ID", "not a VPC id: "+link.Quote(r.VPCID), "a VPC id looks like vpc-0a1b2c3d4e5f60718")
	}
	if len(r.SubnetIDs) == 0 {
		return invalid("subnet_ids", "SUBNETS_REQUIRED", "a region needs a subnet for its load balancer", "give one subnet per zone")
	}
	for i, s := range r.SubnetIDs {
		field := fmt.Sprintf("subnet_ids[%d]", i)
		if !strings.HasPrefix(s, "subnet-") || len(s) > 64 {
			return invalid(field, "MALFORMED_SUBNET_ID", "not a subnet id: "+link.Quote(s), "a subnet id looks like subnet-0a1b2c3d4e5f60718")
		}
		if slices.Contains(r.SubnetIDs[:i], s) {
			return invalid(field, "DUPLICATE", s+" is given twice", "")
		}
	}
	if len(r.Targets) == 0 {
		return invalid("gateway_targets", "TARGETS_REQUIRED", "a region needs the address of a gateway", "give address:port of each gateway's private listener")
	}
	for i, t := range r.Targets {
		field := fmt.Sprintf("gateway_targets[%d]", i)
		// An address has one spelling, by which it is told from others at the cloud.
		if !t.IsValid() || t.Port() == 0 || t.Addr().IsUnspecified() || t.Addr().Is4In6() || t.Addr().Zone() != "" {
			return invalid(field, "MALFORMED_TARGET", "not an address and port that can be reached: "+t.String(), "for example 10.0.1.20:7443")
		}
		if slices.Contains(r.Targets[:i], t) {
			return invalid(field, "DUPLICATE", t.String()+" is given twice", "")
		}
	}
	return checkPorts("ports", r.Ports)
}

// mostListed is how many values one field may list. No cloud takes as many of anything that a field here lists.
const mostListed = 100

func checkLength[T any](field string, list []T) error {
	if len(list) > mostListed {
		return invalid(field, "TOO_MANY", fmt.Sprintf("%s lists %d values", field, len(list)), fmt.Sprintf("give at most %d", mostListed))
	}
	return nil
}

func checkProvider(field string, p link.Provider) error {
	if p != link.AWS {
		return invalid(field, "PROVIDER_NOT_SUPPORTED", "provider "+link.Quote(string(p))+" is not supported yet", "give AWS")
	}
	return nil
}

// mostLabel is the longest DNS label that is taken, in bytes. DNS allows 63; the rest is kept for what is put in front.
const mostLabel = 40

// checkLabel refuses what cannot be one label of a host name (RFC 1123, section 2.1), in lower case.
func checkLabel(field, s string) error {
	ok := s != "" && s[0] != '-' && s[len(s)-1] != '-'
	for i := 0; ok && i < len(s); i++ {
		ch := s[i]
		ok = ch >= 'a' && ch <= 'z' || ch >= '0' && ch <= '9' || ch == '-'
	}
	switch {
	case !ok:
		return invalid(field, "MALFORMED_NAME", field+" is not a DNS label: "+link.Quote(s),
			"use lower-case letters, digits and hyphens, with a letter or digit at both ends")
	case len(s) > mostLabel:
		return invalid(field, "NAME_TOO_LONG", field+" is too long: "+link.Quote(s), fmt.Sprintf("give at most %d characters", mostLabel))
	}
	return nil
}
