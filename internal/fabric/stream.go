package fabric

import "fmt"

// draw takes the next value of the state's own random stream (SplitMix64 at position Drawn). The position is state, so
// ids never repeat after a restart and a run with the same seed and the same calls makes the same ids.
func (s *State) draw() uint64 {
	s.Drawn++
	z := s.Seed + s.Drawn*0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// drawHex returns n hexadecimal digits.
func (s *State) drawHex(n int) string {
	var text string
	for len(text) < n {
		text += fmt.Sprintf("%016x", s.draw())
	}
	return text[:n]
}

// drawFrom returns n characters of alphabet.
func (s *State) drawFrom(alphabet string, n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = alphabet[s.draw()%uint64(len(alphabet))]
	}
	return string(text)
}

const (
	lowerDigits = "abcdefghijklmnopqrstuvwxyz0123456789"
	upperDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// newID returns an id as EC2 writes them: the prefix, a hyphen and 17 hexadecimal digits.
func (s *State) newID(prefix string) string { return prefix + "-" + s.drawHex(17) }
