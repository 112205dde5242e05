package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) apiKeys() {
	const tag, base = "API keys", "/api/v1/principals/{principal_id}/api-keys"

	type list struct {
		PrincipalPath
		PageQuery
	}
	register(s, route{method: http.MethodGet, path: base, id: "ListAPIKeys", tag: tag, summary: "List the keys of a person or a service account, without what they are"},
		func(ctx context.Context, c policy.Caller, in *list) (api.APIKeyList, error) {
			id, err := in.principal()
			if err != nil {
				return api.APIKeyList{}, err
			}
			keys, next, err := s.plane.APIKeys(ctx, c, id, in.page())
			return api.APIKeyList{APIKeys: each(keys, wireAPIKey), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct {
		PrincipalPath
		Body api.CreateAPIKeyRequest
	}
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateAPIKey", tag: tag, secret: true,
		summary: "Make a key by which a program speaks for the principal; the key is shown once",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.NewAPIKey, error) {
			id, err := in.principal()
			if err != nil {
				return api.NewAPIKey{}, err
			}
			n := control.NewAPIKey{
				Name: in.Body.Name, Ceiling: link.Role(in.Body.Ceiling), Life: time.Duration(in.Body.TTLSeconds) * time.Second, Forever: in.Body.NeverExpires,
			}
			if in.Body.Scope != nil {
				n.Scope = link.Scope{Kind: link.ScopeKind(in.Body.Scope.Scope), ID: link.ID(in.Body.Scope.ScopeID)}
			}
			made, key, err := s.plane.CreateAPIKey(ctx, c, id, n)
			return api.NewAPIKey{APIKey: wireAPIKey(made), Key: key}, err
		})

	type one struct {
		PrincipalPath
		KeyID string `path:"key_id" doc:"The key's id"`
	}
	register(s, route{
		method: http.MethodDelete, path: base + "/{key_id}", id: "RevokeAPIKey", tag: tag,
		summary: "End a key at once: the next request by it is refused; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *one) (api.APIKey, error) {
			id, err := in.principal()
			if err != nil {
				return api.APIKey{}, err
			}
			key, err := link.ParseID("key_id", in.KeyID)
			if err != nil {
				return api.APIKey{}, err
			}
			revoked, err := s.plane.RevokeAPIKey(ctx, c, id, key)
			return wireAPIKey(revoked), err
		})
}

func wireAPIKey(k link.APIKey) api.APIKey {
	out := api.APIKey{
		ID: string(k.ID), PrincipalID: string(k.PrincipalID), Name: k.Name, Prefix: identity.KeyPrefix(k.ID), State: "ACTIVE", Ceiling: string(k.Ceiling),
		CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt, RevokedAt: k.RevokedAt,
	}
	if k.Scope.Kind != "" {
		out.Scope = &api.Scope{Scope: string(k.Scope.Kind), ScopeID: string(k.Scope.ID)}
	}
	switch {
	case !k.RevokedAt.IsZero():
		out.State = "REVOKED"
	case !k.InForce(time.Now()):
		out.State = "EXPIRED"
	}
	return out
}
