package main

import (
	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/openid"
)

// openIDProvider is where people sign in, as the settings say; nil when they name no provider. It is asked for nothing before
// somebody signs in.
func openIDProvider(cfg config.Config) (control.OpenID, error) {
	o := cfg.OpenID
	if o.Issuer == "" {
		return nil, nil //nolint:nilnil // no provider is a way to run
	}
	rules := make([]identity.GrantRule, len(o.Grants))
	for i, g := range o.Grants {
		rules[i] = identity.GrantRule(g)
	}
	return openid.New(openid.Config{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), RedirectURL: cfg.API.PublicURL + "/api/v1/login/openid/callback",
		Scopes: o.Scopes, Domains: o.Domains, GrantClaim: o.GrantClaim, GrantRules: rules,
	})
}
