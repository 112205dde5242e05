package policy

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// table is a map of which a changed copy costs a few small nodes, not the whole: a hash trie (Bagwell, "Ideal Hash
// Trees", 2001) in the form that keeps entries apart from children (Steindorfer and Vinju, "Optimizing Hash-Array
// Mapped Tries", 2015). Copying the struct copies the map. The zero value is empty.
type table[K comparable, V any] struct {
	root *node[K, V]
	n    int
}

// edit is one making of new rules. Nodes that were made by it are nobody else's yet and are changed in place; all others
// are shared and are copied first.
type edit struct{ _ byte }

// seed makes the shape of tables unpredictable to whoever chooses the keys. No result depends on it.
var seed = maphash.MakeSeed()

const (
	branchBits = 6
	branchMask = 1<<branchBits - 1
	hashBits   = 64
)

// node is a part of the trie: those keys whose hashes have the same low bits. Its slots are told apart by the next
// branchBits of the hash; each is empty, or holds one entry, or a child. Below the last bit of the hash a node is a plain
// list of entries.
type node[K comparable, V any] struct {
	made     *edit
	held     uint64 // the slots with an entry
	parted   uint64 // the slots with a child
	entries  []entry[K, V]
	children []*node[K, V]
}

// entry has its value first: a value without size at the end would cost a word.
type entry[K comparable, V any] struct {
	val V
	key K
}

func hashOf[K comparable](k K) uint64 { return maphash.Comparable(seed, k) }

func (t *table[K, V]) get(k K) (V, bool) {
	var zero V
	if t.root == nil {
		return zero, false
	}
	return t.root.get(hashOf(k), k)
}

func (t *table[K, V]) put(e *edit, k K, v V) {
	if t.root == nil {
		t.root = &node[K, V]{made: e}
	}
	var added bool
	t.root, added = t.root.put(e, 0, hashOf(k), k, v)
	if added {
		t.n++
	}
}

func (t *table[K, V]) remove(e *edit, k K) {
	if t.root == nil {
		return
	}
	var removed bool
	t.root, removed = t.root.remove(e, 0, hashOf(k), k)
	if removed {
		t.n--
	}
	if t.n == 0 {
		t.root = nil
	}
}

// all ranges over the entries in no particular order.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t.root != nil {
			t.root.all(yield)
		}
	}
}

// rank is the place in a packed slice of the thing in slot bit, or where it would be.
func rank(slots, bit uint64) int { return bits.OnesCount64(slots & (bit - 1)) }

func slot(hash uint64, shift uint) uint64 { return 1 << (hash >> shift & branchMask) }

func (n *node[K, V]) get(hash uint64, k K) (V, bool) {
	var zero V
	for shift := uint(0); shift < hashBits; shift += branchBits {
		bit := slot(hash, shift)
		switch {
		case n.held&bit != 0:
			if e := &n.entries[rank(n.held, bit)]; e.key == k {
				return e.val, true
			}
			return zero, false
		case n.parted&bit == 0:
			return zero, false
		}
		n = n.children[rank(n.parted, bit)]
	}
	if i := n.find(k); i >= 0 {
		return n.entries[i].val, true
	}
	return zero, false
}

func (n *node[K, V]) find(k K) int {
	return slices.IndexFunc(n.entries, func(e entry[K, V]) bool { return e.key == k })
}

// own returns n for changes in place.
func (n *node[K, V]) own(e *edit) *node[K, V] {
	if n.made == e {
		return n
	}
	return &node[K, V]{
		made: e, held: n.held, parted: n.parted, entries: slices.Clone(n.entries), children: slices.Clone(n.children),
	}
}

// put returns n with k → v, and whether k is new.
func (n *node[K, V]) put(e *edit, shift uint, hash uint64, k K, v V) (_ *node[K, V], added bool) {
	n = n.own(e)
	if shift >= hashBits {
		if i := n.find(k); i >= 0 {
			n.entries[i].val = v
			return n, false
		}
		n.entries = inserted(n.entries, len(n.entries), entry[K, V]{key: k, val: v})
		return n, true
	}
	bit := slot(hash, shift)
	at := rank(n.held, bit)
	switch {
	case n.parted&bit != 0:
		c := rank(n.parted, bit)
		n.children[c], added = n.children[c].put(e, shift+branchBits, hash, k, v)
		return n, added
	case n.held&bit == 0:
		n.entries = inserted(n.entries, at, entry[K, V]{key: k, val: v})
		n.held |= bit
		return n, true
	case n.entries[at].key == k:
		n.entries[at].val = v
		return n, false
	}
	// Two keys in one slot go down into a child.
	old := n.entries[at]
	child := &node[K, V]{made: e}
	child, _ = child.put(e, shift+branchBits, hashOf(old.key), old.key, old.val)
	child, _ = child.put(e, shift+branchBits, hash, k, v)
	n.entries = without(n.entries, at)
	n.held &^= bit
	n.children = inserted(n.children, rank(n.parted, bit), child)
	n.parted |= bit
	return n, true
}

// remove returns n without k, and whether k was there. A child that is left with one entry gives it to its parent, so
// that a table's size follows from what is in it and not from what once was.
func (n *node[K, V]) remove(e *edit, shift uint, hash uint64, k K) (_ *node[K, V], removed bool) {
	if shift >= hashBits {
		i := n.find(k)
		if i < 0 {
			return n, false
		}
		n = n.own(e)
		n.entries = without(n.entries, i)
		return n, true
	}
	bit := slot(hash, shift)
	at := rank(n.held, bit)
	switch {
	case n.held&bit != 0:
		if n.entries[at].key != k {
			return n, false
		}
		n = n.own(e)
		n.entries = without(n.entries, at)
		n.held &^= bit
		return n, true
	case n.parted&bit == 0:
		return n, false
	}
	c := rank(n.parted, bit)
	child, removed := n.children[c].remove(e, shift+branchBits, hash, k)
	if !removed {
		return n, false
	}
	n = n.own(e)
	if len(child.entries) == 1 && len(child.children) == 0 {
		n.children = without(n.children, c)
		n.parted &^= bit
		n.entries = inserted(n.entries, at, child.entries[0])
		n.held |= bit
	} else {
		n.children[c] = child
	}
	return n, true
}

func (n *node[K, V]) all(yield func(K, V) bool) bool {
	for i := range n.entries {
		if !yield(n.entries[i].key, n.entries[i].val) {
			return false
		}
	}
	for _, c := range n.children {
		if !c.all(yield) {
			return false
		}
	}
	return true
}

// inserted returns a copy of s with v at i, and no room to spare: there are as many of these slices as keys.
func inserted[T any](s []T, i int, v T) []T {
	out := make([]T, len(s)+1)
	copy(out, s[:i])
	out[i] = v
	copy(out[i+1:], s[i:])
	return out
}

// without returns a copy of s without the element at i.
func without[T any](s []T, i int) []T {
	if len(s) == 1 {
		return nil
	}
	out := make([]T, len(s)-1)
	copy(out, s[:i])
	copy(out[i:], s[i+1:])
	return out
}
