package http2

import "encoding/binary"

// kind is the type of a frame (RFC 9113 section 6).
type kind uint8

const (
	data         kind = 0x0
	headers      kind = 0x1
	priority     kind = 0x2
	rstStream    kind = 0x3
	settings     kind = 0x4
	pushPromise  kind = 0x5
	ping         kind = 0x6
	goAway       kind = 0x7
	windowUpdate kind = 0x8
	continuation kind = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113 section 6.5.2).
const (
	settingTableSize     = 0x1
	settingEnablePush    = 0x2
	settingStreams       = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6
)

// What the standard sets until a peer says otherwise, and its bounds.
const (
	headSize      = 9         // of a frame
	defaultFrame  = 16 << 10  // the longest payload that is taken without saying more
	largestFrame  = 1<<24 - 1 // that a peer may take
	defaultWindow = 1<<16 - 1
	largestWindow = 1<<31 - 1
	defaultTable  = 4 << 10 // of header compression
)

// preface is what a client sends first (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameHead is what every frame begins with (RFC 9113 section 4.1).
type frameHead struct {
	length int // of the payload
	kind   kind
	flags  uint8
	stream uint32
}

// parseHead reads the first nine bytes of a frame.
func parseHead(b []byte) frameHead {
	return frameHead{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: kind(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

func appendHead(b []byte, length int, k kind, flags uint8, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(k), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// appendWord appends a frame whose payload is one number: RST_STREAM or WINDOW_UPDATE.
func appendWord(b []byte, k kind, stream, word uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, k, 0, stream), word)
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	b = appendHead(b, 8, goAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// setting is one pair of a SETTINGS frame.
type setting struct {
	id    uint16
	value uint32
}

func appendSettings(b []byte, all ...setting) []byte {
	b = appendHead(b, 6*len(all), settings, 0, 0)
	for _, s := range all {
		b = binary.BigEndian.AppendUint16(b, s.id)
		b = binary.BigEndian.AppendUint32(b, s.value)
	}
	return b
}

// appendBlock appends a header block as HEADERS, and CONTINUATION where it does not fit.
func appendBlock(b, block []byte, stream uint32, end bool, most int) []byte {
	k, flags := headers, uint8(0)
	if end {
		flags = flagEndStream
	}
	for {
		part := block[:min(len(block), most)]
		block = block[len(part):]
		if len(block) == 0 {
			flags |= flagEndHeaders
		}
		b = appendHead(b, len(part), k, flags, stream)
		b = append(b, part...)
		if len(block) == 0 {
			return b
		}
		k, flags = continuation, 0
	}
}

// unpad takes padding off the payload of DATA or HEADERS (RFC 9113 section 6.1). False says that there is more of it than payload.
func unpad(p []byte, flags uint8) ([]byte, bool) {
	if flags&flagPadded == 0 {
		return p, true
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}
