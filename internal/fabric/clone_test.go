package fabric

import (
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A copy of the state equals it and shares nothing with it that could be written to, in whatever field: a transition on
// the copy must not show in what readers hold.
func TestCloneSharesNothing(t *testing.T) {
	full := new(State)
	fill(reflect.ValueOf(full).Elem(), new(int))
	copied := full.clone()
	if diff := cmp.Diff(full, copied, stateOptions...); diff != "" {
		t.Errorf("the copy differs (-original +copy):\n%s", diff)
	}
	if full.settle != copied.settle {
		t.Error("the copy lost its settle time")
	}
	owned := map[uintptr]string{}
	visit(reflect.ValueOf(full).Elem(), "State", func(path string, address uintptr) { owned[address] = path })
	if len(owned) < 40 {
		t.Fatalf("only %d places that can be written to were found", len(owned))
	}
	visit(reflect.ValueOf(copied).Elem(), "State", func(path string, address uintptr) {
		if original, shared := owned[address]; shared {
			t.Errorf("%s of the copy is %s of the original", path, original)
		}
	})
}

// whole says whether values of a type are copied by assignment although they may have pointers inside.
func whole(typ reflect.Type) bool {
	switch typ {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix]():
		return true
	}
	return false
}

// fill puts one element into every table and list below v, and something else than zero into every field.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 0).UTC()))
		return
	case whole(v.Type()):
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString("text" + strconv.Itoa(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("the state has a field of a kind that this test does not know: " + v.Type().String())
	}
}

// visit calls seen for every map, slice and pointer below v.
func visit(v reflect.Value, path string, seen func(path string, address uintptr)) {
	if whole(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				visit(v.Field(i), path+"."+field.Name, seen)
			}
		}
	case reflect.Map:
		seen(path, v.Pointer())
		for _, key := range v.MapKeys() {
			visit(v.MapIndex(key), path+"[]", seen)
		}
	case reflect.Slice:
		seen(path, v.Pointer())
		for i := range v.Len() {
			visit(v.Index(i), path+"[]", seen)
		}
	case reflect.Pointer:
		seen(path, v.Pointer())
		visit(v.Elem(), path, seen)
	}
}
