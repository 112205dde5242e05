package control

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of subscriptions.
const (
	mostWebhooks  = 50             // of one organisation: each costs every event a look
	mostAddresses = 20             // of one subscription
	mostURL       = 2000           // bytes
	keyOverlap    = 24 * time.Hour // how long a key that was replaced stays good
)

// WebhookRequest describes a subscription to make.
type WebhookRequest struct {
	OrganisationID link.ID // empty: the whole installation
	Kind           link.WebhookKind
	URL            string   // of WebhookHTTP
	Addresses      []string // of WebhookMail
	Types          []link.Happening
	ProjectID      link.ID
	ClusterID      link.ID
	Description    string
}

// WebhookUpdate holds what to change about a subscription; nil leaves it as it is.
type WebhookUpdate struct {
	URL         *string
	Addresses   *[]string
	Types       *[]link.Happening
	ProjectID   *link.ID
	ClusterID   *link.ID
	Description *string
	Enabled     *bool
}

// NewWebhook is a subscription with the secret that its messages are signed with, which is shown when it is made and never
// again; empty for mail.
type NewWebhook struct {
	link.Webhook
	Secret string
}

// Webhooks lists a part of the subscriptions of an organisation, or of the installation's own when it is empty, and the
// token of the next part.
func (p *Plane) Webhooks(ctx context.Context, c policy.Caller, organisation link.ID, page Page) (out []link.Webhook, next string, err error) {
	of := "webhooks " + string(organisation)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, part(link.ObjectWebhook, organisation), func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.Webhooks(organisation, cut)
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// Webhook returns one subscription.
func (p *Plane) Webhook(ctx context.Context, c policy.Caller, id link.ID) (out link.Webhook, err error) {
	err = p.readWebhook(ctx, c, id, func(_ *store.Tx, w link.Webhook) error {
		out = w
		return nil
	})
	return out, err
}

// webhookRef finds out what is to be authorised for a subscription: one that is not there stands nowhere.
func (p *Plane) webhookRef(ctx context.Context, id link.ID) (ref link.ObjectRef, err error) {
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		w, err := tx.Webhook(id)
		ref = part(link.ObjectWebhook, w.OrganisationID, string(id))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return ref, err
}

// readWebhook is read for one subscription.
func (p *Plane) readWebhook(ctx context.Context, c policy.Caller, id link.ID, f func(*store.Tx, link.Webhook) error) error {
	ref, err := p.webhookRef(ctx, id)
	if err != nil {
		return err
	}
	return p.read(ctx, c, ref, func(tx *store.Tx) error {
		w, err := webhook(tx, id)
		if err != nil {
			return err
		}
		return f(tx, w)
	})
}

// changeWebhook is change for one subscription.
func (p *Plane) changeWebhook(ctx context.Context, c policy.Caller, id link.ID, f func(*change, link.ObjectRef, link.Webhook) error) error {
	ref, err := p.webhookRef(ctx, id)
	if err != nil {
		return err
	}
	return p.change(ctx, c, ref, func(ch *change) error {
		w, err := webhook(ch.Tx, id)
		if err != nil {
			return err
		}
		return f(ch, ref, w)
	})
}

func webhook(tx *store.Tx, id link.ID) (link.Webhook, error) {
	w, err := tx.Webhook(id)
	if errors.Is(err, store.ErrNotFound) {
		err = noWebhook(id)
	}
	return w, err
}

func noWebhook(id link.ID) error {
	return missing(store.ErrNotFound, "WEBHOOK_NOT_FOUND", "webhook "+link.Quote(string(id)), "list the webhooks to see their ids")
}

// CreateWebhook makes a subscription. Every call makes another one.
func (p *Plane) CreateWebhook(ctx context.Context, c policy.Caller, req WebhookRequest) (out NewWebhook, err error) {
	w := link.Webhook{
		ID: link.NewID(), OrganisationID: req.OrganisationID, Kind: req.Kind, URL: req.URL, Addresses: req.Addresses, Types: req.Types,
		ProjectID: req.ProjectID, ClusterID: req.ClusterID, Description: req.Description, Enabled: true,
	}
	var key []byte
	if w.Kind == link.WebhookHTTP {
		key = newSigningKey()
	}
	ref := part(link.ObjectWebhook, w.OrganisationID, string(w.ID))
	err = p.change(ctx, c, part(link.ObjectWebhook, w.OrganisationID), func(ch *change) error {
		if _, err := ch.PlaceOf(link.ObjectRef{Kind: link.ObjectOrganisation, ID: string(w.OrganisationID)}); err != nil {
			return missing(err, "ORGANISATION_NOT_FOUND", "organisation "+link.Quote(string(w.OrganisationID)), "list the organisations to see their ids")
		}
		if err := p.checkWebhook(ch.Tx, w); err != nil {
			return err
		}
		if err := ch.checkRecipients(w, nil); err != nil {
			return err
		}
		n, err := ch.CountWebhooks(w.OrganisationID)
		if err != nil {
			return err
		}
		if n >= mostWebhooks {
			return &link.Error{
				Kind: link.Precondition, Reason: "TOO_MANY_WEBHOOKS", Message: fmt.Sprintf("there are %d webhooks already", n),
				Hint: "delete those that nobody needs",
			}
		}
		if out.Webhook, err = ch.AddWebhook(w, key); err != nil {
			return err
		}
		return ch.changed(ref, eventCreated, "", nil, audit.WebhookOf(out.Webhook), "a subscription was made: %s", toldHow(w))
	})
	if err != nil {
		return NewWebhook{}, err
	}
	out.Secret = showSigningKey(key)
	return out, nil
}

// UpdateWebhook changes a subscription. Switching one on again that its receiver ended tells it of what happens from now on.
func (p *Plane) UpdateWebhook(ctx context.Context, c policy.Caller, id link.ID, u WebhookUpdate) (out link.Webhook, err error) {
	err = p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, before link.Webhook) error {
		w := before
		set(&w.URL, u.URL)
		set(&w.Addresses, u.Addresses)
		set(&w.Types, u.Types)
		set(&w.ProjectID, u.ProjectID)
		set(&w.ClusterID, u.ClusterID)
		set(&w.Description, u.Description)
		if u.Enabled != nil && *u.Enabled != w.Enabled {
			w.Enabled, w.DisabledReason = *u.Enabled, ""
			if !w.Enabled {
				w.DisabledReason = link.DisabledByRequest
			}
		}
		if err := p.checkWebhook(ch.Tx, w); err != nil {
			return err
		}
		if err := ch.checkRecipients(w, before.Addresses); err != nil {
			return err
		}
		if out, err = ch.SwapWebhook(w); err != nil {
			return meanwhile(err)
		}
		return ch.changed(ref, eventChanged, "", audit.WebhookOf(before), audit.WebhookOf(out), "the subscription was changed: %s", toldHow(out))
	})
	return out, err
}

func set[T any](v, to *T) {
	if to != nil {
		*v = *to
	}
}

// meanwhile is the answer to a change that lost against another one.
func meanwhile(err error) error {
	if errors.Is(err, store.ErrChanged) {
		return &link.Error{Kind: link.Conflict, Reason: "CHANGED_MEANWHILE", Message: "somebody else changed it meanwhile", Hint: "read it again, then try again"}
	}
	return err
}

// DeleteWebhook removes a subscription with its deliveries, also those on their way.
func (p *Plane) DeleteWebhook(ctx context.Context, c policy.Caller, id link.ID) error {
	return p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, w link.Webhook) error {
		return errors.Join(ch.RemoveWebhook(id), ch.changed(ref, eventDeleted, "", audit.WebhookOf(w), nil, "the subscription was deleted"))
	})
}

// RotateWebhookSecret gives a subscription a new secret. For a day its messages carry a signature by the old one too.
func (p *Plane) RotateWebhookSecret(ctx context.Context, c policy.Caller, id link.ID) (out NewWebhook, err error) {
	key := newSigningKey()
	err = p.changeWebhook(ctx, c, id, func(ch *change, ref link.ObjectRef, w link.Webhook) error {
		if w.Kind != link.WebhookHTTP {
			return invalid("webhook_id", "NOT_SIGNED", "mails are not signed", "there is no secret to change")
		}
		if out.Webhook, err = ch.RotateSigningKey(id, key, ch.Now().Add(keyOverlap)); err != nil {
			return err
		}
		return ch.changed(ref, eventChanged, "SECRET_ROTATED", nil, nil, "the secret was changed; the one before is good for %.0f hours more", keyOverlap.Hours())
	})
	if err != nil {
		return NewWebhook{}, err
	}
	out.Secret = showSigningKey(key)
	return out, nil
}

// signingPrefix is how a secret is told from others by those who find it: Standard Webhooks, "Signature scheme".
const signingPrefix = "whsec_"

func newSigningKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand aborts the program instead
	return key
}

func showSigningKey(key []byte) string {
	if key == nil {
		return ""
	}
	return signingPrefix + base64.StdEncoding.EncodeToString(key)
}

// toldHow says for people what a subscription does. A URL's query is left out: it may hold what is nobody else's to know.
func toldHow(w link.Webhook) string {
	if w.Kind == link.WebhookMail {
		return "mail to " + strings.Join(w.Addresses, ", ")
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return "a webhook"
	}
	return "a webhook at " + u.Scheme + "://" + u.Host
}

// checkWebhook refuses a subscription that could not work, or that reaches beyond its organisation.
func (p *Plane) checkWebhook(tx *store.Tx, w link.Webhook) error {
	if err := checkTitle("description", w.Description); err != nil {
		return err
	}
	for i, t := range w.Types {
		if !slices.Contains(link.Happenings(), t) {
			return invalid(fmt.Sprintf("types[%d]", i), "UNKNOWN_TYPE", "nothing is told as "+link.Quote(string(t)), "docs/events.md lists the types; none at all is every type")
		}
	}
	for _, about := range []struct {
		ref                 link.ObjectRef
		field, reason, noun string
	}{
		{link.ObjectRef{Kind: link.ObjectProject, ID: string(w.ProjectID)}, "project_id", "PROJECT_NOT_FOUND", "project"},
		{link.ObjectRef{Kind: link.ObjectCluster, ID: string(w.ClusterID)}, "cluster_id", "CLUSTER_NOT_FOUND", "cluster"},
	} {
		if about.ref.ID == "" {
			continue
		}
		at, err := tx.PlaceOf(about.ref)
		if err == nil && w.OrganisationID != "" && at.OrganisationID != w.OrganisationID {
			err = store.ErrNotFound // not there for this organisation
		}
		if errors.Is(err, store.ErrNotFound) {
			return invalid(about.field, about.reason, "there is no "+about.noun+" "+link.Quote(about.ref.ID)+" here", "list the "+about.noun+"s to see their ids")
		}
		if err != nil {
			return err
		}
	}
	switch w.Kind {
	case link.WebhookHTTP:
		if len(w.Addresses) > 0 {
			return invalid("addresses", "NOT_FOR_WEBHOOKS", "a webhook has no mail addresses", "give url alone, or make the kind MAIL")
		}
		return checkReceiver(w.URL, p.webhooks)
	case link.WebhookMail:
		if w.URL != "" {
			return invalid("url", "NOT_FOR_MAIL", "mail has no URL", "give addresses alone, or make the kind WEBHOOK")
		}
		if !p.mail {
			return &link.Error{
				Kind: link.Precondition, Reason: "MAIL_NOT_SET_UP", Field: "kind", Message: "this installation sends no mail",
				Hint: "its operator sets a mail server; webhooks work without",
			}
		}
		return checkAddresses(w.Addresses)
	}
	return invalid("kind", "UNKNOWN_KIND", "not a kind of subscription: "+link.Quote(string(w.Kind)), "give WEBHOOK or MAIL")
}

// checkReceiver refuses a URL that nothing would be sent to. Whether a name leads to a public address shows when something
// is sent; an address is refused at once. open are the ranges that are allowed although they are not public.
func checkReceiver(s string, open []netip.Prefix) error {
	bad := func(why, hint string) error { return invalid("url", "MALFORMED_URL", why+": "+link.Quote(s), hint) }
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return bad("not a URL to send to", "give one like https://hooks.example.com/postern")
	case len(s) > mostURL:
		return bad("the URL is too long", fmt.Sprintf("give at most %d bytes", mostURL))
	case u.User != nil:
		return invalid("url", "MALFORMED_URL", "a URL with a user name or password", "messages are signed: check the signature instead")
	case u.Fragment != "":
		return bad("a URL with a fragment, which is never sent", "leave out what follows #")
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	isOpen := err == nil && slices.ContainsFunc(open, func(p netip.Prefix) bool { return p.Contains(addr) })
	switch {
	case u.Scheme == "http" && err == nil && addr.IsLoopback() && isOpen:
		return nil
	case u.Scheme != "https":
		return bad("not an https URL", "give one that begins with https://")
	case err == nil && !isOpen && !link.PublicAddress(addr):
		return invalid("url", "ADDRESS_NOT_PUBLIC", "webhooks are sent to public addresses alone: "+link.Quote(u.Host), "the installation's operator can allow others")
	}
	return nil
}

// checkAddresses refuses mail addresses that are not plain ones: what is written into a mail's head must be nothing else.
func checkAddresses(all []string) error {
	if len(all) == 0 || len(all) > mostAddresses {
		return invalid("addresses", "ADDRESSES_REQUIRED", fmt.Sprintf("%d mail addresses", len(all)), fmt.Sprintf("give 1 to %d", mostAddresses))
	}
	for i, s := range all {
		a, err := mail.ParseAddress(s)
		plain := !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
		if err != nil || a.Address != s || !plain || len(s) > 254 || slices.Contains(all[:i], s) { // 254: RFC 5321, erratum 1690
			return invalid(fmt.Sprintf("addresses[%d]", i), "MALFORMED_MAIL_ADDRESS", "not a plain mail address, or there twice: "+link.Quote(s), "give ops@example.com, without a name")
		}
	}
	return nil
}

// checkRecipients refuses addresses of an organisation's subscription that may be anybody's: who subscribes is not to have us
// write to strangers. Those are taken whom a member of the organisation has, who has signed in here by it, those that were
// taken before, and what the vendor's operators say.
func (ch *change) checkRecipients(w link.Webhook, before []string) error {
	if w.Kind != link.WebhookMail || w.OrganisationID == "" || operates(ch.caller) {
		return nil
	}
	for i, address := range w.Addresses {
		if slices.Contains(before, address) {
			continue
		}
		known, err := ch.ReachesMember(w.OrganisationID, strings.ToLower(address))
		if err != nil {
			return err
		}
		if !known {
			return invalid(fmt.Sprintf("addresses[%d]", i), "ADDRESS_NOT_A_MEMBER", "nobody with this address has signed in here as a member of the organisation: "+link.Quote(address),
				"add the person as a member, who signs in once; or ask the vendor, whose operators may subscribe any address; or use a webhook")
		}
	}
	return nil
}
