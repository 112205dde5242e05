package policy

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// Limit is what an API key leaves of its principal's grants. A ceiling makes every higher role that one; a scope, which stands
// at a place, lets grants count within it alone. An empty ceiling and a scope of no kind leave everything.
func Limit(grants []link.Grant, ceiling link.Role, scope link.Scope, at link.Place) []link.Grant {
	out := make([]link.Grant, 0, len(grants))
	for _, g := range grants {
		if ceiling != "" && rankOf(g.Role) > rankOf(ceiling) {
			g.Role = ceiling
		}
		switch {
		case scope.Kind == "" || Covers(scope, g.Within):
		case Covers(g.Scope, at):
			g.Scope, g.Within = scope, at
		default:
			continue
		}
		out = append(out, g)
	}
	return out
}

// RoleOf is what a principal that signed in is to the installation by its grants, as far as its token leaves them.
func RoleOf(grants []link.Grant) Role {
	for _, g := range grants {
		if g.Role == link.RoleOperator && g.Scope == (link.Scope{Kind: link.ScopeInstallation}) {
			return Operator
		}
	}
	return Member
}

// isOwn reports whether an object is what the caller itself signs in or speaks with, which it needs no grant for.
func isOwn(caller Caller, object link.ObjectRef) bool {
	switch object.Kind {
	case link.ObjectAPIKey, link.ObjectSession:
		owner, _, _ := strings.Cut(object.ID, "/")
		return caller.ID != "" && link.ID(owner) == caller.ID
	}
	return false
}
