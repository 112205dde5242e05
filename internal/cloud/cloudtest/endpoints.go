package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

func (h Harness) endpoints(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{})
		if err != nil || len(eps) != 0 {
			t.Errorf("got %v and error %v, want none of either", eps, err)
		}
	})

	t.Run("life", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		b.becomes(t, svc, id, link.PendingAcceptance)

		eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{})
		if err != nil || len(eps) != 1 {
			t.Fatalf("got %v and error %v, want one endpoint", eps, err)
		}
		if e := eps[0]; e.OwnerID != b.Customer || e.ServiceID != svc.ServiceID || e.ID != id || e.Provider == "" ||
			e.Region == "" || e.SeenAt.IsZero() {
			t.Errorf("incomplete: %+v", e)
		}

		do(t, "accept", one(b.Accept(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Pending, link.Available)
		do(t, "accept what is being accepted", one(b.Accept(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Available)
		do(t, "accept what is accepted", one(b.Accept(t.Context(), svc.ServiceID, id)))
		do(t, "reject what is accepted", one(b.Reject(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Rejected)
		do(t, "reject what is rejected", one(b.Reject(t.Context(), svc.ServiceID, id)))
		do(t, "accept what was rejected", one(b.Accept(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Available)

		b.Disconnect(t, id)
		b.becomes(t, svc, id, link.Deleting, link.Deleted, "")
	})

	t.Run("rejected at once", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		do(t, "reject", one(b.Reject(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Rejected)
	})

	t.Run("all pages", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		want := make(map[link.EndpointID]bool)
		for range 2*h.PageSize + 1 {
			want[b.Connect(t, svc.Name)] = true
		}
		eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range eps {
			if !want[e.ID] {
				t.Errorf("%s was listed twice or is nobody's", e.ID)
			}
			delete(want, e.ID)
		}
		if len(want) > 0 {
			t.Errorf("%d of %d endpoints were not listed", len(want), 2*h.PageSize+1)
		}
	})

	t.Run("of some owners", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		for _, c := range []struct {
			owners []string
			want   int
		}{{[]string{b.Customer}, 1}, {[]string{"000000000000", b.Customer}, 1}, {[]string{"000000000000"}, 0}} {
			eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{Owners: c.owners})
			if err != nil || len(eps) != c.want || c.want == 1 && eps[0].ID != id {
				t.Errorf("of %v: %v, error %v; want %d", c.owners, eps, err, c.want)
			}
		}
		const others = 450
		var many []string
		for i := range others {
			many = append(many, fmt.Sprintf("%012d", i))
		}
		many = append(many, b.Customer)
		eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{Owners: many})
		if err != nil || len(eps) != 1 {
			t.Errorf("of one owner among %d: %v, error %v", len(many), eps, err)
		}
	})

	t.Run("arriving", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		in, waiting, out := b.Connect(t, svc.Name), b.Connect(t, svc.Name), b.Connect(t, svc.Name)
		do(t, "accept", one(b.Accept(t.Context(), svc.ServiceID, in)))
		do(t, "reject", one(b.Reject(t.Context(), svc.ServiceID, out)))
		b.becomes(t, svc, in, link.Available)
		b.becomes(t, svc, out, link.Rejected)
		eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{Arriving: true})
		if err != nil || len(eps) != 1 || eps[0].ID != waiting {
			t.Errorf("%v, error %v; want only %s, which waits", eps, err, waiting)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		const unknown = link.EndpointID("vpce-00000000000000000")
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		var ids []link.EndpointID
		for range h.PageSize + 1 {
			ids = append(ids, b.Connect(t, svc.Name))
		}
		ids = append(ids, unknown)
		b.wire.Heal()
		for what, errs := range map[string][]error{"accept": b.Accept(t.Context(), svc.ServiceID, ids...)} {
			if len(errs) != len(ids) {
				t.Fatalf("%s: %d errors for %d endpoints", what, len(errs), len(ids))
			}
			for i, id := range ids {
				if id == unknown != errors.Is(errs[i], cloud.ErrNotFound) || id != unknown && errs[i] != nil {
					t.Errorf("%s %s: %v", what, id, errs[i])
				}
			}
		}
		if n := b.wire.Changes(); n != 1 {
			t.Errorf("%d requests to let in %d endpoints", n, len(ids))
		}
		for _, id := range ids[:len(ids)-1] {
			b.becomes(t, svc, id, link.Available)
		}
		for i, err := range b.Reject(t.Context(), svc.ServiceID, ids[:2]...) {
			do(t, "reject", err)
			b.becomes(t, svc, ids[i], link.Rejected)
		}
		if errs := b.Accept(t.Context(), svc.ServiceID); len(errs) != 0 {
			t.Errorf("to let in nobody: %v", errs)
		}
	})

	t.Run("unknown", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		const unknown = link.EndpointID("vpce-00000000000000000")
		for name, err := range map[string]error{
			"accept": one(b.Accept(t.Context(), svc.ServiceID, unknown)),
			"reject": one(b.Reject(t.Context(), svc.ServiceID, unknown)),
		} {
			if !errors.Is(err, cloud.ErrNotFound) {
				t.Errorf("%s of an unknown endpoint: got %v, want ErrNotFound", name, err)
			}
		}
		if got := b.state(t, svc, id); got != link.PendingAcceptance {
			t.Errorf("the endpoint beside it became %s", got)
		}
	})

	t.Run("unsuccessful", func(t *testing.T) {
		if h.Unsuccessful == nil {
			t.Skip("this provider's answers hide no failures")
		}
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		b.wire.AnswerAll(h.Unsuccessful)
		for name, err := range map[string]error{
			"accept": one(b.Accept(t.Context(), svc.ServiceID, id)),
			"reject": one(b.Reject(t.Context(), svc.ServiceID, id)),
		} {
			refused, ok := errors.AsType[*cloud.Refusal](err)
			if !ok || refused.Reason == "" || refused.Code == "" {
				t.Errorf("%s: got %v, want a *cloud.Refusal with reason and code", name, err)
			}
		}

		// A refusal is none when what was asked for holds already.
		b.wire.Heal()
		do(t, "accept", one(b.Accept(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Available)
		b.wire.AnswerAll(h.Unsuccessful)
		do(t, "accept what is accepted, refused by the cloud", one(b.Accept(t.Context(), svc.ServiceID, id)))
		if _, ok := errors.AsType[*cloud.Refusal](one(b.Reject(t.Context(), svc.ServiceID, id))); !ok {
			t.Error("a rejection that the cloud refused went unnoticed")
		}
		b.wire.Heal()
		do(t, "reject", one(b.Reject(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Rejected)
		b.wire.AnswerAll(h.Unsuccessful)
		do(t, "reject what is rejected, refused by the cloud", one(b.Reject(t.Context(), svc.ServiceID, id)))
	})

	t.Run("a service in use is not deleted", func(t *testing.T) {
		b := h.open(t)
		svc := b.ensure(t, b.Spec)
		id := b.Connect(t, svc.Name)
		do(t, "accept", one(b.Accept(t.Context(), svc.ServiceID, id)))
		b.becomes(t, svc, id, link.Available)
		refused, ok := errors.AsType[*cloud.Refusal](b.DeleteService(t.Context(), b.Spec.Key))
		if !ok || refused.Reason != "ENDPOINTS_ATTACHED" {
			t.Errorf("got %v, want a refusal with reason ENDPOINTS_ATTACHED", refused)
		}
		if got, err := b.Service(t.Context(), b.Spec.Key); err != nil || got.State != link.ServiceAvailable {
			t.Errorf("after the refusal: %v, error %v", got.State, err)
		}
		b.Disconnect(t, id)
		b.until(t, "the endpoint is gone and the service is deleted", func(ctx context.Context) (bool, error) {
			err := b.DeleteService(ctx, b.Spec.Key)
			if refused, ok := errors.AsType[*cloud.Refusal](err); ok && refused.Reason == "ENDPOINTS_ATTACHED" {
				return false, nil
			}
			return err == nil, err
		})
	})
}

// one is the error of the only endpoint of a decision.
func one(errs []error) error {
	if len(errs) != 1 {
		return fmt.Errorf("%d errors about one endpoint", len(errs))
	}
	return errs[0]
}

func do(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
