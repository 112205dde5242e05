package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// mailing is the desk's plane where mails can be sent.
func (d *desk) mailing() *control.Plane {
	return control.New(d.st, control.Options{Domain: "postern.test", Mail: true, Now: func() time.Time { return d.now }})
}

// signsIn gives a person a password, as a token to set one does.
func (d *desk) signsIn(p link.Principal) {
	d.t.Helper()
	if err := d.st.Write(d.ctx, func(tx *store.Tx) error { return tx.PutPassword(p.ID, "a hash") }); err != nil {
		d.t.Fatal(err)
	}
}

// A test of a subscription is answered with its own delivery, whatever else happens to the subscription at the same time, and
// also in a transaction with more.
func TestTestIsAnsweredWithItsDelivery(t *testing.T) {
	d := newDesk(t)
	hook := ok[control.NewWebhook](t)(d.CreateWebhook(d.ctx, operator, control.WebhookRequest{Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}))
	seen := map[link.ID]bool{}
	test := func(ctx context.Context) link.Delivery {
		t.Helper()
		got := ok[link.Delivery](t)(d.TestWebhook(ctx, operator, hook.ID))
		if got.WebhookID != hook.ID || got.Type != link.TestHappening || got.Status != link.DeliveryPending || got.Event.ID == 0 || got.Event.Reason != "TEST_REQUESTED" || seen[got.ID] {
			t.Errorf("the delivery of a test is %+v", got)
		}
		seen[got.ID] = true
		return got
	}
	first := test(d.ctx)
	var together link.Delivery
	err := d.Together(d.ctx, func(ctx context.Context) error {
		together = test(ctx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if together.Event.ID <= first.Event.ID {
		t.Errorf("the later test is event %d, the first %d", together.Event.ID, first.Event.ID)
	}
	for _, want := range []link.Delivery{first, together} {
		got, _, err := d.Delivery(d.ctx, operator, hook.ID, want.ID)
		if err != nil || got.Event.ID != want.Event.ID {
			t.Errorf("the delivery %s is kept as %+v, %v", want.ID, got, err)
		}
	}
	page := ok[control.FeedPage](t)(d.Feed(d.ctx, operator, control.FeedQuery{Type: link.EventTest}))
	if len(page.Events) != 2 || page.Events[0].ID != first.Event.ID || page.Events[1].ID != together.Event.ID {
		t.Errorf("the feed tells of %+v", page.Events)
	}
}

// What is sent because somebody asked is bounded by organisation, and comes back with time. A mail costs more than a request,
// and the vendor is not bound.
func TestAskedMessagesAreBounded(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	p := d.mailing()
	request := control.WebhookRequest{OrganisationID: acme.organisation.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}
	hook := ok[control.NewWebhook](t)(p.CreateWebhook(d.ctx, d.as(acme.admin), request))
	request.Kind, request.URL, request.Addresses = link.WebhookMail, "", []string{"a@acme.example", "b@acme.example"}
	mail := ok[control.NewWebhook](t)(p.CreateWebhook(d.ctx, operator, request))
	request.OrganisationID = ""
	vendors := ok[control.NewWebhook](t)(p.CreateWebhook(d.ctx, operator, request))
	request = control.WebhookRequest{OrganisationID: globex.organisation.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}
	other := ok[control.NewWebhook](t)(p.CreateWebhook(d.ctx, operator, request))

	admin := d.as(acme.admin)
	untilFull := func(by policy.Caller, w control.NewWebhook, most int) (n int) {
		t.Helper()
		for ; n < most; n++ {
			_, err := p.TestWebhook(d.ctx, by, w.ID)
			if e, is := errors.AsType[*link.Error](err); is {
				if e.Kind != link.Exhausted || e.Reason != "TOO_MANY_MESSAGES" || e.After <= 0 || e.After > time.Hour {
					t.Fatalf("after %d: %+v", n, e)
				}
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := untilFull(admin, mail, 1000); n != 50 { // of two addresses, at 20 each, out of 2000
		t.Errorf("%d tests by mail, want 50", n)
	}
	if n := untilFull(admin, hook, 1); n != 0 {
		t.Error("the organisation's webhook is tested from another allowance than its mail")
	}
	if untilFull(operator, other, 1) != 1 || untilFull(operator, vendors, 60) != 60 {
		t.Error("another organisation and the vendor pay for what acme asked")
	}
	d.now = d.now.Add(time.Minute) // 33 come back
	if n := untilFull(admin, hook, 100); n != 33 {
		t.Errorf("%d tests after a minute, want 33", n)
	}

	// Of dead deliveries as many go out as there is enough for.
	d.now = d.now.Add(6 * time.Minute) // 200: five mails
	dead := func(w control.NewWebhook) {
		t.Helper()
		err := d.st.Write(d.ctx, func(tx *store.Tx) error {
			all, _, err := tx.Deliveries(w.ID, "", store.Cut{Limit: 8})
			for _, one := range all {
				one.Status = link.DeliveryDead
				if _, err := tx.SwapDelivery(one); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dead(mail)
	if n, err := p.RedeliverDead(d.ctx, admin, mail.ID); err != nil || n != 5 {
		t.Errorf("%d mails went out again, %v; want 5", n, err)
	}
	left, _, err := p.Deliveries(d.ctx, admin, mail.ID, link.DeliveryDead, control.Page{})
	if err != nil || len(left) != 3 {
		t.Errorf("%d are dead still, %v; want 3", len(left), err)
	}
	if _, err := p.Redeliver(d.ctx, admin, mail.ID, left[0].ID); reasonOf(err) != "TOO_MANY_MESSAGES" {
		t.Errorf("one more: %v", err)
	}
	dead(vendors)
	if n, err := p.RedeliverDead(d.ctx, operator, vendors.ID); err != nil || n != 8 {
		t.Errorf("%d of the vendor's went out again, %v; want 8", n, err)
	}
}

// An organisation has us write to its own people alone, once they have signed in: whom somebody typed to be a member may be
// anybody, and is not told whether we know the address.
func TestMailGoesToMembers(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	p := d.mailing()
	net := d.member(d.as(acme.admin), acme.atCluster(), link.RoleViewer, "net@acme.example").Principal
	d.signsIn(net)
	d.signsIn(globex.admin)
	off := d.member(d.as(acme.admin), acme.atCluster(), link.RoleViewer, "off@acme.example").Principal
	d.signsIn(off)
	yes := true
	ok[link.Principal](t)(d.UpdatePrincipal(d.ctx, operator, link.Person, off.ID, control.PrincipalUpdate{Disabled: &yes}))
	request := func(addresses ...string) control.WebhookRequest {
		return control.WebhookRequest{OrganisationID: acme.organisation.ID, Kind: link.WebhookMail, Addresses: addresses}
	}
	said := map[string]bool{}
	for _, tt := range []struct {
		name, address string
		good          bool
	}{
		{"a member who signed in", "net@acme.example", true},
		{"the same in capitals", "Net@Acme.example", true},
		{"a member who never signed in", "admin@acme.example", false},
		{"a member who is disabled", "off@acme.example", false},
		{"another organisation's member", "admin@globex.example", false},
		{"nobody we know", "ceo@elsewhere.example", false},
	} {
		_, err := p.CreateWebhook(d.ctx, d.as(acme.admin), request("net@acme.example", tt.address)) // the first would do alone
		if tt.address == "net@acme.example" {
			_, err = p.CreateWebhook(d.ctx, d.as(acme.admin), request(tt.address))
		}
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		if e, is := errors.AsType[*link.Error](err); is {
			if e.Field != "addresses[1]" || e.Reason != "ADDRESS_NOT_A_MEMBER" {
				t.Errorf("%s: %+v", tt.name, e)
			}
			said[e.Hint] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("the refusals tell who is known: %v", said)
	}
	// An operator vouches for any address, and what was vouched for may stay.
	made := ok[control.NewWebhook](t)(p.CreateWebhook(d.ctx, operator, request("list@acme.example")))
	now, words := []string{"list@acme.example", "net@acme.example"}, "ours"
	got := ok[link.Webhook](t)(p.UpdateWebhook(d.ctx, d.as(acme.admin), made.ID, control.WebhookUpdate{Addresses: &now, Description: &words}))
	if len(got.Addresses) != 2 || got.Description != words {
		t.Errorf("changed: %+v", got)
	}
	now = append(now, "ceo@elsewhere.example")
	_, err := p.UpdateWebhook(d.ctx, d.as(acme.admin), made.ID, control.WebhookUpdate{Addresses: &now})
	d.refuses(err, link.Invalid, "ADDRESS_NOT_A_MEMBER", "addresses[2]")
}
