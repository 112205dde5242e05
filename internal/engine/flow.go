package engine

import "net/netip"

// Flow is one stream from accept to end. Its methods may be called from its Handler's calls and from Each's visits only.
type Flow struct {
	// State is the Handler's own.
	State any

	peer, local netip.AddrPort
	where       func(*Flow) netip.AddrPort // finds out local, where that has a cost; nil when it is known
	tag         any
	loop        int
}

// Peer is who opened the stream, IPv4 as IPv4.
func (f *Flow) Peer() netip.AddrPort { return f.peer }

// Local is the address at which it arrived. For a listener that is bound to no single address, the first call asks the
// socket; who needs the port alone is better served by the Tag.
func (f *Flow) Local() netip.AddrPort {
	if f.where != nil {
		f.local, f.where = f.where(f), nil
	}
	return f.local
}

// Tag is what Listen was given.
func (f *Flow) Tag() any { return f.tag }

// Loop is the number of the event loop that owns the flow, below Config.Loops. Calls for flows of one loop never run at
// the same time.
func (f *Flow) Loop() int { return f.loop }
