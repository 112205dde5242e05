package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) regions() {
	const tag, base = "Regions", "/api/v1/regions"

	register(s, route{
		method: http.MethodGet, path: base, id: "ListRegions", tag: tag,
		summary: "List the regions with their private endpoint services",
	},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (api.RegionList, error) {
			list, err := s.plane.Regions(ctx, c)
			return api.RegionList{Regions: each(list, wireRegion)}, err
		})

	type put struct {
		RegionPath
		Body api.PutRegionRequest
	}
	register(s, route{
		method: http.MethodPut, path: base + "/{provider}/{region}", id: "PutRegion", tag: tag,
		summary: "Describe a region: where its load balancer stands and what it forwards to",
	},
		func(ctx context.Context, c policy.Caller, in *put) (api.Region, error) {
			r, err := readRegion(in.Provider, in.Region, in.Body)
			if err != nil {
				return api.Region{}, err
			}
			r, err = s.plane.PutRegion(ctx, c, r)
			return wireRegion(control.RegionView{Region: r}), err
		})

	register(s, route{
		method: http.MethodDelete, path: base + "/{provider}/{region}", id: "DeleteRegion", tag: tag,
		summary: "Give a region up: its service is deleted at the cloud, and then the region is gone; refused while clusters are reached in it",
	},
		func(ctx context.Context, c policy.Caller, in *RegionPath) (api.Region, error) {
			r, err := s.plane.DeleteRegion(ctx, c, link.Provider(in.Provider), in.Region)
			return wireRegion(r), err
		})
}

func readRegion(provider, name string, in api.PutRegionRequest) (link.Region, error) {
	r := link.Region{Provider: link.Provider(provider), Name: name, VPCID: in.VPCID, SubnetIDs: in.SubnetIDs}
	for i, t := range in.GatewayTargets {
		target, err := netip.ParseAddrPort(t)
		if err != nil || target.Port() == 0 {
			return r, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_TARGET", Field: fmt.Sprintf("gateway_targets[%d]", i),
				Message: "not an address and port: " + link.Quote(t), Hint: "for example 10.0.0.12:8443 or [fd00::12]:8443",
			}
		}
		r.Targets = append(r.Targets, target)
	}
	var err error
	r.Ports, err = readPorts("ports", in.Ports)
	return r, err
}
