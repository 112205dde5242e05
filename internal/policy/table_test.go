package policy

import (
	"maps"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestTable: a table is a map, and a copy of it does not see what the original goes on to become.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var now table[int, int]
		want := map[int]int{}
		type age struct {
			table table[int, int]
			want  map[int]int
		}
		var ages []age
		keys := rapid.SampledFrom([]int{4, 60, 10_000}).Draw(t, "keys")
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 5).Draw(t, "edits") {
			e := new(edit)
			removals := rapid.Float64Range(0, 1).Draw(t, "removals")
			for range rapid.IntRange(0, 2*keys).Draw(t, "changes") {
				k := chance.IntN(keys)
				if chance.Float64() < removals {
					now.remove(e, k)
					delete(want, k)
				} else {
					v := chance.Int()
					now.put(e, k, v)
					want[k] = v
				}
			}
			ages = append(ages, age{now, maps.Clone(want)})
		}
		for i, a := range ages {
			if got := maps.Collect(a.table.all()); !maps.Equal(got, a.want) || a.table.n != len(a.want) {
				t.Fatalf("age %d of %d: %d entries, %d of them in the table; want %d", i, len(ages), a.table.n, len(got), len(a.want))
			}
			for k := range keys {
				got, ok := a.table.get(k)
				if want, known := a.want[k]; got != want || ok != known {
					t.Fatalf("age %d of %d: get(%d) = %d, %t; want %d, %t", i, len(ages), k, got, ok, want, known)
				}
			}
			checkForm(t, &a.table.root, true)
		}
	})
}

// checkForm: below the root there is no node with nothing in it, and none that its parent could hold itself.
func checkForm(t *rapid.T, n *node[int, int], root bool) {
	if !root && len(n.children) == 0 && len(n.entries) < 2 {
		t.Fatalf("a node below the root with %d entries and no children", len(n.entries))
	}
	for i := range n.children {
		checkForm(t, &n.children[i], false)
	}
}

// TestTableOfKeysWithOneHash: no hash function promises that two keys differ in it.
func TestTableOfKeysWithOneHash(t *testing.T) {
	var deep node[string, int]
	for shift := uint(hashBits - hashBits%branchBits); ; shift -= branchBits {
		deep = node[string, int]{parted: slot(0, shift), children: []node[string, int]{deep}}
		if shift == 0 {
			break
		}
	}
	e := new(edit)
	for i, k := range []string{"a", "b", "c", "b"} {
		if added := deep.put(e, 0, 0, k, i); added != (i < 3) {
			t.Errorf("put(%s): added %t", k, added)
		}
	}
	before, e := deep, new(edit)
	if !deep.remove(e, 0, 0, "a") || deep.remove(e, 0, 0, "a") {
		t.Error("what is there is removed once")
	}
	for k, want := range map[string]int{"a": 0, "b": 3, "c": 2} {
		if got, ok := before.get(0, k); got != want || !ok {
			t.Errorf("get(%s) = %d, %t; want %d", k, got, ok, want)
		}
		if got, ok := deep.get(0, k); ok != (k != "a") || ok && got != want {
			t.Errorf("after the removal get(%s) = %d, %t", k, got, ok)
		}
	}
	deep.remove(e, 0, 0, "b")
	if len(deep.entries) != 1 || len(deep.children) != 0 {
		t.Errorf("the last entry did not come up: %+v", deep)
	}
	if got, ok := deep.get(0, "c"); got != 2 || !ok {
		t.Errorf("get(c) = %d, %t; want 2", got, ok)
	}
}

func TestSet(t *testing.T) {
	things := make([]int, 5)
	rapid.Check(t, func(t *rapid.T) {
		var now set[int]
		type age struct {
			set  set[int]
			want map[*int]bool
		}
		want := map[*int]bool{}
		ages := []age{{now, maps.Clone(want)}}
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			x := &things[rapid.IntRange(0, len(things)-1).Draw(t, "thing")]
			if rapid.Bool().Draw(t, "with") {
				now = now.with(new(edit), x)
				want[x] = true
			} else {
				now = now.less(new(edit), x)
				delete(want, x)
			}
			ages = append(ages, age{now, maps.Clone(want)})
		}
		for _, a := range ages {
			got := map[*int]bool{}
			for x := range a.set.all() {
				got[x] = true
			}
			if !maps.Equal(got, a.want) || a.set.empty() != (len(a.want) == 0) || (a.set.sole != nil) != (len(a.want) == 1) {
				t.Fatalf("%+v holds %v, want %v", a.set, got, a.want)
			}
			for i := range things {
				if a.set.has(&things[i]) != a.want[&things[i]] {
					t.Fatalf("has(%d) = %t", i, a.set.has(&things[i]))
				}
			}
			if a.set.has(nil) {
				t.Fatal("nobody is in the set")
			}
		}
	})
}
