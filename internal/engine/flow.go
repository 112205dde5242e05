package engine

import "net/netip"

// Flow is one stream from accept to end. Its methods may be called from its Handler's calls and from Each's visits only.
type Flow struct {
	// State is the Handler's own.
	State any

	peer netip.AddrPort
	tag  any
	loop int
}

// Peer is who opened the stream, IPv4 as IPv4.
func (f *Flow) Peer() netip.AddrPort { return f.peer }

// Tag is what Listen was given.
func (f *Flow) Tag() any { return f.tag }

// Loop is the number of the event loop that owns the flow, below Config.Loops. Calls for flows of one loop never run at
// the same time.
func (f *Flow) Loop() int { return f.loop }
