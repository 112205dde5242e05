package http2

import "time"

// clock ends what takes a connection's client too long. Conn's lock guards it. One timer is enough for everything: a wait that
// begins only sets it when it would fire too late.
type clock struct {
	timer   *time.Timer
	fires   time.Time // zero: it does not
	idle    time.Time // since when no request runs, if none does
	head    time.Time // since when a head is under way; zero: none is
	data    time.Time // since when the rest of a frame of DATA is waited for; zero: it is not
	parting time.Time // since when the client has been told to send no further request; zero: it was not
	over    bool
}

var zero time.Time

func (k *clock) begin(c *Conn, now time.Time) {
	k.idle, k.head = now, now
	k.timer = time.AfterFunc(c.cfg.HeaderTimeout, c.tick)
	k.fires = now.Add(c.cfg.HeaderTimeout)
	k.arm(now.Add(c.cfg.IdleTimeout))
	if c.parting {
		k.arm(k.parting.Add(partingTime))
	}
}

func (k *clock) end() {
	k.over = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// arm has the timer fire at a moment, if it does not before. Without a timer it does nothing: begin looks for what there is.
func (k *clock) arm(at time.Time) {
	if k.timer == nil {
		return
	}
	if k.fires.IsZero() || at.Before(k.fires) {
		k.fires = at
		k.timer.Reset(time.Until(at))
	}
}

// reading takes note of what the client is waited for.
func (k *clock) reading(c *Conn, what awaited) {
	if c.in.fresh { // what was waited for before has come
		c.in.fresh = false
		k.head = zero
	}
	switch what {
	case forBody:
		// Who reads the body waits as well, and gives up before.
		k.head, k.data = zero, time.Now()
		k.arm(k.data.Add(2 * c.cfg.BodyTimeout))
		if s := c.streams[c.in.body]; s != nil && !s.reads.IsZero() {
			s.reads = k.data // a part of it has come
		}
	case forHead:
		k.data = zero
		if k.head.IsZero() {
			k.head = time.Now()
			k.arm(k.head.Add(c.cfg.HeaderTimeout))
		}
	default:
		k.head, k.data = zero, zero
	}
}

// tick looks for what has taken too long.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.clock
	if c.err != nil || k.over {
		return
	}
	now := time.Now()
	k.fires = zero
	over := func(since time.Time, within time.Duration) bool {
		if since.IsZero() {
			return false
		}
		until := since.Add(within)
		if now.Before(until) {
			k.arm(until)
			return false
		}
		return true
	}
	if over(k.head, c.cfg.HeaderTimeout) {
		c.fail(&slow{"a head does not come to its end"})
		return
	}
	if over(k.data, 2*c.cfg.BodyTimeout) {
		c.fail(errNoBody)
		return
	}
	switch {
	case c.leaving:
	case c.parting:
		if over(k.parting, partingTime) {
			c.leave()
		}
	case c.running == 0 && over(k.idle, c.cfg.IdleTimeout):
		c.part()
	}
	for _, s := range c.streams {
		if over(s.waits, c.cfg.SendTimeout) {
			s.refused = Cancel
			s.lose(errNoWindow)
		}
		if over(s.reads, c.cfg.BodyTimeout) {
			s.late = true
			s.readable.Broadcast()
		}
	}
	c.flush(turns)
}
