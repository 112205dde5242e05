package store

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// PlaceOf finds out where an object stands, by the part of its id that names what it belongs to. It is ErrNotFound when
// that is not there; an object of the vendor's alone stands at the zero Place, and so does what is of everybody: the list
// of a kind.
func (tx *Tx) PlaceOf(of link.ObjectRef) (link.Place, error) {
	owner, rest, _ := strings.Cut(of.ID, "/")
	switch of.Kind {
	case link.ObjectCluster, link.ObjectTraffic, link.ObjectPublicAccess, link.ObjectAllowList, link.ObjectClaim, link.ObjectEndpoint,
		link.ObjectConnection, link.ObjectTrustedOwner, link.ObjectEgress, link.ObjectRecords,
		link.ObjectReverseProxy, link.ObjectClientCertificates, link.ObjectTrustedCertificate, link.ObjectRevokedCertificate:
		return tx.placeOfSome(link.ScopeCluster, owner)
	case link.ObjectProject, link.ObjectProjectConnection, link.ObjectProjectTrustedOwner:
		return tx.placeOfSome(link.ScopeProject, owner)
	case link.ObjectOrganisation, link.ObjectWebhook, link.ObjectAudit, link.ObjectPrincipal:
		return tx.placeOfSome(link.ScopeOrganisation, owner)
	case link.ObjectAPIKey, link.ObjectSession:
		var organisation string
		if err := tx.row(`SELECT organisation_id FROM principals WHERE id = $1`, owner).Scan(&organisation); err != nil {
			return link.Place{}, err
		}
		return tx.placeOfSome(link.ScopeOrganisation, organisation)
	case link.ObjectGrant:
		id, _, _ := strings.Cut(rest, "/")
		return tx.PlaceOfScope(link.Scope{Kind: link.ScopeKind(owner), ID: link.ID(id)})
	}
	return link.Place{}, nil
}

// placeOfSome is where what has an id stands; the zero Place when it has none.
func (tx *Tx) placeOfSome(kind link.ScopeKind, id string) (link.Place, error) {
	if id == "" {
		return link.Place{}, nil
	}
	return tx.PlaceOfScope(link.Scope{Kind: kind, ID: link.ID(id)})
}

// PlaceOfScope is where a scope stands, itself included, or ErrNotFound.
func (tx *Tx) PlaceOfScope(s link.Scope) (p link.Place, err error) {
	switch s.Kind {
	case link.ScopeInstallation:
		if s.ID != "" {
			err = ErrNotFound
		}
	case link.ScopeOrganisation:
		err = tx.row(`SELECT id FROM organisations WHERE id = $1`, s.ID).Scan(&p.OrganisationID)
	case link.ScopeProject:
		err = tx.row(`SELECT id, organisation_id FROM projects WHERE id = $1`, s.ID).Scan(&p.ProjectID, &p.OrganisationID)
	case link.ScopeCluster:
		err = tx.row(`SELECT c.id, c.project_id, p.organisation_id FROM clusters c JOIN projects p ON p.id = c.project_id WHERE c.id = $1`,
			s.ID).Scan(&p.ClusterID, &p.ProjectID, &p.OrganisationID)
	default:
		err = ErrNotFound
	}
	if err != nil {
		return link.Place{}, err
	}
	return p, nil
}
