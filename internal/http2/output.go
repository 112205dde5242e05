package http2

import "sync"

// output is what waits to be sent. Conn's lock guards it.
type output struct {
	waiting []byte // frames
	base    *[outSize]byte
	writing bool
	dead    error     // nothing can be sent any more
	queue   int       // streams that wait for room
	room    sync.Cond // there is some
	drained sync.Cond // what waited is being written
}

// Bounds of what waits to be sent, in bytes.
const (
	roomy       = 64 << 10  // streams with bulk wait while this much waits already
	jumping     = 128 << 10 // those with little
	mostWaiting = 192 << 10 // nothing is read while this much waits
	little      = 16 << 10
	outSize     = 160 << 10 // of a buffer: there is seldom more
)

// turns is how often a goroutine that answers writes, on what others have appended, while one of those waits.
const turns = 4

var outBuffers = sync.Pool{New: func() any { return new([outSize]byte) }}

// buffer is where frames are appended; what it became is given to add.
func (o *output) buffer() []byte {
	if o.waiting == nil {
		o.base = outBuffers.Get().(*[outSize]byte)
		o.waiting = o.base[:0]
	}
	return o.waiting
}

func (o *output) add(b []byte) { o.waiting = b }

// release gives the buffer back, with what waited lost.
func (o *output) release() {
	if o.base != nil {
		outBuffers.Put(o.base)
	}
	o.base, o.waiting = nil, nil
}

// flush sends what waits, unless somebody is writing who will. While streams wait for room it writes no more often than turns
// says; they go on with it. The lock is held, but not while it writes.
func (c *Conn) flush(turns int) {
	o := &c.out
	if o.writing || len(o.waiting) == 0 {
		return
	}
	o.writing = true
	for turn := 0; len(o.waiting) > 0 && o.dead == nil; turn++ {
		if turn >= turns && o.queue > 0 {
			break
		}
		p, base := o.waiting, o.base
		o.waiting, o.base = nil, nil
		o.drained.Signal()
		o.room.Signal()
		c.mu.Unlock()
		_, err := c.wire.Write(p)
		outBuffers.Put(base)
		c.mu.Lock()
		if err != nil {
			o.dead = err
			o.release()
			o.drained.Signal()
			c.fail(err)
		}
	}
	o.writing = false
	if len(o.waiting) > 0 {
		o.room.Signal()
	}
	c.done.Broadcast()
}

// makeRoom waits until a stream may append n bytes. The error is why it cannot go on.
func (c *Conn) makeRoom(s *Stream, n int) error {
	o, most := &c.out, roomy
	if n <= little {
		most = jumping
	}
	for s.lost == nil && len(o.waiting) >= most {
		if !o.writing {
			c.flush(turns)
			continue
		}
		o.queue++
		o.room.Wait()
		o.queue--
	}
	if s.lost != nil { // the room, or the others' frames, are for another one
		o.room.Signal()
		c.flush(turns)
	}
	return s.lost
}
