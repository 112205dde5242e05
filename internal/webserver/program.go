package webserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// Program is a web server that is installed on this machine.
type Program struct {
	Server  link.WebServer
	Path    string
	Version proxyconf.Version
	OpenSSL proxyconf.Version // that it runs with; the zero value: it has none, or does not tell
}

// Target is what a text for this very program is rendered for.
func (p Program) Target() proxyconf.Target {
	return proxyconf.Target{Server: p.Server, Version: p.Version, OpenSSL: p.OpenSSL}
}

func (p Program) String() string { return fmt.Sprintf("%s %s", p.Server, p.Version) }

// kind is how a server's program is called and asked for its version.
type kind struct {
	names   []string
	pkg     string   // Debian's
	asked   []string // for the version
	version *regexp.Regexp
	openSSL *regexp.Regexp
}

var kinds = map[link.WebServer]kind{
	link.NGINX: {
		names: []string{"nginx"}, pkg: "nginx", asked: []string{"-V"}, version: regexp.MustCompile(`nginx/([\d.]+)`),
		// The library that it was built with comes first, that which it runs with after it, when they differ.
		openSSL: regexp.MustCompile(`(?:running with|built with) OpenSSL (\d+\.\d+\.\d+)[^)\n]*\)?\n`),
	},
	link.Apache: {
		names: []string{"apache2", "httpd"}, pkg: "apache2", asked: []string{"-v"}, version: regexp.MustCompile(`Apache/([\d.]+)`),
	},
	link.HAProxy: {
		names: []string{"haproxy"}, pkg: "haproxy", asked: []string{"-vv"}, version: regexp.MustCompile(`version (\d+\.\d+(?:\.\d+)?)`),
		openSSL: regexp.MustCompile(`Running on OpenSSL version : OpenSSL (\d+\.\d+\.\d+)`),
	},
	link.Caddy: {
		names: []string{"caddy"}, pkg: "caddy", asked: []string{"version"}, version: regexp.MustCompile(`v?(\d+\.\d+\.\d+)`),
	},
}

// systemFolders are where servers are that only root has in its PATH.
var systemFolders = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Find returns the installed program of a server. Without one the error is a *link.Error of kind Precondition that names the
// Debian package.
func Find(ctx context.Context, server link.WebServer) (Program, error) {
	k, foreign := kinds[server]
	if !foreign {
		return Program{}, &link.Error{
			Kind: link.Invalid, Reason: "NO_PROGRAM", Message: fmt.Sprintf("the server %s has no program of its own", link.Quote(string(server))),
			Hint: "the gateway is given its settings by the control plane, which checks them",
		}
	}
	p := Program{Server: server, Path: lookup(k.names)}
	if p.Path == "" {
		return Program{}, &link.Error{
			Kind: link.Precondition, Reason: "NOT_INSTALLED", Message: fmt.Sprintf("%s is not installed here", server),
			Hint: fmt.Sprintf("Debian has it in the package %s; or look on the machine that runs it", k.pkg),
		}
	}
	said, err := run(ctx, 0, nil, append([]string{p.Path}, k.asked...)...)
	if err != nil {
		return Program{}, fmt.Errorf("ask %s for its version: %w: %s", p.Path, err, said)
	}
	m := k.version.FindStringSubmatch(said)
	if m == nil {
		return Program{}, fmt.Errorf("%s does not tell its version: %s", p.Path, said)
	}
	if p.Version, err = proxyconf.ParseVersion(strings.TrimSuffix(m[1], ".")); err != nil {
		return Program{}, err
	}
	if k.openSSL != nil {
		if all := k.openSSL.FindAllStringSubmatch(said, -1); len(all) > 0 {
			p.OpenSSL, err = proxyconf.ParseVersion(all[len(all)-1][1])
		}
	} else if server == link.Apache {
		p.OpenSSL, err = systemOpenSSL(ctx)
	}
	return p, err
}

// lookup returns the path of the first program that there is.
func lookup(names []string) string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		for _, dir := range systemFolders {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				return path
			}
		}
	}
	return ""
}

var openSSLVersion = regexp.MustCompile(`OpenSSL (\d+\.\d+\.\d+)`)

// systemOpenSSL is the version of the system's library, which Apache's module uses and does not tell; the zero value when
// it is not known.
func systemOpenSSL(ctx context.Context) (proxyconf.Version, error) {
	path := lookup([]string{"openssl"})
	if path == "" {
		return proxyconf.Version{}, nil
	}
	said, err := run(ctx, 0, nil, path, "version")
	m := openSSLVersion.FindStringSubmatch(said)
	if err != nil || m == nil {
		return proxyconf.Version{}, nil //nolint:nilerr // another implementation of that name: not known
	}
	return proxyconf.ParseVersion(m[1])
}
