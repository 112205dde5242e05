package http2

import "time"

// guard counts what a client sends that makes work and moves nothing: resets, PING, SETTINGS, PRIORITY, empty DATA, parts of
// heads, windows that are opened without need, and streams that break the rules. A client that does so all the time is ended.
type guard struct {
	left  int       // frames of this kind that are still borne
	since time.Time // of left
	wants int       // frames that what was sent to the client gives it reason for
}

// What is borne of a client: at once, and in each second.
const (
	patience  = 1000
	perSecond = 100
)

// mostWants is how many frames a client may send for what it got before.
const mostWants = 1 << 16

func (g *guard) init(now time.Time) { *g = guard{left: patience, since: now, wants: 100} }

// spend counts a frame. The error ends the connection.
func (g *guard) spend() error {
	if g.left--; g.left >= 0 {
		return nil
	}
	now := time.Now()
	g.left += int(min(now.Sub(g.since).Seconds()*perSecond, patience))
	g.since = now
	if g.left < 0 {
		return &Error{EnhanceYourCalm, "too many frames that move nothing"}
	}
	return nil
}

// grant says that n bytes of DATA were sent. They take up room in two windows, which some clients open again for every few KiB,
// and some measure with PING how fast they come. A frame that is small because the client's window was does not count: clients
// could ask for one byte after the other.
func (g *guard) grant(n int, cut bool) {
	if !cut {
		g.wants += 2
	}
	g.wants = min(g.wants+n>>9, mostWants)
}

// reply counts a frame that DATA gives reason for: WINDOW_UPDATE, or PING.
func (g *guard) reply() error {
	if g.wants > 0 {
		g.wants--
		return nil
	}
	return g.spend()
}
