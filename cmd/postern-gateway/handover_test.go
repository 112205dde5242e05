package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

const (
	testEndpoint = "vpce-0a1b2c3d4e5f60718"
	testName     = "acme.us-east-1.pe.postern.test"
	testToken    = "the gateway's token"
)

// controlPlane starts a control plane of which the rules let an endpoint reach a cluster: a TLS server that answers
// every request with its path. It returns the control plane's URL; the gateway's token is in the environment.
func controlPlane(t *testing.T) (url string) {
	t.Helper()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	t.Cleanup(backend.Close)
	url, _, _ = controlPlaneOf(t, backend.Listener.Addr().String())
	return url
}

// controlPlaneOf starts a control plane of a cluster with a backend, and returns also its operator and the cluster.
func controlPlaneOf(t *testing.T, backend string) (url string, operator *api.Client, cluster api.Cluster) {
	t.Helper()
	const owner, operatorToken = "123456789012", "the operator's token"
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	done := make(chan struct{})
	srv := httptest.NewServer(httpapi.New(control.New(st, control.Options{Domain: "postern.test", Log: log}), httpapi.Options{
		Log: log, Version: "v-test", Done: done,
	}))
	t.Cleanup(func() {
		close(done)
		srv.CloseClientConnections()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	err = st.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.PutEndpoint(link.Endpoint{
			Provider: link.AWS, Region: "us-east-1", ServiceID: "vpce-svc-0a1b2c3d4e5f60718", ID: testEndpoint, OwnerID: owner,
			State: link.Available, SeenAt: tx.Now(),
		})
		return errors.Join(err, tx.PutToken("alice", string(policy.Operator), operatorToken), tx.PutToken("gw-1", string(policy.Gateway), testToken))
	})
	if err != nil {
		t.Fatal(err)
	}
	operator = api.New(srv.URL, operatorToken)
	project, err := operator.CreateProject(ctx, api.CreateProjectRequest{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.PutRegion(ctx, "AWS", "us-east-1", api.PutRegionRequest{
		VPCID: "vpc-0a1b2c3d4e5f60718", SubnetIDs: []string{"subnet-0a1b2c3d4e5f60718"}, GatewayTargets: []string{"127.0.0.1:1"},
	}); err != nil {
		t.Fatal(err)
	}
	cluster, err = operator.CreateCluster(ctx, api.CreateClusterRequest{
		ProjectID: project.ID, Name: "acme", CloudProvider: "AWS", Regions: []string{"us-east-1"}, Backends: []string{backend},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.AddTrustedOwner(ctx, cluster.ID, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: owner}); err != nil {
		t.Fatal(err)
	}
	if _, err := operator.AddConnection(ctx, cluster.ID, testEndpoint); err != nil {
		t.Fatal(err)
	}
	t.Setenv(tokenVariable, testToken)
	return srv.URL, operator, cluster
}

// flow is a flow through the gateway to the cluster.
type flow struct {
	*tls.Conn
	answers *bufio.Reader
}

// open opens a flow as the load balancer would.
func open(t *testing.T, addr string) (*flow, error) {
	t.Helper()
	conn := dial(t, addr)
	if _, err := conn.Write(l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source: netip.MustParseAddrPort("10.1.2.3:40000"), Destination: netip.MustParseAddrPort("10.1.0.9:443"), AWSEndpoint: testEndpoint, PadTo: 100,
	})); err != nil {
		return nil, err
	}
	c := tls.Client(conn, &tls.Config{ServerName: testName, InsecureSkipVerify: true}) // who answers is not the question here
	return &flow{c, bufio.NewReader(c)}, c.HandshakeContext(t.Context())
}

// ask sends a request on the flow and wants its answer.
func (f *flow) ask(t *testing.T, path string) {
	t.Helper()
	if _, err := io.WriteString(f, "GET "+path+" HTTP/1.1\r\nHost: acme\r\n\r\n"); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	resp, err := http.ReadResponse(f.answers, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != path {
		t.Fatalf("asked for %s, got %q, %v", path, body, err)
	}
}

// openInTime opens a flow once the gateway has the rules.
func openInTime(t *testing.T, addr string) *flow {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		f, err := open(t, addr)
		if err == nil {
			return f
		}
		if time.Since(start) > patience {
			t.Fatalf("no flow is let through: %v", err)
		}
	}
}

// awaitDeaf waits until a process no longer listens on an address of IPv4, on which another does.
func awaitDeaf(t *testing.T, pid int, addr string) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listens = `(?m)^ *\d+: [0-9A-F]{8}:%04X \S+ 0A \S+ \S+ \S+ +\d+ +\d+ (\d+) `
	m := regexp.MustCompile(fmt.Sprintf(listens, netip.MustParseAddrPort(addr).Port())).FindSubmatch(table)
	if m == nil {
		t.Fatalf("nobody listens on %s", addr)
	}
	socket := fmt.Sprintf("socket:[%s]", m[1])
	holds := func() bool {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, _ := os.ReadDir(dir) // none when the process has ended
		return slices.ContainsFunc(files, func(f os.DirEntry) bool {
			to, err := os.Readlink(filepath.Join(dir, f.Name()))
			return err == nil && to == socket
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); holds(); <-tick.C {
		if time.Since(start) > patience {
			t.Fatalf("process %d holds %s after its successor has taken it over", pid, addr)
		}
	}
}

func TestSIGHUPHandsOverWithoutDroppingAFlow(t *testing.T) {
	url := controlPlane(t)
	i := install(t)
	p := startProgram(t, i, "--control-url", url)
	old := openInTime(t, p.private)
	old.ask(t, "/before")

	// All the while somebody opens flows, none of which may fail.
	stop, opened := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { opened <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			f, err := open(t, p.private)
			if err != nil {
				t.Errorf("flow %d during the handover: %v", n, err)
				return
			}
			_ = f.Close()
			n++
		}
	}()
	p.signal(t, syscall.SIGHUP)
	successor := p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1]
	awaitDeaf(t, p.Process.Pid, p.private)
	fresh := openInTime(t, p.private)
	close(stop)
	if n := <-opened; n == 0 {
		t.Error("nobody opened a flow during the handover")
	}
	fresh.ask(t, "/fresh")
	old.ask(t, "/after")
	if pid := strconv.Itoa(p.Process.Pid); pid == successor {
		t.Errorf("process %s is its own successor", pid)
	}

	// The old process ends with its last flow, the new one lives on.
	_ = old.Close()
	p.await(t, `msg="gateway ended" pid=`+strconv.Itoa(p.Process.Pid))
	if err := p.Wait(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	fresh.ask(t, "/still")

	// And can be followed in turn.
	pid, err := strconv.Atoi(successor)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGHUP)
	last, err := strconv.Atoi(p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	awaitDeaf(t, pid, p.private)
	fresh.ask(t, "/at-the-second")
	latest := openInTime(t, p.private)
	latest.ask(t, "/at-the-third")
	_ = fresh.Close()
	_ = latest.Close()
	_ = syscall.Kill(last, syscall.SIGTERM)
	for range p.lines { // until the last process has closed the log
	}
}

// Who stops the service stops the old process too, which has flows left.
func TestSIGTERMShortensTheDrainOfAHandover(t *testing.T) {
	p := startProgram(t, install(t), "--control-url", controlPlane(t), "--drain", "100ms")
	old := openInTime(t, p.private)
	p.signal(t, syscall.SIGHUP)
	p.await(t, `msg="(a successor serves): gateway drains"`)
	old.ask(t, "/old")
	_ = syscall.Kill(-p.Process.Pid, syscall.SIGTERM) // the old one's group, which is the new one's
	if err := p.end(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	if _, err := old.Read(make([]byte, 1)); err == nil {
		t.Error("the flow goes on")
	}
}

// What is on disk may be anything: while it does not serve, the old process does.
func TestAFailedHandoverChangesNothing(t *testing.T) {
	url := controlPlane(t)
	i := install(t)
	p := startProgram(t, i, "--control-url", url)
	old := openInTime(t, p.private)
	for _, tt := range []struct{ name, program, want string }{
		{"it fails", "#!/bin/sh\nexit 3\n", "exit status 3"},
		{"it cannot be run", "not a program", "exec format error"},
		{"it ends without a word", "#!/bin/sh\nexit 0\n", "exit status 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i.put(t, []byte(tt.program))
			p.signal(t, syscall.SIGHUP)
			line := p.await(t, `(msg="no successor serves: this process goes on".*)`)[1]
			if !strings.Contains(line, tt.want) {
				t.Errorf("%s, want it to say %q", line, tt.want)
			}
			old.ask(t, "/old")
			f, err := open(t, p.private)
			if err != nil {
				t.Fatal(err)
			}
			f.ask(t, "/new")
			_ = f.Close()
		})
	}
	_ = old.Close()
	p.signal(t, syscall.SIGTERM)
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

// A successor that hangs is given up and ended.
func TestASuccessorThatHangs(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("patience is at its end"))
	defer cancel()
	if _, err := (sockets{}).handOver(ctx, "/bin/sh", []string{"sh", "-c", "exec sleep 1000"}); err == nil || err.Error() != "patience is at its end" {
		t.Errorf("error %v", err)
	}
}

func TestSocketsSurviveTheirListeners(t *testing.T) {
	s := sockets{}
	name := socketName{string(link.PublicListener), "127.0.0.1:0"}
	if err := s.open(t.Context(), []socketName{name}); err != nil {
		t.Fatal(err)
	}
	first, err := s.listener(name)
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().String()
	waiting := dial(t, addr) // nobody has accepted it when the first listener goes
	_ = first.Close()
	second, err := s.listener(name)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if accepted.RemoteAddr().String() != waiting.LocalAddr().String() {
		t.Errorf("accepted %v", accepted.RemoteAddr())
	}
	_ = accepted.Close()
	_ = second.Close()
	s.close()
	var d net.Dialer
	if c, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
		_ = c.Close()
		t.Error("somebody listens after the sockets were closed")
	}
	if err := s.open(t.Context(), []socketName{name, {string(link.PublicListener), "256.0.0.1:1"}}); err == nil || len(s) != 0 {
		t.Errorf("a socket that cannot be opened: %v, %d are open", err, len(s))
	}
}

func TestTheSocketsVariable(t *testing.T) {
	s := sockets{{"private", "127.0.0.1:0"}: 100, {"public", "[::]:443"}: 101}
	t.Setenv(readyVariable, "77")
	t.Setenv("LISTEN_FDS", "2")
	vars := map[string]string{}
	for _, v := range s.environment(func(name socketName) int { return s[name] }) {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	if vars[readyVariable] != "" || vars["LISTEN_FDS"] != "" || vars["PATH"] != os.Getenv("PATH") {
		t.Errorf("environment %v", vars)
	}
	got, ready, err := inherited(from(vars))
	if err != nil || ready != -1 || len(got) != 2 || got[socketName{"private", "127.0.0.1:0"}] != 100 || got[socketName{"public", "[::]:443"}] != 101 {
		t.Errorf("%v, %d, %v", got, ready, err)
	}
	for _, bad := range []string{"x", "3", "3/private", "x/private/127.0.0.1:0", "-1/private/127.0.0.1:0", "0/private/127.0.0.1:0"} {
		if _, _, err := inherited(from(map[string]string{socketsVariable: bad})); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
