package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) traffic() {
	const tag, path = "Traffic settings", clusterBase + "/traffic"

	register(s, route{method: http.MethodGet, path: path, id: "GetClusterTraffic", tag: tag, single: true, summary: "Get a cluster's traffic settings"},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ClusterTraffic, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ClusterTraffic{}, err
			}
			t, err := s.plane.ClusterTraffic(ctx, c, id)
			return wireTraffic(t), err
		})

	type change struct {
		ClusterPath
		Body api.ClusterTrafficUpdate
	}
	write := func(do func(context.Context, policy.Caller, link.ID, control.TrafficUpdate) (link.ClusterTraffic, error)) func(context.Context, policy.Caller, *change) (api.ClusterTraffic, error) {
		return func(ctx context.Context, c policy.Caller, in *change) (api.ClusterTraffic, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ClusterTraffic{}, err
			}
			u, err := readTraffic(in.Body)
			if err != nil {
				return api.ClusterTraffic{}, err
			}
			t, err := do(ctx, c, id, u)
			return wireTraffic(t), err
		}
	}
	register(s, route{
		method: http.MethodPut, path: path, id: "PutClusterTraffic", tag: tag,
		summary: "Make the traffic settings be as given; what is absent becomes what a new cluster has",
	}, write(s.plane.PutClusterTraffic))
	register(s, route{
		method: http.MethodPatch, path: path, id: "UpdateClusterTraffic", tag: tag,
		summary: "Change traffic settings; what is absent stays as it is",
	}, write(s.plane.UpdateClusterTraffic))
}

func readTraffic(in api.ClusterTrafficUpdate) (control.TrafficUpdate, error) {
	u := control.TrafficUpdate{ProxyProtocol: in.ProxyProtocol}
	for _, b := range in.Backends {
		u.Backends = append(u.Backends, control.BackendUpdate{Address: b.Address, Weight: b.Weight, Draining: b.Draining})
	}
	if h := in.Health; h != nil {
		u.Health = &link.HealthCheck{
			Check: link.Check(h.Check), Path: h.Path, Statuses: append([]int(nil), h.Statuses...),
			Interval: time.Duration(h.IntervalSeconds) * time.Second, Timeout: time.Duration(h.TimeoutSeconds) * time.Second,
			Rise: h.Rise, Fall: h.Fall,
		}
		if h.Check == checkNone {
			u.Health.Check = link.CheckNone
		}
	}
	if in.DeniedPorts != nil {
		ports, err := readPorts("denied_ports", *in.DeniedPorts)
		if err != nil {
			return u, err
		}
		u.DeniedPorts = &ports
	}
	if l := in.Limits; l != nil {
		u.Limits = control.LimitsUpdate{
			Flows: l.Flows, FlowsPerSecond: l.FlowsPerSecond, FlowsPerEndpoint: l.FlowsPerEndpoint, FlowsPerSecondByEndpoint: l.FlowsPerSecondByEndpoint,
		}
	}
	return u, nil
}

// checkNone is link.CheckNone as the API spells it.
const checkNone = "NONE"

// readPorts reads the ports in a field.
func readPorts(field string, in []int) ([]uint16, error) {
	var out []uint16
	for i, p := range in {
		port, err := readPort(fmt.Sprintf("%s[%d]", field, i), p)
		if err != nil {
			return nil, err
		}
		out = append(out, port)
	}
	return out, nil
}

func readPort(field string, p int) (uint16, error) {
	if p < 1 || p > 65535 {
		return 0, &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_PORT", Field: field, Message: fmt.Sprintf("not a port: %d", p), Hint: "give 1 to 65535",
		}
	}
	return uint16(p), nil
}

func wireTraffic(t link.ClusterTraffic) api.ClusterTraffic {
	out := api.ClusterTraffic{
		Backends: each(t.Backends, func(b link.Backend) api.BackendTraffic {
			return api.BackendTraffic{Address: b.Address, Weight: max(b.Weight, 1), Draining: b.Draining}
		}),
		Health: api.HealthCheck{
			Check: string(t.Health.Check), Path: t.Health.Path, Statuses: t.Health.Statuses,
			IntervalSeconds: int(t.Health.Interval / time.Second), TimeoutSeconds: int(t.Health.Timeout / time.Second),
			Rise: t.Health.Rise, Fall: t.Health.Fall,
		},
		ProxyProtocol: t.ProxyProtocol,
		DeniedPorts:   each(t.DeniedPorts, func(p uint16) int { return int(p) }),
		Limits:        api.TrafficLimits(t.Limits),
	}
	if t.Health.Check == link.CheckNone {
		out.Health.Check = checkNone
	}
	return out
}
