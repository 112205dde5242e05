package store

import (
	"errors"
	"time"

	"github.com/postern/postern/internal/link"
)

// Service is a service with what only the reconciler needs to know of it.
type Service struct {
	link.Service
	AppliedVersion int64 // version of the region that the cloud was last made to match; 0 never
	Gone           bool  // its end was asked for; the row stays until the cloud has let it go
}

const serviceColumns = `provider, region, state, service_id, name, zone_ids, conditions, applied_version, gone, created_at, updated_at, version`

func scanService(r Row) (s Service, err error) {
	err = r.Scan(&s.Provider, &s.Region, &s.State, &s.ServiceID, &s.Name, parsed(&s.ZoneIDs), parsed(&s.Conditions),
		&s.AppliedVersion, &s.Gone, at(&s.CreatedAt), at(&s.UpdatedAt), &s.Version)
	return s, err
}

// Services are all services in the order of creation.
func (tx *Tx) Services() ([]Service, error) {
	return list(tx, scanService, `SELECT `+serviceColumns+` FROM services ORDER BY seq`)
}

// Service returns the service of a region, or ErrNotFound.
func (tx *Tx) Service(p link.Provider, region string) (Service, error) {
	return scanService(tx.row(`SELECT `+serviceColumns+` FROM services WHERE provider = $1 AND region = $2`, p, region))
}

// AddService returns the service of a region, made now in state CREATING unless there is one, and marks a new one due.
func (tx *Tx) AddService(p link.Provider, region string) (s Service, made bool, err error) {
	// Or somebody who changes the region meanwhile would find no service to mark due, and this one be made by the old region.
	if err := tx.LockOwner(link.ObjectRef{Kind: link.ObjectRegion, ID: objectKey(p, region)}); err != nil {
		return Service{}, false, err
	}
	n, err := tx.exec(`INSERT INTO services (provider, region, state, service_id, name, zone_ids, conditions, applied_version, created_at, updated_at, version)
		VALUES ($1, $2, 'CREATING', '', '', '[]', '[]', 0, $3, $3, 1) ON CONFLICT (provider, region) DO NOTHING`, p, region, stamp(tx.now))
	if err != nil {
		return Service{}, false, err
	}
	if n > 0 {
		if err := tx.MarkServiceDue(p, region); err != nil {
			return Service{}, false, err
		}
	}
	s, err = tx.Service(p, region)
	return s, n > 0, err
}

// EndService asks for the end of a region's service and makes it due.
func (tx *Tx) EndService(p link.Provider, region string) error {
	err := tx.change(ErrNotFound, `UPDATE services SET gone = TRUE, state = 'DELETING', updated_at = $3, version = version + 1
		WHERE provider = $1 AND region = $2`, p, region, stamp(tx.now))
	if err != nil {
		return err
	}
	return tx.MarkServiceDue(p, region)
}

// RemoveService forgets a service that the cloud has let go, as it was at its Version, or returns ErrChanged.
func (tx *Tx) RemoveService(s Service) error {
	if _, err := tx.exec(`DELETE FROM service_lists WHERE provider = $1 AND service_id = $2`, s.Provider, s.ServiceID); err != nil {
		return err
	}
	return tx.change(ErrChanged, `DELETE FROM services WHERE provider = $1 AND region = $2 AND version = $3`, s.Provider, s.Region, s.Version)
}

// ServiceList says when the last full list of a service's endpoints began and how many there were; zero when there was none.
func (tx *Tx) ServiceList(p link.Provider, serviceID string) (began time.Time, endpoints int, err error) {
	err = tx.row(`SELECT began_at, endpoints FROM service_lists WHERE provider = $1 AND service_id = $2`, p, serviceID).Scan(at(&began), &endpoints)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return began, endpoints, err
}

// PutServiceList notes a full list of a service's endpoints.
func (tx *Tx) PutServiceList(p link.Provider, serviceID string, began time.Time, endpoints int) error {
	_, err := tx.exec(`INSERT INTO service_lists (provider, service_id, began_at, endpoints) VALUES ($1, $2, $3, $4)
		ON CONFLICT (provider, service_id) DO UPDATE SET began_at = excluded.began_at, endpoints = excluded.endpoints`,
		p, serviceID, stamp(began), endpoints)
	return err
}

// WorkService is the Work.Kind of services; its Work.ID is that of link.ObjectService.
const WorkService = "service"

// MarkServiceDue makes a region's service due at once.
func (tx *Tx) MarkServiceDue(p link.Provider, region string) error {
	return tx.MarkDue(WorkService, objectKey(p, region))
}

// SwapService stores s in the place of what had its Version, and returns ErrChanged when that is there no more. The new
// version is Version + 1.
func (tx *Tx) SwapService(s Service) error {
	return tx.change(ErrChanged, `UPDATE services SET state = $4, service_id = $5, name = $6, zone_ids = $7, conditions = $8,
		applied_version = $9, updated_at = $10, version = version + 1 WHERE provider = $1 AND region = $2 AND version = $3`,
		s.Provider, s.Region, s.Version, s.State, s.ServiceID, s.Name, text(s.ZoneIDs), text(s.Conditions), s.AppliedVersion, stamp(tx.now))
}
