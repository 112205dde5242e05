package fabric

import (
	"cmp"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The query protocols of EC2 and Elastic Load Balancing send a tree of parameters as a flat form: SubnetId.1,
// Filter.1.Value.2, Names.member.1. decodeQuery puts such a form into a struct whose fields name their parameter in a
// `q` tag, optionally followed by ",required". Fields are strings, pointers to bool or int (nil: not given), structs,
// pointers to structs (nil: not given), and slices of any of these. A field of type unsupported refuses its parameter.

// unsupported marks a parameter that the cloud knows and the fabric does not act on. Sending it is an error, as doing
// half of what was asked would be worse.
type unsupported struct{}

// dialect is where the two query protocols differ.
type dialect struct {
	member  string // between a list's name and the index; empty: nothing
	missing func(name string) *apiError
	unknown func(name string) *apiError // nil: unknown parameters are ignored
	invalid func(name, value, kind string) *apiError
	refused func(name string) *apiError
}

var ec2Dialect = dialect{
	missing: func(name string) *apiError {
		return fail("MissingParameter", "The request must contain the parameter %s", name)
	},
	unknown: func(name string) *apiError {
		return fail("UnknownParameter", "The parameter %s is not recognized", name)
	},
	invalid: func(name, value, kind string) *apiError {
		return fail("InvalidParameterValue", "Invalid value '%s' for %s. Must be %s.", value, name, kind)
	},
	refused: func(name string) *apiError {
		return fail("UnsupportedOperation", "The parameter %s is not supported here.", name)
	},
}

var elbDialect = dialect{
	member: "member",
	missing: func(name string) *apiError {
		return fail("ValidationError", "'%s' must be specified", name)
	},
	unknown: func(name string) *apiError {
		return fail("ValidationError", "The parameter %s is not recognized", name)
	},
	invalid: func(name, value, kind string) *apiError {
		return fail("ValidationError", "Invalid value '%s' for '%s': must be %s", value, name, kind)
	},
	refused: func(name string) *apiError {
		return fail("OperationNotPermitted", "The parameter '%s' is not supported here", name)
	},
}

// param is a node of the tree of parameters.
type param struct {
	name     string // whole, from the root
	value    string
	given    bool // the node itself has a value
	used     bool
	children map[string]*param
}

// deepestParam bounds the tree: no parameter of any action has as many parts.
const deepestParam = 12

// queryTree builds the tree. Of a parameter that is given twice the first counts.
func queryTree(values url.Values) *param {
	root := &param{}
	for name, all := range values {
		node := root
		for _, part := range strings.SplitN(name, ".", deepestParam) {
			if node.children == nil {
				node.children = map[string]*param{}
			}
			next := node.children[part]
			if next == nil {
				next = &param{name: strings.TrimPrefix(node.name+"."+part, ".")}
				node.children[part] = next
			}
			node = next
		}
		if len(all) > 0 {
			node.given, node.value = true, all[0]
		}
	}
	return root
}

// decodeQuery fills into, a pointer to a struct, from values.
func (d *dialect) decodeQuery(values url.Values, into any) *apiError {
	root := queryTree(values)
	if err := d.decodeStruct(root, reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	if extra := root.firstUnused(); extra != nil && d.unknown != nil {
		return d.unknown(extra.name)
	}
	return nil
}

func (p *param) firstUnused() *param {
	if p.given && !p.used {
		return p
	}
	for _, key := range slices.Sorted(maps.Keys(p.children)) {
		if extra := p.children[key].firstUnused(); extra != nil {
			return extra
		}
	}
	return nil
}

func (d *dialect) decodeStruct(node *param, into reflect.Value) *apiError {
	for i := range into.NumField() {
		field := into.Type().Field(i)
		if field.Anonymous {
			if err := d.decodeStruct(node, into.Field(i)); err != nil {
				return err
			}
			continue
		}
		name, option, _ := strings.Cut(field.Tag.Get("q"), ",")
		child := node.children[name]
		if child == nil {
			if option == "required" {
				return d.missing(strings.TrimPrefix(node.name+"."+name, "."))
			}
			continue
		}
		if err := d.decodeValue(child, into.Field(i)); err != nil {
			return err
		}
		if option == "required" && into.Field(i).IsZero() {
			return d.missing(child.name)
		}
	}
	return nil
}

func (d *dialect) decodeValue(node *param, into reflect.Value) *apiError {
	if into.Type() == reflect.TypeFor[unsupported]() {
		return d.refused(node.name)
	}
	switch into.Kind() {
	case reflect.Slice:
		return d.decodeList(node, into)
	case reflect.Struct:
		return d.decodeStruct(node, into)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return d.decodeValue(node, into.Elem())
	}
	if !node.given {
		return nil // only something below it, which is then unknown
	}
	node.used = true
	switch into.Kind() {
	case reflect.String:
		into.SetString(node.value)
	case reflect.Bool:
		value, err := strconv.ParseBool(strings.ToLower(node.value))
		if err != nil {
			return d.invalid(node.name, node.value, "true or false")
		}
		into.SetBool(value)
	case reflect.Int:
		value, err := strconv.ParseInt(node.value, 10, 32)
		if err != nil {
			return d.invalid(node.name, node.value, "a whole number")
		}
		into.SetInt(value)
	}
	return nil
}

// decodeList reads name.1, name.2 and so on, in the order of the numbers, gaps allowed. An empty list is sent as the
// name alone with an empty value.
func (d *dialect) decodeList(node *param, into reflect.Value) *apiError {
	if node.given && node.value == "" {
		node.used = true
	}
	if d.member != "" {
		if node = node.children[d.member]; node == nil {
			return nil
		}
	}
	type item struct {
		index uint64
		node  *param
	}
	var items []item
	for key, child := range node.children {
		index, err := strconv.ParseUint(key, 10, 32)
		if err != nil {
			continue // stays unused
		}
		items = append(items, item{index, child})
	}
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.node.name, b.node.name))
	})
	for _, item := range items {
		element := reflect.New(into.Type().Elem()).Elem()
		if err := d.decodeValue(item.node, element); err != nil {
			return err
		}
		into.Set(reflect.Append(into, element))
	}
	return nil
}
