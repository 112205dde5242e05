package http2

import "strconv"

// Field is a field of a head or of trailers. Its name is in lower case.
type Field struct{ Name, Value string }

// static are the places of names in the table that all know (RFC 7541, appendix A), the first one of each.
var static = map[string]int{
	"accept-charset": 15, "accept-encoding": 16, "accept-language": 17, "accept-ranges": 18, "accept": 19,
	"access-control-allow-origin": 20, "age": 21, "allow": 22, "authorization": 23, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28, "content-location": 29,
	"content-range": 30, "content-type": 31, "cookie": 32, "date": 33, "etag": 34, "expect": 35, "expires": 36, "from": 37,
	"host": 38, "if-match": 39, "if-modified-since": 40, "if-none-match": 41, "if-range": 42, "if-unmodified-since": 43,
	"last-modified": 44, "link": 45, "location": 46, "max-forwards": 47, "proxy-authenticate": 48, "proxy-authorization": 49,
	"range": 50, "referer": 51, "refresh": 52, "retry-after": 53, "server": 54, "set-cookie": 55,
	"strict-transport-security": 56, "transfer-encoding": 57, "user-agent": 58, "vary": 59, "via": 60, "www-authenticate": 61,
}

// longestStatic is the length of the longest of these names.
const longestStatic = 27

// statuses are the places of whole fields in that table.
var statuses = map[int]int{200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}

// AppendStatus begins the block of an answer's head with its status, of three digits.
func AppendStatus(b []byte, status int) []byte {
	if at := statuses[status]; at != 0 {
		return append(b, 0x80|byte(at))
	}
	b = append(b, 0x08, 3) // a literal by the name at 8
	return strconv.AppendInt(b, int64(status), 10)
}

// AppendField appends a field to the block of a head or of trailers, its name in lower case. Fields go out as literals that
// nobody remembers: a block needs no table, is made without regard to others, and cannot be a place for guesses at what a
// table holds (RFC 7541 section 7.1). A few bytes more are the price.
func AppendField(b []byte, name, value string) []byte {
	var spelt [longestStatic]byte
	if len(name) <= len(spelt) {
		for i := range len(name) {
			spelt[i] = lower(name[i])
		}
		if at := static[string(spelt[:len(name)])]; at != 0 {
			b = appendInt(b, 0, 4, at)
			return appendText(b, value)
		}
	}
	b = append(b, 0)
	b = appendInt(b, 0, 7, len(name))
	for i := range len(name) {
		b = append(b, lower(name[i]))
	}
	return appendText(b, value)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func appendText(b []byte, s string) []byte {
	return append(appendInt(b, 0, 7, len(s)), s...)
}

// appendInt appends a number with a prefix of so many bits, of which the first byte has the others from high (RFC 7541 section 5.1).
func appendInt(b []byte, high byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, high|byte(n))
	}
	b = append(b, high|byte(most))
	for n -= most; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}
