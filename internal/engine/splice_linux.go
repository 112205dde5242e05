package engine

import "golang.org/x/sys/unix"

// A flow is spliced while its bytes come in large amounts: the kernel moves them through a pipe, without copying them to
// user space and back. For small amounts the additional system calls cost more than the copies.
const (
	bulkyFrom  = 16 << 10 // splice from this average on …
	bulkyUntil = 6 << 10  // … down to this one
	neverBulky = -1 << 30 // an average that no flow works its way up from

	pipeSize   = 256 << 10
	sparePipes = 16 // how many unused pipes a loop keeps
)

// pipe is what bytes are spliced through.
type pipe struct {
	out, in int // the ends to read from and to write to
	held    int // bytes in it
}

func (p *pipe) close() {
	closeFD(p.out)
	closeFD(p.in)
}

// learn takes the amount that one reading brought into the average.
func (d *direction) learn(n int) { d.average += (int32(n) - d.average) / 4 }

// bulky reports whether the next reading is to be spliced, and sees to it that there is a pipe then.
func (l *loop) bulky(d *direction) bool {
	if d.pipe != nil {
		if d.average >= bulkyUntil {
			return true
		}
		l.unpipe(d)
		return false
	}
	if d.average < bulkyFrom {
		return false
	}
	if last := len(l.pipes) - 1; last >= 0 {
		d.pipe, l.pipes = l.pipes[last], l.pipes[:last]
		return true
	}
	if int(l.tally.pipes) >= l.e.pipesPerLoop {
		return false
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return false // copying works without
	}
	// A user may own so much memory in pipes; what is beyond gets a small one.
	_, _ = unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, pipeSize)
	d.pipe = &pipe{out: ends[0], in: ends[1]}
	l.tally.pipes++
	return true
}

// unpipe gives back the pipe of a direction; one that still holds bytes is closed.
func (l *loop) unpipe(d *direction) {
	p := d.pipe
	if p == nil {
		return
	}
	d.pipe = nil
	if p.held > 0 || len(l.pipes) >= sparePipes {
		p.close()
		l.tally.pipes--
		return
	}
	l.pipes = append(l.pipes, p)
}

// flushPipe passes on what is in d's pipe. It reports false when the destination takes no more now.
func (l *loop) flushPipe(s *stream, d *direction, to *socket) bool {
	for d.pipe.held > 0 {
		if !to.writable {
			return l.block(s, d, to)
		}
		n, errno := spliceFD(d.pipe.out, to.fd, d.pipe.held)
		switch {
		case errno == unix.EAGAIN:
			to.writable = false
		case errno != 0:
			l.destinationGone(s, d, to)
			return true
		default:
			d.pipe.held -= n
			l.count(s, d, n)
			l.tally.spliced += uint64(n)
			s.moved, d.blocked = l.now, 0
		}
	}
	return true
}
