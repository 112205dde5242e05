package httpproxy

import (
	"net/url"
	"strings"

	"github.com/postern/postern/internal/link"
)

// route is what becomes of a request's target: where it goes at the application, and how the application's own words for
// paths are turned back into the client's.
type route struct {
	target     string // for the application: path and query as they go out; or "*"
	direct     bool   // the nodes' direct port serves it
	docker     bool   // a Docker client asked
	repository string // of a Docker client
	ticket     string // the sealed address of a redirect that is to be followed: nothing is asked of the application
}

// ticketPath is where the addresses of RedirectRewrite are.
const ticketPath = "/.postern/redirect/"

// route finds the way of a target at a host that names the given repository, by its subdomain or its port; empty when it
// names none.
func (s *Site) route(target, repository string) (route, *failure) {
	if target == "*" {
		return route{target: target}, nil
	}
	path, query, asked := strings.Cut(target, "?")
	if hasDots(path) {
		return route{docker: isDocker(path)}, badPath
	}
	if strings.HasPrefix(path, ticketPath) {
		return route{ticket: path[len(ticketPath):]}, nil
	}
	if s.docker != link.DockerNone && isDocker(path) {
		switch {
		case repository != "":
			return route{target: s.registry + repository + target, direct: true, docker: true, repository: repository}, nil
		case s.docker == link.DockerPath:
			return s.routeByPath(path, query, asked)
		}
	}
	r := route{target: target}
	if s.public != s.app && within(path, s.public) {
		path = s.app + path[len(s.public):]
		r.target = path
		if asked {
			r.target += "?" + query
		}
	}
	r.direct = within(path, s.app)
	return r, nil
}

// routeByPath finds the way of a Docker client that names the repository as the first segment behind the version.
func (s *Site) routeByPath(path, query string, asked bool) (route, *failure) {
	version, rest := path[:len("/v2")], strings.TrimPrefix(path[len("/v2"):], "/")
	r := route{direct: true, docker: true}
	key, name, named := strings.Cut(rest, "/")
	switch {
	case rest == "" || rest == "token":
		// Whoever asks whether this is a registry learns how to sign in there. All repositories are one application's, so
		// that the first one's answer is right for all; where none is known, the application itself has to answer.
		if len(s.keys) == 0 {
			r.target, r.direct = path, false
			if asked {
				r.target += "?" + query
			}
			return r, nil
		}
		r.repository, name = s.keys[0], rest
	case !named || !isKey(key):
		return r, noRepository
	default:
		r.repository = key
	}
	r.target = s.registry + r.repository + version + "/" + name
	if asked {
		r.target += "?" + withoutRepository(query, r.repository, name == "token")
	}
	return r, nil
}

// withoutRepository takes the repository's key out of a query that names images with it: the source of a mount, and the
// scopes of a token.
func withoutRepository(query, repository string, token bool) string {
	if !strings.Contains(query, "from=") && (!token || !strings.Contains(query, "scope=")) {
		return query
	}
	parts := strings.Split(query, "&")
	kept := parts[:0]
	foreign := false
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		text, err := url.QueryUnescape(value)
		switch {
		case name == "from" && !token:
			image, ok := strings.CutPrefix(text, repository+"/")
			if err != nil || !ok {
				foreign = true
				continue
			}
			part = "from=" + url.QueryEscape(image)
		case name == "scope" && token && err == nil:
			scopes := strings.Split(text, " ")
			for i, scope := range scopes {
				if image, ok := strings.CutPrefix(scope, "repository:"+repository+"/"); ok {
					scopes[i] = "repository:" + image
				}
			}
			part = "scope=" + url.QueryEscape(strings.Join(scopes, " "))
		}
		kept = append(kept, part)
	}
	if foreign {
		// A blob of another repository cannot be mounted, since the application's registries are one each: without the
		// parameters the client is asked to send it.
		all := kept
		kept = kept[:0]
		for _, part := range all {
			if name, _, _ := strings.Cut(part, "="); name != "mount" {
				kept = append(kept, part)
			}
		}
	}
	return strings.Join(kept, "&")
}

// isDocker reports whether a path is of the registry's API.
func isDocker(path string) bool {
	return len(path) >= 3 && path[0] == '/' && path[1] == 'v' && (path[2] == '1' || path[2] == '2') && (len(path) == 3 || path[3] == '/')
}

// within reports whether a path is that of a context, "/x", or below it.
func within(path, context string) bool {
	return strings.HasPrefix(path, context) && (len(path) == len(context) || path[len(context)] == '/')
}

// isKey reports whether s may be a repository's key.
func isKey(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// hasDots reports whether a path has a segment that leads elsewhere, in any of the spellings that some server knows: "."
// and "..", escaped, and with parameters behind them. No client sends one.
func hasDots(path string) bool {
	if !strings.Contains(path, ".") && !strings.Contains(path, "%") {
		return false
	}
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		segment, _, _ = strings.Cut(segment, ";")
		dots := 0
		for segment != "" && dots < 3 {
			switch {
			case segment[0] == '.':
				segment = segment[1:]
			case len(segment) >= 3 && segment[0] == '%' && segment[1] == '2' && (segment[2] == 'e' || segment[2] == 'E'):
				segment = segment[3:]
			default:
				dots = 3
				continue
			}
			dots++
		}
		if segment == "" && (dots == 1 || dots == 2) {
			return true
		}
	}
	return false
}
