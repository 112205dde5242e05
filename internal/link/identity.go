package link

import "time"

// Organisation is one customer: it holds projects and the people and programs that may reach them.
type Organisation struct {
	ID        ID
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int64
}

// PrincipalKind says what a principal is.
type PrincipalKind string

// The kinds of principal.
const (
	Person         PrincipalKind = "PERSON"          // signs in, with a password of ours or at an OpenID provider
	ServiceAccount PrincipalKind = "SERVICE_ACCOUNT" // a program; speaks with API keys
)

// Principal is somebody or something that grants are given to. A service account belongs to one organisation, or with an
// empty OrganisationID to the vendor; a person may hold grants in several.
type Principal struct {
	ID             ID
	Kind           PrincipalKind
	OrganisationID ID
	Name           string // for people to read
	Email          string // of a person; lower case, unique; empty for a service account
	Disabled       bool   // may do nothing from the moment it is set
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Version        int64
}

// Role is what a grant makes of a principal within the grant's scope and everything beneath it.
type Role string

// The roles, in the field's words. Each may do all that those below it may.
const (
	RoleOperator          Role = "OPERATOR"           // the vendor's: everything, everywhere; its scope is the installation
	RoleOrganisationAdmin Role = "ORGANISATION_ADMIN" // of a customer: projects, members, service accounts, webhooks, audit
	RoleProjectAdmin      Role = "PROJECT_ADMIN"      // projects' connections, members of the project and its clusters
	RoleClusterAdmin      Role = "CLUSTER_ADMIN"      // trusted owners, public access, decisions about endpoints
	RoleClusterOperator   Role = "CLUSTER_OPERATOR"   // connections, claims, allow list, egress; reads trusted owners
	RoleViewer            Role = "VIEWER"             // reads
)

// ScopeKind says how far a grant reaches.
type ScopeKind string

// The kinds of scope, each beneath the one before.
const (
	ScopeInstallation ScopeKind = "INSTALLATION" // everything; its id is empty
	ScopeOrganisation ScopeKind = "ORGANISATION"
	ScopeProject      ScopeKind = "PROJECT"
	ScopeCluster      ScopeKind = "CLUSTER"
)

// Scope is what a grant is about, with everything beneath it.
type Scope struct {
	Kind ScopeKind
	ID   ID
}

// Grant gives a principal a role. (PrincipalID, Role, Scope) is its key.
type Grant struct {
	PrincipalID ID
	Role        Role
	Scope       Scope
	Within      Place // where the scope stands, itself included; follows from Scope
	CreatedAt   time.Time
}

// Member is a grant with whom it was given to.
type Member struct {
	Grant     Grant
	Principal Principal
	Elsewhere bool // the principal holds roles outside of the grant's organisation as well
}

// Place is where an object stands: its organisation, project and cluster, as far as it has them. The zero value is the
// place of what belongs to the vendor alone.
type Place struct {
	OrganisationID ID
	ProjectID      ID
	ClusterID      ID
}

// Reach is what of a list somebody may see: what stands in one of the organisations, projects or clusters, or with All
// everything. The zero value is nothing.
type Reach struct {
	All           bool
	Organisations []ID
	Projects      []ID
	Clusters      []ID
}
