package policy

import (
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Roles are the roles that grants give, from the least to the highest. Each may do all that those before it may.
var Roles = []link.Role{
	link.RoleViewer, link.RoleClusterOperator, link.RoleClusterAdmin, link.RoleProjectAdmin, link.RoleOrganisationAdmin, link.RoleOperator,
}

// rankOf is a role's place among Roles, from 1; 0 for none and for one that nobody knows.
func rankOf(r link.Role) int { return slices.Index(Roles, r) + 1 }

// Fits reports whether a role means something at a scope of a kind: at what it is about, and at all that holds such.
func Fits(r link.Role, k link.ScopeKind) bool {
	switch r {
	case link.RoleOperator:
		return k == link.ScopeInstallation
	case link.RoleOrganisationAdmin:
		return k == link.ScopeInstallation || k == link.ScopeOrganisation
	case link.RoleProjectAdmin:
		return k == link.ScopeInstallation || k == link.ScopeOrganisation || k == link.ScopeProject
	case link.RoleClusterAdmin, link.RoleClusterOperator, link.RoleViewer:
		return k == link.ScopeInstallation || k == link.ScopeOrganisation || k == link.ScopeProject || k == link.ScopeCluster
	}
	return false
}

// Need says which role a member of an installation needs, at the least, for what it asks of a kind of object. An empty
// role is needed of nobody who is signed in.
type Need struct {
	Kind   string // of link's; that of a grant is followed by "/" and the kind of its scope
	Action Action
	Least  link.Role
}

// Needs is the whole table. For Create and Delete the row of Change counts where they have none. What has no row is no
// member's to ask for, whatever its role.
var Needs = []Need{
	{link.ObjectRegion, Read, ""},
	{link.ObjectRegion, Change, link.RoleOperator},
	{link.ObjectService, Read, ""},
	{link.ObjectService, Change, link.RoleClusterAdmin},
	{link.ObjectServiceProfile, Read, link.RoleOperator},
	{link.ObjectServiceProfile, Change, link.RoleOperator},
	{link.ObjectGateway, Read, link.RoleOperator},
	{link.ObjectDatabase, Read, link.RoleOperator},

	{link.ObjectCluster, Read, link.RoleViewer},
	{link.ObjectCluster, Change, link.RoleOperator},
	{link.ObjectTraffic, Read, link.RoleOperator},
	{link.ObjectTraffic, Change, link.RoleOperator},
	{link.ObjectRecords, Read, link.RoleViewer},
	{link.ObjectConnection, Read, link.RoleViewer},
	{link.ObjectConnection, Change, link.RoleClusterOperator},
	{link.ObjectClaim, Read, link.RoleViewer},
	{link.ObjectClaim, Change, link.RoleClusterOperator},
	{link.ObjectAllowList, Read, link.RoleViewer},
	{link.ObjectAllowList, Change, link.RoleClusterOperator},
	{link.ObjectEgress, Read, link.RoleViewer},
	{link.ObjectEgress, Change, link.RoleClusterOperator},
	{link.ObjectEndpoint, Read, link.RoleViewer},
	{link.ObjectEndpoint, Change, link.RoleClusterAdmin},
	{link.ObjectPublicAccess, Read, link.RoleViewer},
	{link.ObjectPublicAccess, Change, link.RoleClusterAdmin},
	{link.ObjectTrustedOwner, Read, link.RoleClusterOperator},
	{link.ObjectTrustedOwner, Change, link.RoleClusterAdmin},
	{link.ObjectReverseProxy, Read, link.RoleViewer},
	{link.ObjectReverseProxy, Change, link.RoleClusterAdmin},
	{link.ObjectClientCertificates, Read, link.RoleViewer},
	{link.ObjectClientCertificates, Change, link.RoleClusterAdmin},
	{link.ObjectTrustedCertificate, Read, link.RoleViewer},
	{link.ObjectTrustedCertificate, Change, link.RoleClusterAdmin},
	{link.ObjectRevokedCertificate, Read, link.RoleViewer},
	{link.ObjectRevokedCertificate, Change, link.RoleClusterAdmin},
	{grantsAt(link.ScopeCluster), Read, link.RoleClusterAdmin},
	{grantsAt(link.ScopeCluster), Change, link.RoleClusterAdmin},

	{link.ObjectProject, Read, link.RoleViewer},
	{link.ObjectProject, Create, link.RoleOrganisationAdmin},
	{link.ObjectProject, Change, link.RoleProjectAdmin},
	{link.ObjectProject, Delete, link.RoleOrganisationAdmin},
	{link.ObjectProjectConnection, Read, link.RoleViewer},
	{link.ObjectProjectConnection, Change, link.RoleProjectAdmin},
	{link.ObjectProjectTrustedOwner, Read, link.RoleClusterOperator},
	{link.ObjectProjectTrustedOwner, Change, link.RoleProjectAdmin},
	{grantsAt(link.ScopeProject), Read, link.RoleProjectAdmin},
	{grantsAt(link.ScopeProject), Change, link.RoleProjectAdmin},

	{link.ObjectOrganisation, Read, link.RoleViewer},
	{link.ObjectOrganisation, Create, link.RoleOperator},
	{link.ObjectOrganisation, Change, link.RoleOrganisationAdmin},
	{link.ObjectOrganisation, Delete, link.RoleOperator},
	{link.ObjectPrincipal, Read, link.RoleOrganisationAdmin},
	{link.ObjectPrincipal, Change, link.RoleOrganisationAdmin},
	{link.ObjectAPIKey, Read, link.RoleOrganisationAdmin},
	{link.ObjectAPIKey, Change, link.RoleOrganisationAdmin},
	{link.ObjectSession, Read, link.RoleOperator},
	{link.ObjectSession, Change, link.RoleOperator},
	{link.ObjectWebhook, Read, link.RoleOrganisationAdmin},
	{link.ObjectWebhook, Change, link.RoleOrganisationAdmin},
	{link.ObjectAudit, Read, link.RoleOrganisationAdmin},
	{grantsAt(link.ScopeOrganisation), Read, link.RoleOrganisationAdmin},
	{grantsAt(link.ScopeOrganisation), Change, link.RoleOrganisationAdmin},

	{grantsAt(link.ScopeInstallation), Read, link.RoleOperator},
	{grantsAt(link.ScopeInstallation), Change, link.RoleOperator},
}

func grantsAt(k link.ScopeKind) string { return link.ObjectGrant + "/" + string(k) }

// leastRole looks up the row for an action on an object.
func leastRole(a Action, object link.ObjectRef) (least link.Role, known bool) {
	kind := object.Kind
	if kind == link.ObjectGrant {
		scope, _, _ := strings.Cut(object.ID, "/")
		kind = grantsAt(link.ScopeKind(scope))
	}
	for _, n := range Needs {
		if n.Kind == kind && n.Action == a {
			return n.Least, true
		}
	}
	if a == Create || a == Delete {
		return leastRole(Change, object)
	}
	return "", false
}
