package control_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// member is somebody with a role in an organisation.
func member(role link.Role, organisation link.ID) policy.Caller {
	return policy.Caller{ID: link.NewID(), Name: string(role), Role: policy.Member, Grants: []link.Grant{{
		Role: role, Scope: link.Scope{Kind: link.ScopeOrganisation, ID: organisation}, Within: link.Place{OrganisationID: organisation},
	}}}
}

// A subscription is its organisation's: its administrators manage it, others do not learn that it is there, and what they
// are told of is the organisation's.
func TestWebhookIsItsOrganisations(t *testing.T) {
	d := newDesk(t)
	ours, err := d.CreateOrganisation(d.ctx, operator, "ours")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := d.CreateOrganisation(d.ctx, operator, "theirs")
	if err != nil {
		t.Fatal(err)
	}
	vendors := d.cluster("vendors")
	admin, viewer, stranger := member(link.RoleOrganisationAdmin, ours.ID), member(link.RoleViewer, ours.ID), member(link.RoleOrganisationAdmin, theirs.ID)
	req := control.WebhookRequest{OrganisationID: ours.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}
	made, err := d.CreateWebhook(d.ctx, admin, req)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		who  policy.Caller
		kind link.Kind
	}{{"a viewer", viewer, link.Denied}, {"a stranger", stranger, link.NotFound}, {"nobody", policy.Caller{}, link.Unauthenticated}} {
		_, create := d.CreateWebhook(d.ctx, tt.who, req)
		_, get := d.Webhook(d.ctx, tt.who, made.ID)
		_, rotate := d.RotateWebhookSecret(d.ctx, tt.who, made.ID)
		_, test := d.TestWebhook(d.ctx, tt.who, made.ID)
		for what, err := range map[string]error{
			"create": create, "get": get, "rotate": rotate, "test": test, "delete": d.DeleteWebhook(d.ctx, tt.who, made.ID),
		} {
			if link.KindOf(err) != tt.kind {
				t.Errorf("%s by %s: %v, want kind %d", what, tt.name, err, tt.kind)
			}
		}
		// What is there and what is not look the same to who may not see it.
		if tt.kind == link.NotFound {
			none := link.NewID()
			_, never := d.Webhook(d.ctx, tt.who, none)
			a, b := strings.ReplaceAll(get.Error(), string(made.ID), "ID"), strings.ReplaceAll(never.Error(), string(none), "ID")
			if a != b || reasonOf(get) != "WEBHOOK_NOT_FOUND" || reasonOf(never) != "WEBHOOK_NOT_FOUND" {
				t.Errorf("to %s what is there is %s, what is not is %s", tt.name, a, b)
			}
		}
	}
	req.ClusterID = vendors.ID
	_, err = d.CreateWebhook(d.ctx, admin, req)
	d.refuses(err, link.Invalid, "CLUSTER_NOT_FOUND", "cluster_id")
	if _, err := d.CreateWebhook(d.ctx, admin, control.WebhookRequest{Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}); link.KindOf(err) != link.Denied && link.KindOf(err) != link.NotFound {
		t.Errorf("an organisation's administrator subscribes to the whole installation: %v", err)
	}
	if _, err := d.TestWebhook(d.ctx, admin, made.ID); err != nil {
		t.Error(err)
	}
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*link.Error](err); ok {
		return e.Reason
	}
	return ""
}

// Everybody's feed is what they may see, and its cursors go on where they stood.
func TestFeedIsWhatTheCallerMaySee(t *testing.T) {
	d := newDesk(t)
	ours, err := d.CreateOrganisation(d.ctx, operator, "ours")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := d.CreateOrganisation(d.ctx, operator, "theirs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.CreateWebhook(d.ctx, operator, control.WebhookRequest{OrganisationID: ours.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}); err != nil {
		t.Fatal(err)
	}
	d.cluster("vendors")
	for _, tt := range []struct {
		name string
		who  policy.Caller
		want map[string]bool // kinds of objects
	}{
		{"an administrator", member(link.RoleOrganisationAdmin, ours.ID), map[string]bool{link.ObjectOrganisation: true, link.ObjectWebhook: true}},
		{"a viewer, who is not told of webhooks", member(link.RoleViewer, ours.ID), map[string]bool{link.ObjectOrganisation: true}},
		{"a stranger", member(link.RoleOrganisationAdmin, theirs.ID), map[string]bool{link.ObjectOrganisation: true}},
	} {
		page, err := d.Feed(d.ctx, tt.who, control.FeedQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, e := range page.Events {
			got[e.Object.Kind] = true
			if e.Place.OrganisationID != tt.who.Grants[0].Scope.ID {
				t.Errorf("%s sees %+v", tt.name, e)
			}
		}
		for kind := range tt.want {
			if !got[kind] {
				t.Errorf("%s sees no event of a %s", tt.name, kind)
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s sees events of %v, want %v", tt.name, got, tt.want)
		}
		again, err := d.Feed(d.ctx, tt.who, control.FeedQuery{Cursor: page.Next})
		if err != nil || len(again.Events) != 0 || again.More {
			t.Errorf("%s comes again: %+v, %v", tt.name, again, err)
		}
	}
	_, err = d.Feed(d.ctx, policy.Caller{}, control.FeedQuery{})
	if link.KindOf(err) != link.Unauthenticated {
		t.Errorf("nobody reads the feed: %v", err)
	}
}

func TestMailAddressesArePlain(t *testing.T) {
	d := newDesk(t)
	mail := control.New(d.st, control.Options{Domain: "postern.test", Mail: true})
	for address, good := range map[string]bool{
		"net@customer.test": true, "a.b+c@x-y.customer.test": true, "": false, "net": false, "Net <net@customer.test>": false, "<net@customer.test>": false,
		"net@customer.test\r\nBcc: all@x.test": false, "net@customer.test, b@x.test": false, " net@customer.test": false, "nét@customer.test": false,
		`"a b"@customer.test`: false, "net@customer.test (x)": false,
	} {
		_, err := mail.CreateWebhook(d.ctx, operator, control.WebhookRequest{Kind: link.WebhookMail, Addresses: []string{address}})
		if good != (err == nil) {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil {
			d.refuses(err, link.Invalid, "MALFORMED_MAIL_ADDRESS", "addresses[0]")
		}
	}
}
