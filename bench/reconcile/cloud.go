package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/link"
)

// fakeAWS keeps cloud.Driver's contract with what AWS does that matters to scale: pages, request limits per action and
// region, faults, and the time that things take. Each request is counted as the real driver would make it, and each of
// its tries asks the limiter as the real driver does. It has no data plane and speaks no XML: the embedded fabric does
// both, and a hundred thousand endpoints would be beyond it.
type fakeAWS struct {
	limiter cloud.Limiter
	faults  float64 // the part of all requests that fail: half as 5xx before they take effect, half after it as a lost answer
	latency time.Duration
	settle  time.Duration // from let in to available

	mu      sync.Mutex
	regions map[string]*region
	sent    map[string]map[cloud.Outcome]int // by API
}

// region is a region with the one service in it.
type region struct {
	cloud *fakeAWS
	name  string

	mu        sync.Mutex
	service   *cloud.Service
	endpoints map[link.EndpointID]*endpoint
	order     []*endpoint
	byOwner   map[string][]*endpoint
	arriving  map[link.EndpointID]*endpoint
	buckets   map[string]*tokens
}

type endpoint struct {
	link.Endpoint
	available time.Time // while it is pending: when it becomes available
}

// tokens is one of the cloud's own buckets, which Postern knows nothing of.
type tokens struct {
	left float64
	at   time.Time
}

func newFakeAWS(faults float64, latency, settle time.Duration) *fakeAWS {
	return &fakeAWS{faults: faults, latency: latency, settle: settle, regions: map[string]*region{}, sent: map[string]map[cloud.Outcome]int{}}
}

func (f *fakeAWS) region(name string) *region {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.regions[name]
	if r == nil {
		r = &region{
			cloud: f, name: name, endpoints: map[link.EndpointID]*endpoint{}, byOwner: map[string][]*endpoint{},
			arriving: map[link.EndpointID]*endpoint{}, buckets: map[string]*tokens{},
		}
		f.regions[name] = r
	}
	return r
}

// counts are how many requests were sent, by API and outcome.
func (f *fakeAWS) counts() map[string]map[cloud.Outcome]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]map[cloud.Outcome]int{}
	for api, by := range f.sent {
		out[api] = map[cloud.Outcome]int{}
		for o, n := range by {
			out[api][o] = n
		}
	}
	return out
}

var (
	errThrottled = errors.New("RequestLimitExceeded")
	errLost      = errors.New("no answer")
)

// request is one request with its tries, as the SDK makes them.
func (r *region) request(ctx context.Context, service, operation string, effect func()) error {
	const tries = 8
	req := awsprivatelink.RequestOf(r.name, service, operation)
	var err error
	for try := range tries {
		if try > 0 {
			pause(ctx, rand.N(min(5*time.Second, 100*time.Millisecond<<try)))
		}
		if err := r.cloud.limiter.Wait(ctx, req); err != nil {
			return err
		}
		began := time.Now()
		var o cloud.Outcome
		o, err = r.try(ctx, req.Bucket, effect)
		r.cloud.limiter.Sent(req, o, time.Since(began))
		r.cloud.mu.Lock()
		if r.cloud.sent[req.API] == nil {
			r.cloud.sent[req.API] = map[cloud.Outcome]int{}
		}
		r.cloud.sent[req.API][o]++
		r.cloud.mu.Unlock()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

func (r *region) try(ctx context.Context, b cloud.Bucket, effect func()) (cloud.Outcome, error) {
	pause(ctx, r.cloud.latency)
	if ctx.Err() != nil {
		return cloud.Lost, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	t := r.buckets[b.Name]
	if t == nil {
		t = &tokens{left: b.Burst, at: now}
		r.buckets[b.Name] = t
	}
	t.left = min(b.Burst, t.left+b.PerSecond*now.Sub(t.at).Seconds())
	t.at = now
	if t.left < 1 {
		return cloud.Throttled, errThrottled
	}
	t.left--
	fate := rand.Float64()
	if fate < r.cloud.faults/2 {
		return cloud.Lost, errLost
	}
	effect()
	if fate < r.cloud.faults {
		return cloud.Lost, errLost
	}
	return cloud.Done, nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// observe is what the real driver asks to know how a service stands.
func (r *region) observe(ctx context.Context) (out cloud.Service, err error) {
	for _, q := range [][2]string{
		{"Elastic Load Balancing v2", "DescribeLoadBalancers"},
		{"EC2", "DescribeVpcEndpointServiceConfigurations"},
		{"EC2", "DescribeSubnets"},
		{"Elastic Load Balancing v2", "DescribeTargetGroups"},
		{"Elastic Load Balancing v2", "DescribeTargetGroupAttributes"},
		{"Elastic Load Balancing v2", "DescribeTargetHealth"},
		{"EC2", "DescribeVpcEndpointServicePermissions"},
	} {
		err = r.request(ctx, q[0], q[1], func() {
			if r.service != nil {
				out = *r.service
			}
		})
		if err != nil {
			return out, err
		}
	}
	if out.ServiceID == "" {
		return out, cloud.ErrNotFound
	}
	return out, nil
}

// Service implements cloud.Driver.
func (r *region) Service(ctx context.Context, _ string) (cloud.Service, error) { return r.observe(ctx) }

// EnsureService implements cloud.Driver.
func (r *region) EnsureService(ctx context.Context, spec cloud.ServiceSpec) (cloud.Service, error) {
	err := r.request(ctx, "EC2", "CreateVpcEndpointServiceConfiguration", func() {
		s := cloud.Service{Key: spec.Key, ServiceID: "vpce-svc-" + r.name, Name: "com.amazonaws.vpce." + r.name, State: link.ServiceAvailable, Principals: spec.Principals}
		for _, t := range spec.Targets {
			s.Targets = append(s.Targets, cloud.Target{Addr: t, Healthy: true})
		}
		r.service = &s
	})
	if err != nil {
		return cloud.Service{}, err
	}
	return r.observe(ctx)
}

// DeleteService implements cloud.Driver.
func (r *region) DeleteService(ctx context.Context, _ string) error {
	return r.request(ctx, "EC2", "DeleteVpcEndpointServiceConfigurations", func() { r.service = nil })
}

// create makes an endpoint, as a customer does.
func (r *region) create(id link.EndpointID, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &endpoint{Endpoint: link.Endpoint{ID: id, OwnerID: owner, State: link.PendingAcceptance}}
	r.endpoints[id] = e
	r.order = append(r.order, e)
	r.byOwner[owner] = append(r.byOwner[owner], e)
	r.arriving[id] = e
}

// shown is an endpoint as it is now. The region is locked.
func (r *region) shown(e *endpoint) link.Endpoint {
	if e.State == link.Pending && !time.Now().Before(e.available) {
		e.State = link.Available
		delete(r.arriving, e.ID)
	}
	return e.Endpoint
}

// Endpoints implements cloud.Driver: a request per page, and per 200 owners.
func (r *region) Endpoints(ctx context.Context, _ string, q cloud.Query) ([]link.Endpoint, error) {
	const page, owners = 1000, 200
	var out []link.Endpoint
	list := func(owned []string) error {
		for from := 0; ; from += page {
			more := false
			err := r.request(ctx, "EC2", "DescribeVpcEndpointConnections", func() {
				found := r.find(owned, q.Arriving)
				more = len(found) > from+page
				if from < len(found) {
					out = append(out, found[from:min(len(found), from+page)]...)
				}
			})
			if err != nil || !more {
				return err
			}
		}
	}
	if len(q.Owners) == 0 {
		err := list(nil)
		return out, err
	}
	for from := 0; from < len(q.Owners); from += owners {
		if err := list(q.Owners[from:min(len(q.Owners), from+owners)]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// find is the whole answer to a list. The region is locked.
func (r *region) find(owners []string, arriving bool) (out []link.Endpoint) {
	switch {
	case arriving:
		for _, e := range r.arriving {
			if s := r.shown(e); s.State == link.PendingAcceptance || s.State == link.Pending {
				out = append(out, s)
			}
		}
	case owners == nil:
		for _, e := range r.order {
			out = append(out, r.shown(e))
		}
	}
	for _, o := range owners {
		for _, e := range r.byOwner[o] {
			out = append(out, r.shown(e))
		}
	}
	return out
}

// Accept implements cloud.Driver: a request per hundred.
func (r *region) Accept(ctx context.Context, _ string, ids ...link.EndpointID) []error {
	return r.decide(ctx, "AcceptVpcEndpointConnections", ids, func(e *endpoint) {
		if e.State == link.PendingAcceptance || e.State == link.Rejected {
			e.State, e.available = link.Pending, time.Now().Add(r.cloud.settle)
			r.arriving[e.ID] = e
		}
	})
}

// Reject implements cloud.Driver.
func (r *region) Reject(ctx context.Context, _ string, ids ...link.EndpointID) []error {
	return r.decide(ctx, "RejectVpcEndpointConnections", ids, func(e *endpoint) {
		e.State = link.Rejected
		delete(r.arriving, e.ID)
	})
}

func (r *region) decide(ctx context.Context, operation string, ids []link.EndpointID, each func(*endpoint)) []error {
	const most = 100
	out := make([]error, len(ids))
	for from := 0; from < len(ids); from += most {
		to := min(len(ids), from+most)
		err := r.request(ctx, "EC2", operation, func() {
			for i := from; i < to; i++ {
				switch e := r.endpoints[ids[i]]; {
				case e == nil:
					out[i] = fmt.Errorf("%s: %w", ids[i], cloud.ErrNotFound)
				case rand.Float64() < r.cloud.faults: // an item that failed in an answer that says 200
					out[i] = &cloud.Refusal{Reason: "WRONG_STATE", Code: "InvalidState", Message: "not now"}
				default:
					out[i] = nil
					each(e)
				}
			}
		})
		for i := from; err != nil && i < to; i++ {
			out[i] = err
		}
	}
	return out
}
