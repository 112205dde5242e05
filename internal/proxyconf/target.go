package proxyconf

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Version is a program's version. Parts that were not told are 0.
type Version struct {
	Major, Minor, Patch int
}

// ParseVersion reads "1", "1.22" or "1.22.1".
func ParseVersion(s string) (Version, error) {
	var n [3]int
	parts := strings.Split(s, ".")
	if len(parts) > len(n) {
		return Version{}, fmt.Errorf("not a version: %s", link.Quote(s))
	}
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("not a version: %s", link.Quote(s))
		}
		n[i] = int(v)
	}
	return Version{n[0], n[1], n[2]}, nil
}

// Compare returns -1, 0 or 1 as v is before, equal to or after w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

func (v Version) String() string {
	if v.Patch == 0 {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// before reports whether v is older than the given version.
func (v Version) before(major, minor, patch int) bool {
	return v.Compare(Version{major, minor, patch}) < 0
}

// Target is the program that a text is for.
type Target struct {
	Server  link.WebServer
	Version Version // of the server; the zero value is Debian 12's, and so is Debian 12's without its last part
	OpenSSL Version // that the server runs with; the zero value is Debian 12's. Caddy and the gateway have none
}

// debian12 are the versions of a target that names none, or the same without its last part.
var debian12 = map[link.WebServer]Version{
	link.NGINX: {1, 22, 1}, link.Apache: {2, 4, 57}, link.HAProxy: {2, 6, 12}, link.Caddy: {2, 6, 2},
}

// debian12OpenSSL is the library that Debian 12's servers run with.
var debian12OpenSSL = Version{3, 0, 0}

// ParseTarget reads the form of --target: a server, with its version ("nginx=1.22"), and with that of the OpenSSL that it runs
// with ("nginx=1.28.0,openssl=3.5"). "embedded" is another word for direct. Errors are *link.Error of kind Invalid with the
// field target.
func ParseTarget(s string) (Target, error) {
	first, rest, more := strings.Cut(s, ",")
	name, version, versioned := strings.Cut(first, "=")
	t := Target{Server: link.WebServer(name)}
	if name == "embedded" {
		t.Server = link.Embedded
	}
	if !known(t.Server) {
		return Target{}, wrong("target", "UNKNOWN_SERVER", "not a web server: "+link.Quote(name), "one of "+serverList)
	}
	var err error
	if versioned {
		if t.Version, err = ParseVersion(version); err != nil {
			return Target{}, wrong("target", "MALFORMED_TARGET", err.Error(), "for example nginx=1.22")
		}
	}
	if more {
		openssl, ok := strings.CutPrefix(rest, "openssl=")
		if ok {
			t.OpenSSL, err = ParseVersion(openssl)
		}
		if !ok || err != nil {
			return Target{}, wrong("target", "MALFORMED_TARGET", "not an OpenSSL version: "+link.Quote(rest), "for example nginx=1.28,openssl=3.5")
		}
	}
	return t, nil
}

// String returns what ParseTarget reads, with every version told.
func (t Target) String() string {
	all := t.complete()
	switch t.Server {
	case link.Embedded:
		return string(t.Server)
	case link.Caddy:
		return fmt.Sprintf("%s=%s", t.Server, all.Version)
	default:
		return fmt.Sprintf("%s=%s,openssl=%s", t.Server, all.Version, all.OpenSSL)
	}
}

// complete returns t with every version told.
func (t Target) complete() Target {
	out, d := t, debian12[t.Server]
	if t.Version == (Version{}) || t.Version == (Version{Major: d.Major, Minor: d.Minor}) {
		out.Version = d
	}
	if t.OpenSSL == (Version{}) {
		out.OpenSSL = debian12OpenSSL
	}
	return out
}
