package engine

// buffer holds bytes that were read and cannot be passed on yet.
type buffer struct {
	mem        []byte
	start, end int // mem[start:end] is what is held
}

func (b *buffer) bytes() []byte { return b.mem[b.start:b.end] }
func (b *buffer) len() int      { return b.end - b.start }

// Sizes of kept buffers: for a PROXY header and a ClientHello, for a long one, and for all that one read can bring.
var bufferSizes = [...]int{2 << 10, 8 << 10, 32 << 10, 128 << 10}

// sharedSize is the size of a loop's buffer for reading, and so the most that one flow holds per direction while it relays.
const sharedSize = 64 << 10

// spareBytes bounds what a loop keeps of each size of buffer that nobody uses.
const spareBytes = 1 << 20

// buffers are a loop's.
type buffers struct {
	shared buffer // what every read goes to when nothing is held; lent to one direction at a time
	spare  [len(bufferSizes)][]*buffer
}

// get returns an empty buffer that holds at least n bytes.
func (p *buffers) get(n int) *buffer {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if last := len(p.spare[i]) - 1; last >= 0 {
			b := p.spare[i][last]
			p.spare[i] = p.spare[i][:last]
			return b
		}
		return &buffer{mem: make([]byte, size)}
	}
	return &buffer{mem: make([]byte, n)}
}

// put takes back a buffer that is not used any more.
func (p *buffers) put(b *buffer) {
	b.start, b.end = 0, 0
	if b == &p.shared {
		return
	}
	for i, size := range bufferSizes {
		if len(b.mem) == size {
			if (len(p.spare[i])+1)*size <= spareBytes {
				p.spare[i] = append(p.spare[i], b)
			}
			return
		}
	}
}
