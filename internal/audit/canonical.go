package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// errCanonical is what is wrong with bytes that could have been written in another way.
var errCanonical = errors.New("not written in the one form of RFC 8785")

// appendCanonical appends a decoded JSON value in the one form that RFC 8785 gives it: no white space, names in the order of
// their UTF-16 code units, nothing escaped that need not be. Numbers are integers; the format has no others, so that nothing
// hangs on how somebody prints a fraction.
func appendCanonical(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return fmt.Appendf(b, "%t", v), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		if !isInteger(string(v)) {
			return nil, fmt.Errorf("the number %s is not an integer in its shortest form", v)
		}
		return append(b, v...), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.SortedFunc(maps.Keys(v), compareUTF16) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			var err error
			if b, err = appendCanonical(b, v[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("%T has no canonical form", v)
}

// compareUTF16 is the order of RFC 8785, section 3.2.3. It differs from that of the bytes beyond the basic plane.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendString appends s quoted as RFC 8785, section 3.2.2.2, says.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			if r < ' ' {
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = append(b, string(r)...)
			}
		}
	}
	return append(b, '"')
}

func isInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 19 || digits[0] == '0' && s != "0" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// decode reads one JSON value that fills b, with numbers as they are spelt.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// checkCanonical refuses bytes that are not the canonical form of a JSON value.
func checkCanonical(b []byte) error {
	v, err := decode(b)
	if err != nil {
		return err
	}
	again, err := appendCanonical(make([]byte, 0, len(b)), v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return errCanonical
	}
	return nil
}

// read reads b into v, a pointer to a struct, and refuses bytes other than those that v is written as: there is one way to
// write what a reader takes for the same, and no byte can change unnoticed.
func read(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := canonical(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return errCanonical
	}
	return nil
}

// canonical is the canonical form of what json.Marshal makes of v.
func canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	tree, err := decode(b)
	if err != nil {
		return nil, err
	}
	return appendCanonical(nil, tree)
}
