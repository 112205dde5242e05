package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/servertest"
)

// The tests in the files that end in _linux_test.go beside this one meet the gateway with other people's programs: as
// clients, as the load balancer in front and as the servers behind.

// programPatient is how long a program may take for what it has to do, on a machine that is busy with other tests.
const programPatient = 60 * time.Second

// customer is the address of a client behind an endpoint, as the balancers of these tests tell it.
var customer = netip.MustParseAddrPort("10.1.2.3:40000")

// endpointDoor is where programs that cannot write a PROXY header come in: a load balancer that tells the gateway that
// they came through an endpoint to a port. It returns its own address.
func (w *world) endpointDoor(endpoint string, port uint16) netip.AddrPort {
	w.t.Helper()
	header := l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source: customer, Destination: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.9"), port), AWSEndpoint: endpoint,
	})
	addr := server(w.t, func(client net.Conn) {
		var d net.Dialer
		gateway, err := d.DialContext(w.t.Context(), "tcp", w.g.PrivateAddr().String())
		if err != nil {
			return // the test is over
		}
		defer gateway.Close()
		if _, err := gateway.Write(header); err != nil {
			return
		}
		var up sync.WaitGroup
		up.Go(func() { pass(gateway, client) })
		pass(client, gateway)
		up.Wait()
	})
	return netip.MustParseAddrPort(addr)
}

// pass copies one direction, and passes on how it ended: by a half-close, or as a failure of both.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = to.Close(), from.Close()
		return
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

// trust writes the certificate of the world's servers where programs read it.
func (w *world) trust() (path string) {
	w.t.Helper()
	chain, _ := servertest.PEM(w.t, w.cert)
	return w.file("ca.pem", string(chain))
}

// identity writes certificate and key of the world's servers into one file.
func (w *world) identity() (path string) {
	w.t.Helper()
	chain, key := servertest.PEM(w.t, w.cert)
	return w.file("server.pem", string(chain)+string(key))
}

// file writes a file for a program.
func (w *world) file(name, text string) (path string) {
	w.t.Helper()
	path = filepath.Join(w.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// said is what a program printed, and how it ended.
type said struct {
	out, errors string
	code        int // -1: by a signal
}

// call runs a program to its end, with stdin empty when it is nil.
func call(t *testing.T, stdin io.Reader, env []string, path string, args ...string) said {
	t.Helper()
	var out bytes.Buffer
	s := callInto(t, &out, stdin, env, path, args...)
	s.out = out.String()
	return s
}

// callInto is call for a program that prints much.
func callInto(t *testing.T, out io.Writer, stdin io.Reader, env []string, path string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programPatient)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, &errs
	cmd.Env = slices.Concat(os.Environ(), []string{"LC_ALL=C", "HOME=" + t.TempDir()}, env)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, errs.String())
	}
	return said{errors: errs.String(), code: cmd.ProcessState.ExitCode()}
}

// targets are the backends of a cluster.
func targets(addr string) []api.GatewayTarget { return []api.GatewayTarget{{Address: addr}} }
