package httpproxy

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/postern/postern/internal/link"
)

// h2spec tries what HTTP/2 (RFC 9113) and its header compression (RFC 7541) ask of a server.
func TestConformance(t *testing.T) {
	if exec.CommandContext(t.Context(), "go", "mod", "download", "-C", "../../test/h2spec").Run() != nil {
		t.Skip("needs h2spec (from the Go module github.com/summerwind/h2spec)") // of all that these tests need from a proxy, it alone is not the product's
	}
	program := filepath.Join(t.TempDir(), "h2spec")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../../test/h2spec", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w := newWorld(t, http.HandlerFunc(echo), func(c *link.ClusterRules) { c.PublicNames = append(c.PublicNames, "localhost") }, nil)
	_, port, err := net.SplitHostPort(w.address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "--tls", "--insecure", "--strict", "--host", "localhost", "--port", port, "--path", "/x", "--timeout", "60").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}
