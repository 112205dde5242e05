package policy

import "iter"

// set is a set of things known by their pointers, most often of one alone, which costs nothing beyond the set itself.
// It never changes. The zero value is empty.
type set[T any] struct {
	sole *T                   // set when there is exactly one
	many *table[*T, struct{}] // set when there are several
}

func (s set[T]) has(x *T) bool {
	if s.many == nil {
		return s.sole == x && x != nil
	}
	_, ok := s.many.get(x)
	return ok
}

func (s set[T]) empty() bool { return s.sole == nil && s.many == nil }

// with returns s and x.
func (s set[T]) with(e *edit, x *T) set[T] {
	var many table[*T, struct{}]
	switch {
	case s.sole == x || s.empty():
		return set[T]{sole: x}
	case s.many != nil:
		many = *s.many
	default:
		many.put(e, s.sole, struct{}{})
	}
	many.put(e, x, struct{}{})
	return set[T]{many: &many}
}

// less returns s without x.
func (s set[T]) less(e *edit, x *T) set[T] {
	if s.many == nil {
		if s.sole == x {
			return set[T]{}
		}
		return s
	}
	many := *s.many
	many.remove(e, x)
	if many.n == 1 {
		for last := range many.all() {
			return set[T]{sole: last}
		}
	}
	return set[T]{many: &many}
}

// all ranges over the set in no particular order.
func (s set[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if s.sole != nil {
			yield(s.sole)
		}
		if s.many != nil {
			s.many.root.all(func(x *T, _ struct{}) bool { return yield(x) })
		}
	}
}
