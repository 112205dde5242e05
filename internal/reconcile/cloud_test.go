package reconcile_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// memoryCloud keeps cloud.Driver's contract over one region in memory. It outlives reconcilers, as a cloud does.
type memoryCloud struct {
	mu        sync.Mutex
	services  map[string]*cloud.Service // by key
	endpoints map[link.EndpointID]*link.Endpoint
	made      map[string]int // how often something was made: by key or endpoint id
	calls     map[string]int // by method
	shown     int            // endpoints in all lists together

	// hook is called at the beginning ("accept") and at the end ("accept done") of every method, without the lock. An
	// error is what the method returns; at its end the effect has happened all the same.
	hook func(ctx context.Context, point string) error

	sticky   bool // a service is not deleted while it has endpoints, whatever their state
	stepwise bool // an accepted endpoint is pending for one list before it is available
}

func newMemoryCloud() *memoryCloud {
	return &memoryCloud{
		services: map[string]*cloud.Service{}, endpoints: map[link.EndpointID]*link.Endpoint{}, made: map[string]int{}, calls: map[string]int{},
	}
}

func (m *memoryCloud) call(ctx context.Context, method string, f func() error) error {
	m.mu.Lock()
	m.calls[method]++
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, method); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	err := f()
	m.mu.Unlock()
	if err == nil && hook != nil {
		err = hook(ctx, method+" done")
	}
	return err
}

func (m *memoryCloud) EnsureService(ctx context.Context, spec cloud.ServiceSpec) (out cloud.Service, err error) {
	err = m.call(ctx, "ensure", func() error {
		s := m.services[spec.Key]
		if s == nil {
			m.made[spec.Key]++
			id := fmt.Sprintf("vpce-svc-%017x", m.made[spec.Key])
			s = &cloud.Service{
				Key: spec.Key, ServiceID: id, Name: "com.amazonaws.vpce.us-east-1." + id, State: link.ServiceAvailable, ZoneIDs: []string{"use1-az4", "use1-az6"},
			}
			m.services[spec.Key] = s
		}
		s.Principals = slices.Clone(spec.Principals)
		s.Targets = nil
		for _, a := range spec.Targets {
			s.Targets = append(s.Targets, cloud.Target{Addr: a, Healthy: true})
		}
		out = *s
		return nil
	})
	return out, err
}

func (m *memoryCloud) Service(ctx context.Context, key string) (out cloud.Service, err error) {
	err = m.call(ctx, "service", func() error {
		s := m.services[key]
		if s == nil {
			return cloud.ErrNotFound
		}
		out = *s
		return nil
	})
	return out, err
}

func (m *memoryCloud) DeleteService(ctx context.Context, key string) error {
	return m.call(ctx, "delete", func() error {
		s := m.services[key]
		for id, e := range m.endpoints {
			if s != nil && e.ServiceID == s.ServiceID && (m.sticky || e.State == link.Available || e.State == link.Pending || e.State == link.PendingAcceptance) {
				return &cloud.Refusal{Reason: cloud.EndpointsAttached, Code: "ExistingVpcEndpointConnections", Message: "in use by " + string(id)}
			}
		}
		delete(m.services, key)
		return nil
	})
}

func (m *memoryCloud) Endpoints(ctx context.Context, serviceID string, q cloud.Query) (out []link.Endpoint, err error) {
	err = m.call(ctx, "list", func() error {
		for _, id := range slices.Sorted(maps.Keys(m.endpoints)) {
			e := m.endpoints[id]
			if e.ServiceID != serviceID || len(q.Owners) > 0 && !slices.Contains(q.Owners, e.OwnerID) ||
				q.Arriving && e.State != link.PendingAcceptance && e.State != link.Pending {
				continue
			}
			out = append(out, *e)
			m.shown++
			if e.State == link.Pending {
				e.State = link.Available
			}
		}
		return nil
	})
	return out, err
}

func (m *memoryCloud) Accept(ctx context.Context, serviceID string, ids ...link.EndpointID) (out []error) {
	for _, id := range ids {
		out = append(out, m.accept(ctx, serviceID, id))
	}
	return out
}

func (m *memoryCloud) Reject(ctx context.Context, serviceID string, ids ...link.EndpointID) (out []error) {
	for _, id := range ids {
		out = append(out, m.reject(ctx, serviceID, id))
	}
	return out
}

func (m *memoryCloud) accept(ctx context.Context, serviceID string, id link.EndpointID) error {
	return m.call(ctx, "accept", func() error {
		e := m.endpoints[id]
		if e == nil || e.ServiceID != serviceID {
			return cloud.ErrNotFound
		}
		switch e.State {
		case link.PendingAcceptance, link.Rejected:
			e.State = link.Available
			if m.stepwise {
				e.State = link.Pending
			}
		case link.Pending, link.Available:
		default:
			return &cloud.Refusal{Reason: "STATE", Code: "InvalidState", Message: "the endpoint is " + string(e.State)}
		}
		return nil
	})
}

func (m *memoryCloud) reject(ctx context.Context, serviceID string, id link.EndpointID) error {
	return m.call(ctx, "reject", func() error {
		e := m.endpoints[id]
		if e == nil || e.ServiceID != serviceID {
			return cloud.ErrNotFound
		}
		e.State = link.Rejected
		return nil
	})
}

// create makes an endpoint of an account at the one service there is, as a customer does.
func (m *memoryCloud) create(id link.EndpointID, owner string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.services {
		m.endpoints[id] = &link.Endpoint{ServiceID: s.ServiceID, ID: id, OwnerID: owner, State: link.PendingAcceptance}
	}
}

// set changes an endpoint past Postern; an empty state removes it.
func (m *memoryCloud) set(id link.EndpointID, state link.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state == "" {
		delete(m.endpoints, id)
		return
	}
	m.endpoints[id].State = state
}

func (m *memoryCloud) state(id link.EndpointID) link.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.endpoints[id]; e != nil {
		return e.State
	}
	return ""
}

func (m *memoryCloud) onCall(hook func(ctx context.Context, point string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

func (m *memoryCloud) called(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}
