package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) serviceProfile() {
	const tag, path = "Service profile", "/api/v1/service-profile"

	register(s, route{method: http.MethodGet, path: path, id: "GetServiceProfile", tag: tag, single: true, summary: "Get what the ports of the service carry"},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (api.ServiceProfile, error) {
			rules, err := s.plane.ServiceProfile(ctx, c)
			return wireProfile(rules), err
		})

	type put struct{ Body api.ServiceProfile }
	register(s, route{
		method: http.MethodPut, path: path, id: "PutServiceProfile", tag: tag,
		summary: "Make the rules given all that there are; they hold in every region",
	},
		func(ctx context.Context, c policy.Caller, in *put) (api.ServiceProfile, error) {
			rules, err := readProfile(in.Body)
			if err != nil {
				return api.ServiceProfile{}, err
			}
			rules, err = s.plane.PutServiceProfile(ctx, c, rules)
			return wireProfile(rules), err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/events", id: "ListServiceProfileEvents", tag: "Events",
		summary: "List the object's history, oldest first",
	},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.EventList, error) {
			list, next, err := s.plane.Events(ctx, c, link.ObjectRef{Kind: link.ObjectServiceProfile}, in.page())
			return api.EventList{Events: each(list, wireEvent), Pagination: api.Pagination{NextPage: next}}, err
		})
}

func readProfile(in api.ServiceProfile) ([]link.PortRule, error) {
	var out []link.PortRule
	for i, r := range in.Ports {
		port, err := readPort(fmt.Sprintf("ports[%d].port", i), r.Port)
		if err != nil {
			return nil, err
		}
		rule := link.PortRule{Port: port, Protocol: link.Protocol(r.Protocol), Traffic: link.Traffic(r.Traffic), Denied: r.Denied}
		if r.BackendPort != 0 {
			if rule.BackendPort, err = readPort(fmt.Sprintf("ports[%d].backend_port", i), r.BackendPort); err != nil {
				return nil, err
			}
		}
		out = append(out, rule)
	}
	return out, nil
}

func wireProfile(rules []link.PortRule) api.ServiceProfile {
	return api.ServiceProfile{Ports: each(rules, func(r link.PortRule) api.PortRule {
		return api.PortRule{
			Port: int(r.Port), Protocol: string(r.Protocol), Traffic: string(r.Traffic), Denied: r.Denied, BackendPort: int(r.BackendPort),
		}
	})}
}
