package fabric

import "time"

const (
	remembered   = time.Hour      // how long a provider sees a deleted endpoint as a deleted connection, and GetChange a change
	tokenCounted = 24 * time.Hour // how long a client token says what it made, unless that goes before
)

// advance makes every transition that was due at now. It is the only way in which the state changes by itself.
func (s *State) advance(now time.Time) {
	for _, balancer := range s.LoadBalancers {
		if reached(balancer.Due, now) {
			balancer.State, balancer.Due = "active", time.Time{}
		}
	}
	for _, service := range s.Services {
		if p := service.PrivateDNS; p != nil && reached(p.Due, now) {
			p.Due = time.Time{}
			p.State = "failed"
			if s.ownsName(service) {
				p.State = "verified"
			}
		}
	}
	for id, endpoint := range s.Endpoints {
		if reached(endpoint.Due, now) {
			s.moveOn(id, endpoint)
		}
	}
	for id, change := range s.Changes {
		if reached(change.Due.Add(remembered), now) {
			delete(s.Changes, id)
		}
	}
	for key, token := range s.Tokens {
		if reached(token.UsedAt.Add(tokenCounted), now) {
			delete(s.Tokens, key)
		}
	}
	s.due = s.nextDue()
}

// moveOn takes an endpoint to the state that follows by itself.
func (s *State) moveOn(id string, endpoint *Endpoint) {
	due := endpoint.Due
	endpoint.Due = time.Time{}
	switch endpoint.State {
	case EndpointPending:
		endpoint.State = EndpointAvailable
	case EndpointDeleting:
		endpoint.State = EndpointDeleted
		endpoint.Due = due.Add(remembered)
		for _, nic := range endpoint.InterfaceIDs {
			s.unplug(nic)
		}
		endpoint.InterfaceIDs = nil
		delete(s.Tags, id)
		s.forgetTokens(id)
	case EndpointDeleted:
		delete(s.Endpoints, id)
	}
}

// nextDue is the earliest time at which advance has something to do; zero when there is nothing to wait for.
func (s *State) nextDue() time.Time {
	var next time.Time
	consider := func(due time.Time) {
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	for _, balancer := range s.LoadBalancers {
		consider(balancer.Due)
	}
	for _, service := range s.Services {
		if service.PrivateDNS != nil {
			consider(service.PrivateDNS.Due)
		}
	}
	for _, endpoint := range s.Endpoints {
		consider(endpoint.Due)
	}
	for _, change := range s.Changes {
		consider(change.Due.Add(remembered))
	}
	for _, token := range s.Tokens {
		consider(token.UsedAt.Add(tokenCounted))
	}
	return next
}

func reached(due, now time.Time) bool { return !due.IsZero() && !due.After(now) }
