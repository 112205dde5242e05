package backend

// candidate is what the choice looks at.
type candidate struct {
	weight uint32 // its share of new flows; 0: none. At most maxWeight*rampFull.
	open   int64  // flows that it carries
}

// choose returns the index of the candidate that takes the next flow, -1 when none has a weight. It draws one by weight,
// and another one by weight, which takes the flow when it would be no fuller with it, for its weight, than the first one
// is now (the power of two choices). So the shares follow the weights while flows are short, and the open flows do while
// they are long. With two candidates of equal weight it is least-connections. rnd is 64 random bits.
func choose(from []candidate, rnd uint64) int {
	var total uint64
	for _, c := range from {
		total += uint64(c.weight)
	}
	if total == 0 {
		return -1
	}
	first := draw(from, scale(uint32(rnd), total), -1)
	rest := total - uint64(from[first].weight)
	if rest == 0 {
		return first
	}
	second := draw(from, scale(uint32(rnd>>32), rest), first)
	a, b := from[first], from[second]
	if a.open*int64(b.weight) >= (b.open+1)*int64(a.weight) {
		return second
	}
	return first
}

// draw returns the candidate in whose part of the line of weights, without that of index skip, the point at lies.
func draw(from []candidate, at uint64, skip int) int {
	for i, c := range from {
		if i == skip {
			continue
		}
		if at < uint64(c.weight) {
			return i
		}
		at -= uint64(c.weight)
	}
	return -1 // cannot be: at lies below the sum of the weights
}

// scale maps 32 random bits to a number below total, which is below 2^32.
func scale(rnd uint32, total uint64) uint64 { return uint64(rnd) * total >> 32 }

const (
	maxWeight = 256 // of link.Backend
	rampFull  = 256 // a weight is multiplied by rampFull once its slow start is over
	rampLeast = rampFull / 10
)
