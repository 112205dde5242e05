package httpproxy

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// view is how one request looks from both sides: by which origin the client knows the gateway, and by which way it went.
type view struct {
	site     *Site
	way      *route
	listener link.Listener
	scheme   string
	host     string // as the client names it, with the port where it gives one
	node     string // the address of the node that answers
}

// Where an address leads.
type whither uint8

const (
	inside   whither = iota // to this origin, or it is relative
	sideways                // to another name of the site at this listener
	outside
)

// address is an address as it stands in a head. Nothing in it is decoded.
type address struct {
	scheme, authority string // empty of a relative one
	path              string // with query and fragment
}

// cutAddress cuts an address apart. It reports false for one that is relative to the request's path, which means the same
// on both sides, and for what is none.
func cutAddress(s string) (address, bool) {
	if strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") {
		return address{path: s}, true
	}
	scheme, rest, ok := strings.Cut(s, "//")
	if !ok || scheme != "" && !strings.HasSuffix(scheme, ":") {
		return address{}, false
	}
	a := address{scheme: strings.ToLower(strings.TrimSuffix(scheme, ":")), authority: rest, path: "/"}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		a.authority, a.path = rest[:i], rest[i:]
	}
	return a, true
}

// turn turns an address of the application into the client's, and says where it leads.
func (v *view) turn(s string) (string, whither) {
	a, ok := cutAddress(s)
	if !ok {
		if i := strings.IndexAny(s, ":/?#"); i >= 0 && s[i] == ':' {
			return s, outside // a scheme without an authority
		}
		return s, inside
	}
	if strings.HasPrefix(a.path, "\\") || strings.Contains(a.authority, "\\") {
		return s, outside // where some see a path and some a host
	}
	switch {
	case a.authority == "":
		if a.scheme != "" {
			return s, outside
		}
		return v.back(a.path), inside
	case v.own(a):
		return v.scheme + "://" + v.host + v.back(a.path), inside
	case v.beside(a):
		return s, sideways
	}
	return s, outside
}

// own reports whether an authority is this origin, or the node as the application itself may know it.
func (v *view) own(a address) bool {
	if strings.EqualFold(a.authority, v.host) {
		return true
	}
	authority := strings.ToLower(a.authority)
	if v.site.addresses[authority] || authority == v.node {
		return true
	}
	host, port := cutPort(authority)
	mine, myPort := cutPort(strings.ToLower(v.host))
	if host != mine {
		return false
	}
	return samePort(a.scheme, port, v.scheme, myPort)
}

// samePort compares ports of which an empty one is its scheme's own. An application that knows nothing of the gateway's
// TLS says http where it means the same origin.
func samePort(scheme, port, myScheme, myPort string) bool {
	if port == "" && myPort == "" {
		return true
	}
	return defaultPort(scheme, port) == defaultPort(myScheme, myPort)
}

func defaultPort(scheme, port string) string {
	switch {
	case port != "":
		return port
	case scheme == "http":
		return "80"
	}
	return "443"
}

// cutPort cuts the port off an authority; it is empty where there is none.
func cutPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}

// beside reports whether an address is of another name of the site, by which the client stays on its path.
func (v *view) beside(a address) bool {
	if a.scheme != "" && a.scheme != "https" {
		return false
	}
	host, port := cutPort(strings.ToLower(a.authority))
	if _, ok := v.site.find(v.listener, host); !ok {
		return false
	}
	_, myPort := cutPort(v.host)
	return samePort("https", port, v.scheme, myPort) || v.site.portOf(port)
}

// portOf reports whether a port, as a text, is a repository's.
func (s *Site) portOf(port string) bool {
	n, ok := parseLength(port)
	return ok && n < 1<<16 && s.ports[uint16(n)] != ""
}

// back turns a path of the application, perhaps with a query, into the client's.
func (v *view) back(path string) string {
	s := v.site
	if v.way.docker {
		if rest, ok := strings.CutPrefix(path, s.registry); ok {
			key, rest, _ := strings.Cut(rest, "/")
			bare, _, _ := strings.Cut(rest, "?")
			switch {
			case !isDocker("/" + bare):
			case s.docker == link.DockerPath:
				return "/" + rest[:len("v2")] + "/" + key + rest[len("v2"):]
			case key == v.way.repository:
				return "/" + rest
			}
		}
	}
	if s.public != s.app {
		bare, _, _ := strings.Cut(path, "?")
		if within(bare, s.app) {
			return s.public + path[len(s.app):]
		}
	}
	return path
}

// turnLinks turns the addresses between angle brackets of a Link field (RFC 8288).
func (v *view) turnLinks(value string) string {
	if !strings.Contains(value, "<") {
		return value
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(value, "<")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		target, after, ok := strings.Cut(rest, ">")
		if !ok {
			b.WriteString("<" + rest)
			return b.String()
		}
		turned, _ := v.turn(target)
		b.WriteString("<" + turned + ">")
		value = after
	}
}

// turnChallenge turns the realm of a Bearer challenge, where Docker clients get their tokens. Other schemes' realms are
// names, not addresses.
func (v *view) turnChallenge(value string) string {
	const scheme = "bearer "
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return value
	}
	at := indexFold(value, `realm="`)
	if at < 0 {
		return value
	}
	begin := at + len(`realm="`)
	end := strings.IndexByte(value[begin:], '"')
	if end < 0 {
		return value
	}
	realm := value[begin : begin+end]
	if turned, where := v.turn(realm); where == inside {
		if strings.HasPrefix(turned, "/") { // clients want the whole address
			turned = v.scheme + "://" + v.host + turned
		}
		return value[:begin] + turned + value[begin+end:]
	}
	return value
}

// indexFold is strings.Index of a lower-case text, whatever the case in s.
func indexFold(s, lower string) int {
	for i := 0; i+len(lower) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(lower)], lower) {
			return i
		}
	}
	return -1
}

// turnCookie turns the path of a Set-Cookie field.
func (v *view) turnCookie(value string) string {
	if v.site.public == v.site.app {
		return value
	}
	parts := strings.Split(value, ";")
	for i, part := range parts[1:] {
		name, path, ok := strings.Cut(part, "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "path") && within(strings.TrimSpace(path), v.site.app) {
			parts[i+1] = name + "=" + v.site.public + strings.TrimSpace(path)[len(v.site.app):]
		}
	}
	return strings.Join(parts, ";")
}
