package link

import (
	"errors"
	"strings"
	"testing"
)

func TestParseEndpointID(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		ok   bool
	}{
		{"seventeen digits", "vpce-0a1b2c3d4e5f60718", true},
		{"eight digits, as older endpoints have", "vpce-0a1b2c3d", true},
		{"nothing", "", false},
		{"no digits", "vpce-", false},
		{"a word", "vpce-nope", false},
		{"upper case", "VPCE-0A1B2C3D4E5F60718", false},
		{"upper-case digits", "vpce-0A1B2C3D4E5F60718", false},
		{"sixteen digits", "vpce-0a1b2c3d4e5f6071", false},
		{"eighteen digits", "vpce-0a1b2c3d4e5f607180", false},
		{"a service's id", "vpce-svc-0a1b2c3d4e5f60718", false},
		{"space around", " vpce-0a1b2c3d4e5f60718", false},
		{"line break after", "vpce-0a1b2c3d4e5f60718\n", false},
		{"a zero byte", "vpce-0a1b2c3d4e5f6071\x00", false},
		{"other digits of Unicode", "vpce-٠١٢٣٤٥٦٧", false},
		{"300 characters", "vpce-" + strings.Repeat("a", 295), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := ParseEndpointID(AWS, c.in)
			if (err == nil) != c.ok {
				t.Fatalf("%q: %v", c.in, err)
			}
			if c.ok {
				if string(id) != c.in {
					t.Errorf("%q became %q", c.in, id)
				}
				return
			}
			e, typed := errors.AsType[*Error](err)
			if !typed || e.Kind != Invalid || e.Reason != "MALFORMED_ENDPOINT_ID" || e.Field != "endpoint_id" || e.Hint == "" {
				t.Errorf("%q: %#v", c.in, err)
			}
			if id != "" {
				t.Errorf("%q was refused and yet became %q", c.in, id)
			}
			if len(err.Error()) > 200 {
				t.Errorf("the message repeats all of a long input: %d bytes", len(err.Error()))
			}
		})
	}
	if _, err := ParseEndpointID(GCP, "12345"); KindOf(err) != Invalid {
		t.Errorf("a provider without endpoint ids yet: %v", err)
	}
}

// FuzzEndpointID: whatever is taken for an endpoint id is one to the letter, and nothing breaks.
func FuzzEndpointID(f *testing.F) {
	for _, s := range []string{"vpce-0a1b2c3d4e5f60718", "vpce-0a1b2c3d", "vpce-nope", "VPCE-0A1B2C3D", "", "vpce-svc-0a1b2c3d4e5f60718", "vpce-0a1b2c3d\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseEndpointID(AWS, s)
		if err != nil {
			if id != "" || KindOf(err) != Invalid {
				t.Fatalf("%q: %q, %v", s, id, err)
			}
			return
		}
		hex := strings.TrimPrefix(s, "vpce-")
		if string(id) != s || hex == s || len(hex) != 8 && len(hex) != 17 || strings.Trim(hex, "0123456789abcdef") != "" {
			t.Fatalf("%q was taken for an endpoint id", s)
		}
	})
}

func TestParsePrefix(t *testing.T) {
	for _, c := range []struct {
		name   string
		ip     string
		mask   int
		reason string // empty: it is a range
	}{
		{"a range", "203.0.113.0", 24, ""},
		{"one address", "203.0.113.7", 32, ""},
		{"everybody", "0.0.0.0", 0, ""},
		{"everybody by IPv6", "::", 0, ""},
		{"a range by IPv6", "2001:db8::", 32, ""},
		{"host bits", "203.0.113.7", 24, "HOST_BITS_SET"},
		{"host bits by IPv6", "2001:db8::1", 64, "HOST_BITS_SET"},
		{"mask too long", "203.0.113.0", 33, "MALFORMED_MASK"},
		{"mask below zero", "203.0.113.0", -1, "MALFORMED_MASK"},
		{"no address", "office", 24, "MALFORMED_ADDRESS"},
		{"leading zeros", "203.000.113.0", 24, "MALFORMED_ADDRESS"},
		{"with a zone", "fe80::1%eth0", 128, "MALFORMED_ADDRESS"},
		{"IPv4 in IPv6", "::ffff:203.0.113.0", 120, "MALFORMED_ADDRESS"},
		{"nothing", "", 0, "MALFORMED_ADDRESS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePrefix(c.ip, c.mask)
			if c.reason == "" {
				if err != nil || p.Addr().String() != c.ip || p.Bits() != c.mask {
					t.Fatalf("%v, %v", p, err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != Invalid || e.Reason != c.reason || e.Field == "" || e.Hint == "" {
				t.Fatalf("%#v, want reason %s", err, c.reason)
			}
		})
	}
}

func TestParseIDs(t *testing.T) {
	id := NewID()
	if got, err := ParseID("cluster_id", string(id)); err != nil || got != id {
		t.Errorf("a new id is not one: %q, %v", id, err)
	}
	if NewID() == id {
		t.Error("two new ids are the same")
	}
	for _, s := range []string{"", "acme", strings.ToUpper(string(id)), string(id) + "0", "0b9f6c1e_6a4e_4a57_9a35_0d9d9a7f4c11"} {
		if _, err := ParseID("cluster_id", s); KindOf(err) != Invalid {
			t.Errorf("%q: %v", s, err)
		}
	}
	for s, ok := range map[string]bool{"123456789012": true, "*": true, "": false, "12345678901": false, "1234567890123": false, "12345678901x": false, "**": false} {
		if _, err := ParseAccountID("external_owner_id", s); (err == nil) != ok {
			t.Errorf("account %q: %v", s, err)
		}
	}
}
