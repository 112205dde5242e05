package postern

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postern/postern"

// law says which packages of ours each package may import; "*" is any. A package that is not here may not exist, and an
// arrow that is not here may not be drawn. Where the law stands in the way of a better design, change both, here and in
// docs/design.md, with the reason in docs/decisions. Rows of packages that do not exist yet are the plan for them.
// Tests may import across the law where they need real parts.
var law = map[string]string{
	".":                   "",
	"api":                 "",
	"internal/link":       "",
	"internal/l4":         "",
	"internal/flock":      "",
	"internal/servertest": "", // for tests alone, as is internal/storetest

	"internal/policy":     "internal/link",
	"internal/proxyconf":  "internal/link",
	"internal/clientcert": "internal/link",
	"internal/dnsplan":    "internal/link",
	"internal/plan":       "internal/link internal/policy",
	"internal/audit":      "internal/link",

	"internal/identity": "internal/link",
	"internal/openid":   "internal/link internal/identity",

	"internal/store":                  "internal/link internal/audit internal/flock",
	"internal/storetest":              "internal/servertest internal/store",
	"internal/cloud":                  "internal/link",
	"internal/cloud/awsprivatelink":   "internal/cloud internal/link",
	"internal/cloud/azureprivatelink": "internal/cloud internal/link",
	"internal/cloud/gcppsc":           "internal/cloud internal/link",
	"internal/cloud/cloudtest":        "internal/cloud internal/link",
	"internal/config":                 "internal/link",

	"internal/control":   "internal/link internal/policy internal/store internal/dnsplan internal/identity internal/audit internal/proxyconf internal/clientcert",
	"internal/reconcile": "internal/link internal/plan internal/policy internal/store internal/cloud internal/audit",
	"internal/notify":    "internal/link internal/store",
	// policy for its Caller alone, which every method of control takes: see docs/decisions/0003-httpapi-knows-the-caller.md.
	"internal/httpapi": "api internal/link internal/policy internal/control internal/identity internal/proxyconf internal/clientcert internal/dnsplan",
	"internal/console": "internal/link internal/policy internal/control internal/proxyconf internal/dnsplan",

	"internal/engine":      "internal/l4",
	"internal/backend":     "internal/link internal/l4",
	"internal/revocation":  "internal/link internal/clientcert",
	"internal/certificate": "internal/link",
	"internal/http2":       "",
	"internal/httpproxy":   "internal/link internal/proxyconf internal/clientcert internal/revocation internal/http2",
	"internal/gateway": "api internal/link internal/policy internal/l4 internal/engine internal/backend internal/httpproxy internal/clientcert " +
		"internal/revocation internal/certificate internal/flock",
	"internal/webserver": "internal/link internal/proxyconf internal/flock",
	"internal/proxytest": "internal/link internal/servertest", // for tests alone
	"internal/verify":    "internal/link internal/l4",
	"internal/connect":   "api internal/link internal/cloud internal/dnsplan internal/verify",
	"internal/fabric":    "internal/l4 internal/flock", // it speaks the cloud's language, not ours

	"internal/tfprovider":            "api",
	"cmd/postern":                    "*",
	"bench/rules":                    "*",
	"bench/reconcile":                "*",
	"bench/load":                     "*",
	"bench":                          "*", // drives the programs; its parts may stand in for any of ours
	"cmd/postern-gateway":            "api internal/link internal/policy internal/gateway internal/certificate internal/clientcert",
	"cmd/terraform-provider-postern": "internal/tfprovider",
}

// fences says in which packages a dependency may stand, by prefix of its import path; the longest prefix counts. A
// dependency without a row is not one of the product: adding one is a decision, and its row shows where it ends.
var fences = map[string]string{
	"github.com/aws/aws-sdk-go-v2": "internal/cloud/awsprivatelink internal/connect",
	"github.com/aws/smithy-go":     "internal/cloud/awsprivatelink internal/connect",

	"modernc.org/sqlite":                       "internal/store",
	"github.com/jackc/pgx":                     "internal/store internal/storetest",
	"github.com/pressly/goose":                 "internal/store",
	"github.com/riverqueue/river":              "internal/store internal/reconcile",
	"github.com/riverqueue/river/riverdriver":  "internal/store",
	"github.com/riverqueue/river/rivermigrate": "internal/store",

	"github.com/wneessen/go-mail": "internal/notify",

	"github.com/miekg/dns":           "internal/fabric internal/verify",
	"github.com/pires/go-proxyproto": "internal/fabric internal/verify", // the gateway's hot path reads its own

	"go.yaml.in/yaml":               "internal/config cmd/postern", // settings; of a reverse proxy, which people write by hand
	"github.com/danielgtaylor/huma": "internal/httpapi",
	"github.com/spf13/cobra":        "cmd/postern",
	"github.com/spf13/pflag":        "cmd/postern",
	"charm.land/lipgloss":           "cmd/postern",
	"golang.org/x/term":             "cmd/postern",

	"golang.org/x/crypto/cryptobyte": "internal/l4",
	"golang.org/x/time/rate":         "internal/httpapi",
	"golang.org/x/crypto/argon2":     "internal/identity",
	"golang.org/x/crypto/ocsp":       "internal/clientcert internal/revocation",
	"github.com/dlclark/regexp2":     "internal/clientcert",
	"github.com/coreos/go-oidc":      "internal/openid",
	"golang.org/x/oauth2":            "internal/openid",

	"golang.org/x/net/http2/hpack":   "internal/http2",
	"golang.org/x/net/http/httpguts": "internal/http2 internal/httpproxy", // which bytes a field may have

	// Which domains nobody can own alone: egress domain names stay below them.
	"golang.org/x/net/publicsuffix": "internal/control",

	"golang.org/x/sys/unix":               "internal/engine cmd/postern-gateway bench",
	"github.com/prometheus/client_golang": "internal/gateway cmd/postern",
	"go.opentelemetry.io/otel":            "cmd/postern internal/httpapi internal/store internal/reconcile internal/cloud/awsprivatelink",
	"go.opentelemetry.io/otel/sdk":        "cmd/postern",
	"go.opentelemetry.io/otel/exporters":  "cmd/postern",
	"github.com/caddyserver/certmagic":    "internal/certificate",
	"go.uber.org/zap":                     "internal/certificate", // certmagic's log, which is silenced

	// The conformance suite is test code that other packages' tests call.
	"github.com/google/go-cmp": "internal/cloud/cloudtest",
}

// pure packages take facts and return values: no clock, no I/O, no logger, no chance.
var pure = []string{
	"internal/policy", "internal/plan", "internal/dnsplan", "internal/proxyconf", "internal/audit", "internal/clientcert",
}

// pureFiles are the pure part of a package that also does I/O.
var pureFiles = []string{"internal/verify/judge"}

// impure is what pure code does without: import paths, with everything beneath those that end in a slash.
var impure = []string{
	"context", "net", "net/http", "net/http/", "os", "os/", "io/fs", "database/sql", "database/sql/", "log", "log/",
	"syscall", "math/rand", "math/rand/", "crypto/rand", "runtime", "sync", "sync/",
}

// clock is what of package time pure code does without.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// gatewayLinksNot is what the data path has to do without, however indirectly.
var gatewayLinksNot = []string{
	"modernc.org/sqlite", "github.com/jackc/pgx", "github.com/riverqueue/river", "github.com/pressly/goose", "database/sql",
	"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go", "github.com/danielgtaylor/huma",
}

func TestImportLaw(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		allowed, known := law[f.dir]
		if !known {
			t.Errorf("%s: package %s is not in the import law", f.path, f.dir)
			continue
		}
		for _, imp := range f.imports() {
			to, ours := ownPackage(imp)
			if ours && allowed != "*" && !slices.Contains(strings.Fields(allowed), to) {
				t.Errorf("%s: %s may not import %s", f.path, f.dir, to)
			}
		}
	}
}

func TestDependencyFences(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			if _, ours := ownPackage(imp); ours || !thirdParty(imp) {
				continue
			}
			allowed, known := fence(imp)
			if !known {
				t.Errorf("%s: %s is not a dependency of the product: give it a fence", f.path, imp)
			} else if allowed != "*" && !slices.Contains(strings.Fields(allowed), f.dir) {
				t.Errorf("%s: %s may stand only in %s", f.path, imp, allowed)
			}
		}
	}
}

// TestWireIsStandardLibrary: whoever imports the API client gets no dependency with it.
func TestWireIsStandardLibrary(t *testing.T) {
	for _, f := range sources(t) {
		for _, imp := range f.imports() {
			if f.dir == "api" && !f.test && strings.Contains(imp, ".") {
				t.Errorf("%s imports %s: package api is the standard library's only", f.path, imp)
			}
		}
	}
}

func TestPureCode(t *testing.T) {
	for _, f := range sources(t) {
		inPure := slices.Contains(pure, f.dir) ||
			slices.ContainsFunc(pureFiles, func(prefix string) bool { return strings.HasPrefix(f.path, prefix) })
		if f.test || !inPure {
			continue
		}
		for _, imp := range f.imports() {
			bad := slices.ContainsFunc(impure, func(p string) bool {
				return imp == p || strings.HasSuffix(p, "/") && strings.HasPrefix(imp, p)
			})
			if bad {
				t.Errorf("%s imports %s: pure code does no I/O, waits for nobody and throws no dice", f.path, imp)
			}
		}
		for _, at := range f.uses("time", clock...) {
			t.Errorf("%s: pure code is told the time, it does not look at the clock", at)
		}
	}
}

// TestGatewayStaysSmall follows the imports of the data path's program to their ends within this module.
func TestGatewayStaysSmall(t *testing.T) {
	imports := map[string][]string{}
	for _, f := range sources(t) {
		if !f.test {
			imports[f.dir] = append(imports[f.dir], f.imports()...)
		}
	}
	const program = "cmd/postern-gateway"
	if len(imports[program]) == 0 {
		t.Fatalf("%s imports nothing: this test looks at nothing", program)
	}
	from := map[string]string{program: ""}
	for todo := []string{program}; len(todo) > 0; todo = todo[1:] {
		for _, imp := range imports[todo[0]] {
			if to, ours := ownPackage(imp); ours {
				if _, seen := from[to]; !seen {
					from[to] = todo[0]
					todo = append(todo, to)
				}
			}
			for _, not := range gatewayLinksNot {
				if imp == not || strings.HasPrefix(imp, not+"/") {
					t.Errorf("%s links %s: %s", program, not, trail(from, todo[0]))
				}
			}
		}
	}
}

func trail(from map[string]string, pkg string) string {
	if from[pkg] == "" {
		return pkg
	}
	return fmt.Sprintf("%s → %s", trail(from, from[pkg]), pkg)
}

// ownPackage returns the folder of a package of this module.
func ownPackage(imp string) (string, bool) {
	if imp == module {
		return ".", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// thirdParty reports whether an import path is of a module: its first element has a dot.
func thirdParty(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".")
}

func fence(imp string) (allowed string, known bool) {
	longest := -1
	for prefix, where := range fences {
		if (imp == prefix || strings.HasPrefix(imp, prefix+"/")) && len(prefix) > longest {
			allowed, known, longest = where, true, len(prefix)
		}
	}
	return allowed, known
}
