package store

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// PlaceOf finds out where an object stands, by the part of its id that names what it belongs to. It is ErrNotFound when
// that is not there; an object of the vendor's alone stands at the zero Place.
func (tx *Tx) PlaceOf(of link.ObjectRef) (p link.Place, err error) {
	owner, _, _ := strings.Cut(of.ID, "/")
	switch of.Kind {
	case link.ObjectCluster, link.ObjectTraffic, link.ObjectPublicAccess, link.ObjectAllowList, link.ObjectClaim, link.ObjectEndpoint,
		link.ObjectConnection, link.ObjectTrustedOwner, link.ObjectEgress, link.ObjectRecords:
		if owner == "" {
			return p, nil
		}
		p.ClusterID = link.ID(owner)
		err = tx.row(`SELECT project_id FROM clusters WHERE id = $1`, owner).Scan(&p.ProjectID)
		if err != nil {
			return link.Place{}, err
		}
	case link.ObjectProject, link.ObjectProjectConnection, link.ObjectProjectTrustedOwner:
		p.ProjectID = link.ID(owner)
	case link.ObjectOrganisation, link.ObjectWebhook, link.ObjectAudit, link.ObjectPrincipal:
		p.OrganisationID = link.ID(owner)
	}
	return p, nil
}
