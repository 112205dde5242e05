package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/internal/link"
)

// processConfig is what a gateway in a process of its own is started with. Its resources can be taken away without those of
// the test. It ends when its standard input does.
type processConfig struct {
	ControlURL, RulesFile, SpoolDir string
	Files                           uint64 // the limit of descriptors from the start on; 0 leaves it
	MaxFlows                        int
	Net                             bool
}

func init() { processMain = gatewayProcess }

// gatewayProcess is main of such a process. It says where it listens on its standard output.
func gatewayProcess(config string) error {
	var c processConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	if c.Files > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: c.Files, Max: c.Files}); err != nil {
			return err
		}
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	g, err := Start(context.Background(), Config{
		ID: "gw-1", Key: key, ControlURL: c.ControlURL, Token: testToken, RulesFile: c.RulesFile, SpoolDir: c.SpoolDir,
		MaxFlows: c.MaxFlows, Net: c.Net, Loops: 2, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Listeners: []ListenerConfig{{
			Side: link.PrivateListener, Addr: "127.0.0.1:0", TrustedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		}},
	})
	if err != nil {
		return err
	}
	fmt.Println(g.PrivateAddr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return g.Close()
}

// process is a world whose gateway runs in a process of its own.
type process struct {
	*world
	addr net.Addr
	pid  int

	mu     sync.Mutex
	stderr bytes.Buffer
}

// startGateway starts the gateway of a world in a process of its own. It is ended in order when the test is over, and
// has to end well then.
func startGateway(t *testing.T, c processConfig) *process {
	t.Helper()
	p := &process{world: &world{t: t, control: newFakeControl(t), roots: x509.NewCertPool()}}
	p.cert = selfSigned(t, p.roots, acmePrivate, acmePublic, globexName)
	p.acme, p.globex = newLineServer(t, "acme", p.cert), newLineServer(t, "globex", p.cert)
	c.ControlURL, c.RulesFile, c.SpoolDir = p.control.srv.URL, t.TempDir()+"/rules", t.TempDir()
	p.cfg.RulesFile, p.cfg.SpoolDir = c.RulesFile, c.SpoolDir
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self)
	cmd.Env = append(os.Environ(), processEnv+"="+string(config))
	cmd.Stderr = p
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gateway's process: %v", err)
		}
		if t.Failed() {
			t.Logf("it said:\n%s", p.said())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the gateway did not start: %v\n%s", err, p.said())
	}
	p.addr, err = net.ResolveTCPAddr("tcp", strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Write takes what the process says on its standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// limit sets one of the process's limits, and returns what puts it back.
func (p *process) limit(resource int, most uint64) (restore func()) {
	p.t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(p.pid, resource, nil, &old); err != nil {
		p.t.Fatal(err)
	}
	if err := unix.Prlimit(p.pid, resource, &unix.Rlimit{Cur: most, Max: old.Max}, nil); err != nil {
		p.t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(p.pid, resource, &old, nil); err != nil {
			p.t.Fatal(err)
		}
	}
}

// nextDescriptor returns the number that the process's next descriptor gets. A limit of as much leaves it none.
func (p *process) nextDescriptor() uint64 {
	p.t.Helper()
	for n := uint64(0); ; n++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", p.pid, n)); errors.Is(err, fs.ErrNotExist) {
			return n
		} else if err != nil {
			p.t.Fatal(err)
		}
	}
}

// knocks opens a flow of an endpoint that says no more than its PROXY header.
func (p *process) knocks(endpoint string) net.Conn {
	p.t.Helper()
	c := p.dial(p.addr)
	if _, err := c.Write(proxyHeader(endpoint)); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// opens opens a flow that must be admitted.
func (p *process) opens(endpoint, name string) *tls.Conn {
	p.t.Helper()
	c, err := p.tls(p.knocks(endpoint), name)
	if err != nil {
		p.t.Fatalf("the flow of %s to %s was not admitted: %v\n%s", endpoint, name, err, p.said())
	}
	return c
}
