package control_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
)

// The token of a list's next part is of that list alone: at another cluster's, or another organisation's, it is refused.
func TestPagesAreOfOneList(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	for i := range 2 {
		for _, c := range []customer{acme, globex} {
			ok[link.AllowEntry](t)(d.PutAllowEntry(d.ctx, operator, c.cluster.ID, link.AllowEntry{Prefix: netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", i)), Name: "n", SQL: true}))
			ok[control.NewWebhook](t)(d.CreateWebhook(d.ctx, operator, control.WebhookRequest{OrganisationID: c.organisation.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example.com/"}))
		}
	}
	for what, list := range map[string]func(customer, control.Page) (string, error){
		"allow list": func(c customer, p control.Page) (string, error) {
			l, err := d.AllowList(d.ctx, operator, c.cluster.ID, p)
			return l.Next, err
		},
		"webhooks": func(c customer, p control.Page) (string, error) {
			_, next, err := d.Webhooks(d.ctx, operator, c.organisation.ID, p)
			return next, err
		},
	} {
		next, err := list(acme, control.Page{Limit: 1})
		if err != nil || next == "" {
			t.Fatalf("%s: the first part: %q, %v", what, next, err)
		}
		if _, err := list(acme, control.Page{Limit: 1, Token: next}); err != nil {
			t.Errorf("%s: the next part: %v", what, err)
		}
		_, err = list(globex, control.Page{Limit: 1, Token: next})
		d.refuses(err, link.Invalid, "MALFORMED_PAGE", "pagination.page")
	}
}
