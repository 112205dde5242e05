package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Role is what a caller is to the installation. The zero value is Anonymous, who may do nothing.
type Role string

// The roles.
const (
	Anonymous Role = ""
	Operator  Role = "operator" // may everything except to speak for a gateway
	Gateway   Role = "gateway"  // may fetch the rules, acknowledge them and report; nothing else
	Member    Role = "member"   // a person or a service account: may what its grants say
)

// Caller is who asks for something, as its token told. The zero value is nobody.
type Caller struct {
	ID        link.ID // of the principal; empty for a token that belongs to the installation itself
	Name      string  // stands in the history of what it changes
	Role      Role
	Grants    []link.Grant // of a Member, those that its API key leaves it
	Via       link.ID      // the API key or session that it speaks by; empty for a token of the installation
	RequestID string       // of the request that this caller makes now; stands in the audit log
	Source    string       // IP address of the peer that makes it; empty where it is not known; stands in the audit log
}

// Action is one thing that a caller may ask for.
type Action string

// The actions. Read covers lists and single objects; Change everything that alters intent, of which Create and Delete are
// told apart where they take another role than the rest.
const (
	Read          Action = "read"
	Change        Action = "change"
	Create        Action = "create"
	Delete        Action = "delete"
	ReceiveRules  Action = "receive-rules"
	ReportTraffic Action = "report-traffic"
)

// Permission says whether a caller may do what it asked for, and by which rule.
type Permission struct {
	Allow   bool
	Visible bool   // the caller may know that the object is there; where it may not, it is told what it would be told of none
	Rule    string // stable, upper snake case: what decided
	Reason  string // one sentence for the caller; empty when allowed
}

// May decides whether caller may do action to an object, or to the list of its kind, that stands at a place. The place of
// an object that is to be made is where it will stand.
func May(caller Caller, action Action, object link.ObjectRef, at link.Place) Permission {
	switch caller.Role {
	case Operator:
		switch action {
		case Read, Change, Create, Delete:
			return allow("OPERATOR")
		}
		return refuse("OPERATOR_IS_NO_GATEWAY", "an operator's token cannot speak for a gateway: use a gateway's token")
	case Gateway:
		switch action {
		case ReceiveRules, ReportTraffic:
			return allow("GATEWAY")
		}
		return refuse("GATEWAY_ONLY_REPORTS", fmt.Sprintf("a gateway's token cannot %s a %s: use an operator's token", action, object.Kind))
	case Member:
		if (action == Read || action == Change) && isOwn(caller, object) {
			return allow("OWN")
		}
		return mayMember(caller.Grants, action, object, at)
	}
	return refuse("NOT_AUTHENTICATED", "nobody is signed in")
}

func allow(rule string) Permission { return Permission{Allow: true, Visible: true, Rule: rule} }

func refuse(rule, reason string) Permission {
	return Permission{Visible: true, Rule: rule, Reason: reason}
}

// mayMember decides by grants. What decides is the highest role that they give at the place.
func mayMember(grants []link.Grant, action Action, object link.ObjectRef, at link.Place) Permission {
	least, known := leastRole(action, object)
	if action == ReceiveRules || action == ReportTraffic {
		return refuse("NO_GATEWAY", "only a gateway's token can speak for a gateway")
	}
	if !known {
		return Permission{Rule: "NO_ROLE", Reason: fmt.Sprintf("no role may %s a %s", action, plain(object.Kind))}
	}
	held := RoleAt(grants, at)
	switch {
	case least == "":
		return allow("SIGNED_IN")
	case held != "" && rankOf(held) >= rankOf(least):
		return allow(string(held))
	case action == Read && isFiltered(object):
		return allow("WITHIN_REACH")
	case action == Read && (object.Kind == link.ObjectOrganisation || object.Kind == link.ObjectProject) && standsBeneath(grants, at):
		return allow("WITHIN_REACH") // whoever may see a cluster may know whose it is
	}
	holding := "you hold none there"
	if held != "" {
		holding = "yours there is " + string(held)
	}
	d := refuse("ROLE_MISSING", fmt.Sprintf("to %s the %s takes the role %s; %s", action, plain(object.Kind), least, holding))
	d.Visible = held != "" || standsBeneath(grants, at) || isNobodys(object, at)
	return d
}

// plain is a kind of object in a sentence.
func plain(kind string) string { return strings.ReplaceAll(kind, "-", " ") }

// RoleAt is the highest role that grants give at a place; empty when none reaches it.
func RoleAt(grants []link.Grant, at link.Place) (highest link.Role) {
	for _, g := range grants {
		if Covers(g.Scope, at) && rankOf(g.Role) > rankOf(highest) {
			highest = g.Role
		}
	}
	return highest
}

// Covers reports whether a place is at a scope or beneath it.
func Covers(s link.Scope, at link.Place) bool {
	switch s.Kind {
	case link.ScopeInstallation:
		return true
	case link.ScopeOrganisation:
		return s.ID != "" && s.ID == at.OrganisationID
	case link.ScopeProject:
		return s.ID != "" && s.ID == at.ProjectID
	case link.ScopeCluster:
		return s.ID != "" && s.ID == at.ClusterID
	}
	return false
}

// standsBeneath reports whether the scope of one of grants is at a place or beneath it. Nothing stands beneath the
// vendor's own place: it is no customer's to see.
func standsBeneath(grants []link.Grant, at link.Place) bool {
	for _, g := range grants {
		switch {
		case at.ClusterID != "":
			if g.Within.ClusterID == at.ClusterID {
				return true
			}
		case at.ProjectID != "":
			if g.Within.ProjectID == at.ProjectID {
				return true
			}
		case at.OrganisationID != "":
			if g.Within.OrganisationID == at.OrganisationID {
				return true
			}
		}
	}
	return false
}

// isFiltered reports whether an object is a list of which everybody is shown their own part.
func isFiltered(object link.ObjectRef) bool {
	switch object.Kind {
	case link.ObjectOrganisation, link.ObjectProject, link.ObjectCluster, link.ObjectPrincipal:
		return object.ID == ""
	}
	return false
}

// isNobodys reports whether an object at the vendor's own place gives nothing away by being there: the list of a kind,
// and what every installation has.
func isNobodys(object link.ObjectRef, at link.Place) bool {
	if at != (link.Place{}) {
		return false
	}
	switch object.Kind {
	case link.ObjectRegion, link.ObjectService, link.ObjectServiceProfile, link.ObjectGateway:
		return true
	case link.ObjectGrant:
		return strings.HasPrefix(object.ID, string(link.ScopeInstallation)+"/")
	}
	return object.ID == "" || object.ID == "/"
}

// ReachOf is what of the list of a kind a caller may see. It counts for kinds that stand in an organisation, a project or
// a cluster, and for these themselves.
func ReachOf(caller Caller, kind string) link.Reach {
	if caller.Role == Operator {
		return link.Reach{All: true}
	}
	if caller.Role != Member {
		return link.Reach{}
	}
	var r link.Reach
	least, known := leastRole(Read, link.ObjectRef{Kind: kind})
	for _, g := range caller.Grants {
		switch kind { // whoever may see a cluster may know whose it is
		case link.ObjectOrganisation:
			r.Organisations = appendID(r.Organisations, g.Within.OrganisationID)
		case link.ObjectProject:
			r.Projects = appendID(r.Projects, g.Within.ProjectID)
		}
		if !known || rankOf(g.Role) < rankOf(least) {
			continue
		}
		switch g.Scope.Kind {
		case link.ScopeInstallation:
			return link.Reach{All: true}
		case link.ScopeOrganisation:
			r.Organisations = appendID(r.Organisations, g.Scope.ID)
		case link.ScopeProject:
			r.Projects = appendID(r.Projects, g.Scope.ID)
		case link.ScopeCluster:
			r.Clusters = appendID(r.Clusters, g.Scope.ID)
		}
	}
	return r
}

// appendID adds an id to ids, once; none is no id.
func appendID(ids []link.ID, id link.ID) []link.ID {
	if id == "" || slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

// MayGrant decides whether caller may give a role at a scope, which stands at a place, or take it away. Nobody gives or
// takes what is above the own role there.
func MayGrant(caller Caller, role link.Role, scope link.Scope, at link.Place) Permission {
	object := link.ObjectRef{Kind: link.ObjectGrant, ID: string(scope.Kind) + "/" + string(scope.ID) + "/"}
	d := May(caller, Change, object, at)
	if !d.Allow || caller.Role == Operator {
		return d
	}
	if held := RoleAt(caller.Grants, at); rankOf(role) > rankOf(held) {
		return refuse("ROLE_ABOVE_OWN", fmt.Sprintf("the role %s is above yours there, which is %s", role, held))
	}
	return d
}

// MayControl decides whether caller may do to a principal what would let it be that principal, or keep it out: reset how it
// signs in, make its keys, disable or delete it. Nobody does so to one that holds, anywhere, more than the caller holds there.
// That the caller may change principals where this one stands May has decided.
func MayControl(caller Caller, grants []link.Grant) Permission {
	if caller.Role == Operator {
		return allow("OPERATOR")
	}
	for _, g := range grants {
		if held := RoleAt(caller.Grants, g.Within); rankOf(held) < rankOf(g.Role) {
			return refuse("PRINCIPAL_ABOVE_OWN", fmt.Sprintf("it holds the role %s, which is above yours there", g.Role))
		}
	}
	return allow("ROLES_COVERED")
}
