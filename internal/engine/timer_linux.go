package engine

import (
	"math/bits"
	"time"
)

// wheel finds the streams whose time limit has passed: adding, removing and firing are O(1) whatever the limits are. A
// limit that moves further away costs nothing: the stream stays where it is queued and is queued anew when that time
// comes. So a relayed flow does not touch the wheel when bytes move. Not for use by several goroutines.
type wheel struct {
	tick          int64 // every tick up to this one was looked at
	near, far     [wheelSlots]*stream
	inNear, inFar [wheelSlots / 64]uint64 // which slots hold something
}

const (
	tickShift  = 24 // a tick is 2^24 ns, about 17 ms: how late a limit may be noticed
	wheelSlots = 256
	unqueued   = -1
)

// timer is a stream's place in the wheel.
type timer struct {
	deadline   int64 // nanoseconds on the engine's clock; 0 is never
	queued     int64 // the tick at which the wheel looks at it
	slot       int16 // unqueued, in near, or behind that in far
	prev, next *stream
}

// set gives a stream a new deadline, 0 for none.
func (w *wheel) set(s *stream, deadline int64) {
	t := &s.timer
	t.deadline = deadline
	if deadline == 0 {
		return // what is queued is dropped when its time comes
	}
	tick := max(deadline>>tickShift, w.tick) + 1
	if t.slot != unqueued {
		if t.queued <= tick {
			return
		}
		w.remove(s)
	}
	w.add(s, tick)
}

func (w *wheel) add(s *stream, tick int64) {
	t := &s.timer
	var slot int64
	if tick-w.tick < wheelSlots {
		slot = tick % wheelSlots
		t.slot, t.queued = int16(slot), tick
		t.next = w.near[slot]
		w.near[slot] = s
		w.inNear[slot/64] |= 1 << (slot % 64)
	} else {
		round := min(tick/wheelSlots, w.tick/wheelSlots+wheelSlots-1)
		slot = round % wheelSlots
		t.slot, t.queued = int16(wheelSlots+slot), round*wheelSlots
		t.next = w.far[slot]
		w.far[slot] = s
		w.inFar[slot/64] |= 1 << (slot % 64)
	}
	t.prev = nil
	if t.next != nil {
		t.next.timer.prev = s
	}
}

func (w *wheel) remove(s *stream) {
	t := &s.timer
	if t.slot == unqueued {
		return
	}
	heads, used, slot := &w.near, &w.inNear, int(t.slot)
	if slot >= wheelSlots {
		heads, used, slot = &w.far, &w.inFar, slot-wheelSlots
	}
	if t.next != nil {
		t.next.timer.prev = t.prev
	}
	if t.prev != nil {
		t.prev.timer.next = t.next
	} else if heads[slot] = t.next; t.next == nil {
		used[slot/64] &^= 1 << (slot % 64)
	}
	t.prev, t.next, t.slot = nil, nil, unqueued
}

// advance moves the wheel on to now and calls expired for every stream whose deadline has passed, after taking it out.
// expired may set and remove.
func (w *wheel) advance(now int64, expired func(*stream)) {
	for last := now >> tickShift; w.tick < last; {
		next := w.next()
		if next < 0 || next > last {
			w.tick = last
			return
		}
		w.tick = next
		if w.tick%wheelSlots == 0 {
			w.drain(&w.far[w.tick/wheelSlots%wheelSlots], now, expired)
		}
		w.drain(&w.near[w.tick%wheelSlots], now, expired)
	}
}

func (w *wheel) drain(head **stream, now int64, expired func(*stream)) {
	for *head != nil {
		s := *head
		w.remove(s)
		switch d := s.timer.deadline; {
		case d == 0:
		case d <= now:
			expired(s)
		default:
			w.set(s, d)
		}
	}
}

// next returns the first tick to come at which there is something to look at; -1 when there is none.
func (w *wheel) next() int64 {
	next := int64(-1)
	if n := firstFrom(&w.inNear, int((w.tick+1)%wheelSlots)); n >= 0 {
		next = w.tick + 1 + int64(n)
	}
	round := w.tick / wheelSlots
	if n := firstFrom(&w.inFar, int((round+1)%wheelSlots)); n >= 0 {
		if t := (round + 1 + int64(n)) * wheelSlots; next < 0 || t < next {
			next = t
		}
	}
	return next
}

// wait returns how long after now the wheel wants to be advanced again; negative when it is empty.
func (w *wheel) wait(now int64) time.Duration {
	next := w.next()
	if next < 0 {
		return -1
	}
	return max(0, time.Duration(next<<tickShift-now))
}

// firstFrom returns how many places after start, going round, the first bit is set; -1 when none is.
func firstFrom(set *[wheelSlots / 64]uint64, start int) int {
	word, bit := start/64, start%64
	for i := range len(set) + 1 {
		v := set[(word+i)%len(set)]
		switch i {
		case 0:
			v &= ^uint64(0) << bit
		case len(set):
			v &^= ^uint64(0) << bit
		}
		if v != 0 {
			return i*64 + bits.TrailingZeros64(v) - bit
		}
	}
	return -1
}
