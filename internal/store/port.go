package store

import "github.com/postern/postern/internal/link"

// PortRules are the service profile's rules, by port.
func (tx *Tx) PortRules() ([]link.PortRule, error) {
	return list(tx, func(r Row) (p link.PortRule, err error) {
		err = r.Scan(&p.Port, &p.Protocol, &p.Traffic, &p.Denied, &p.BackendPort)
		return p, err
	}, `SELECT port, protocol, traffic, denied, backend_port FROM service_ports ORDER BY port`)
}

// PutPortRules makes rules, of which each has a port of its own, all that there are.
func (tx *Tx) PutPortRules(rules []link.PortRule) error {
	if _, err := tx.exec(`DELETE FROM service_ports`); err != nil {
		return err
	}
	for _, p := range rules {
		_, err := tx.exec(`INSERT INTO service_ports (port, protocol, traffic, denied, backend_port) VALUES ($1, $2, $3, $4, $5)`,
			p.Port, p.Protocol, p.Traffic, p.Denied, p.BackendPort)
		if err != nil {
			return err
		}
	}
	return nil
}

// changedPorts are the service profile's rules when they changed after a revision, nil otherwise.
func (tx *Tx) changedPorts(revision int64) (*[]link.PortRule, error) {
	changed, err := tx.rulesChangedSince(RulesOfPorts, revision)
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	rules, err := tx.PortRules()
	return &rules, err
}
