// Package control is what people and gateways ask of the control plane. Each change authorises its caller, stores the
// intent, its line of history, the new revision of the rules and the work that follows from it in one transaction, and
// answers; nothing here talks to a cloud. Every call is idempotent and any order of calls converges.
package control

import (
	"crypto/ed25519"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// Options are a Plane's settings.
type Options struct {
	Domain string           // base domain of all clusters' names, for example postern.example; required
	Now    func() time.Time // time.Now when nil
	Log    *slog.Logger     // slog.Default when nil
	OpenID OpenID           // where people sign in; nil for no such place

	Mail     bool           // mails can be sent, so that subscriptions may ask for them
	Webhooks []netip.Prefix // that are not public, and to which webhooks may be sent all the same

	// AuditKey signs the checkpoints and exports of the audit log. Without it there are none.
	AuditKey ed25519.PrivateKey
}

// Plane is the control plane over one store. It is safe for concurrent use and owns nothing that needs closing.
type Plane struct {
	st     *store.Store
	domain string
	now    func() time.Time
	log    *slog.Logger

	openID    OpenID
	passwords *identity.Passwords
	accounts  *identity.Throttle // of sign-ins, by account
	sources   *identity.Throttle // and by where they come from
	seal      seal
	cursors   cursorKey
	uses      uses
	mail      bool
	webhooks  []netip.Prefix

	key       ed25519.PrivateKey
	signed    signed
	refusals  refusals // of callers
	strangers refusals // of who has not shown who it is; apart, so that it cannot use up what callers have
}

// New returns a control plane that keeps everything in st, which stays the caller's to close.
func New(st *store.Store, o Options) *Plane {
	p := &Plane{
		st: st, domain: o.Domain, now: o.Now, log: o.Log, openID: o.OpenID, mail: o.Mail, webhooks: o.Webhooks, key: o.AuditKey,
		passwords: identity.NewPasswords(), accounts: identity.NewAccountThrottle(), sources: identity.NewSourceThrottle(),
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	return p
}

// Page asks for a part of a list. The zero value is its beginning.
type Page struct {
	Token      string // from the previous part's answer; anything else is refused as Invalid
	Limit      int    // 0 means 100; more than 500 means 500
	Descending bool
}

// RegionView is a region with its service, nil while none was asked for.
type RegionView struct {
	Region  link.Region
	Service *link.Service
}

// ClusterRequest describes a cluster to create.
type ClusterRequest struct {
	ProjectID    link.ID
	Name         string // a DNS label of at most 40 characters, unique in the installation
	Provider     link.Provider
	Regions      []string
	Backends     []string          // host:port
	PublicAccess link.PublicAccess // ENABLED when empty
}

// ClusterUpdate holds what to change about a cluster; nil leaves it as it is.
type ClusterUpdate struct {
	Backends    *[]string
	CustomNames *[]string
}

// AllowListPage is a part of a cluster's allow list. Propagating is true while some live gateway still decides by an
// older revision of the rules.
type AllowListPage struct {
	Entries     []link.AllowEntry
	Next        string
	Propagating bool
}
