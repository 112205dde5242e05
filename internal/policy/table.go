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
	root node[K, V]
	n    int
}

// edit is one making of new rules. Slices that were made by it are nobody else's yet and are changed in place; all others
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
// list of entries. Children lie side by side, so that a step down is one place in memory to fetch and not two.
type node[K comparable, V any] struct {
	made     *edit  // whose the two slices are
	held     uint64 // the slots with an entry
	parted   uint64 // the slots with a child
	entries  []entry[K, V]
	children []node[K, V]
}

// entry has its value first: a value without size at the end would cost a word.
type entry[K comparable, V any] struct {
	val V
	key K
}

func hashOf[K comparable](k K) uint64 { return maphash.Comparable(seed, k) }

func (t *table[K, V]) get(k K) (V, bool) { return t.root.get(hashOf(k), k) }

func (t *table[K, V]) put(e *edit, k K, v V) {
	if t.root.put(e, 0, hashOf(k), k, v) {
		t.n++
	}
}

func (t *table[K, V]) remove(e *edit, k K) {
	if t.root.remove(e, 0, hashOf(k), k) {
		t.n--
	}
}

// all ranges over the entries in no particular order.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	root := t.root
	return func(yield func(K, V) bool) { root.all(yield) }
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
		n = &n.children[rank(n.parted, bit)]
	}
	if i := n.find(k); i >= 0 {
		return n.entries[i].val, true
	}
	return zero, false
}

func (n *node[K, V]) find(k K) int {
	return slices.IndexFunc(n.entries, func(e entry[K, V]) bool { return e.key == k })
}

// own makes what n holds changeable in place. Where n itself lies must be so already.
func (n *node[K, V]) own(e *edit) {
	if n.made != e {
		n.made, n.entries, n.children = e, slices.Clone(n.entries), slices.Clone(n.children)
	}
}

// put makes k lead to v, and reports whether k is new.
func (n *node[K, V]) put(e *edit, shift uint, hash uint64, k K, v V) (added bool) {
	n.own(e)
	if shift >= hashBits {
		if i := n.find(k); i >= 0 {
			n.entries[i].val = v
			return false
		}
		n.entries = inserted(n.entries, len(n.entries), entry[K, V]{key: k, val: v})
		return true
	}
	bit := slot(hash, shift)
	at := rank(n.held, bit)
	switch {
	case n.parted&bit != 0:
		return n.children[rank(n.parted, bit)].put(e, shift+branchBits, hash, k, v)
	case n.held&bit == 0:
		n.entries = inserted(n.entries, at, entry[K, V]{key: k, val: v})
		n.held |= bit
		return true
	case n.entries[at].key == k:
		n.entries[at].val = v
		return false
	}
	// Two keys in one slot go down into a child.
	old := n.entries[at]
	child := node[K, V]{made: e}
	child.put(e, shift+branchBits, hashOf(old.key), old.key, old.val)
	child.put(e, shift+branchBits, hash, k, v)
	n.entries = without(n.entries, at)
	n.held &^= bit
	n.children = slices.Insert(n.children, rank(n.parted, bit), child)
	n.parted |= bit
	return true
}

// remove takes k away, and reports whether it was there. A child that is left with one entry gives it to its parent, so
// that a table's size follows from what is in it and not from what once was.
func (n *node[K, V]) remove(e *edit, shift uint, hash uint64, k K) (removed bool) {
	n.own(e)
	if shift >= hashBits {
		i := n.find(k)
		if i >= 0 {
			n.entries = without(n.entries, i)
		}
		return i >= 0
	}
	bit := slot(hash, shift)
	at := rank(n.held, bit)
	switch {
	case n.held&bit != 0:
		if n.entries[at].key != k {
			return false
		}
		n.entries = without(n.entries, at)
		n.held &^= bit
		return true
	case n.parted&bit == 0:
		return false
	}
	c := rank(n.parted, bit)
	child := &n.children[c]
	removed = child.remove(e, shift+branchBits, hash, k)
	if len(child.entries) == 1 && len(child.children) == 0 {
		n.entries = inserted(n.entries, at, child.entries[0])
		n.held |= bit
		n.children = slices.Delete(n.children, c, c+1)
		n.parted &^= bit
	}
	return removed
}

func (n *node[K, V]) all(yield func(K, V) bool) bool {
	for i := range n.entries {
		if !yield(n.entries[i].key, n.entries[i].val) {
			return false
		}
	}
	for i := range n.children {
		if !n.children[i].all(yield) {
			return false
		}
	}
	return true
}

// inserted returns a copy of s with v at i, and no room to spare: there are as many of these slices as keys, nearly.
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
