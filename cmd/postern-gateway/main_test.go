package main

import (
	"bufio"
	"context"
	"errors"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary be the program: the tests start copies of themselves as processes that can be
// signalled, and replaced on disk.
const asProgram = "POSTERN_GATEWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		os.Exit(m.Run())
	case "confined":
		confined()
	default:
		main()
	}
}

// patience bounds how long a test waits for what has to happen.
const patience = 30 * time.Second

// installation is a place on disk with the program and its data.
type installation struct{ program, data string }

// install makes an installation that every user may run.
func install(t *testing.T) installation {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	i := installation{program: filepath.Join(dir, "postern-gateway"), data: filepath.Join(dir, "data")}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	i.put(t, content)
	return i
}

// put puts another version of the program in place of the one that is there, as a package manager does.
func (i installation) put(t *testing.T, content []byte) {
	t.Helper()
	next := i.program + ".new"
	if err := errors.Join(os.WriteFile(next, content, 0o755), os.Chmod(next, 0o755), os.Rename(next, i.program)); err != nil {
		t.Fatal(err)
	}
}

// program is a gateway in a process of its own, with those that come after it.
type program struct {
	*exec.Cmd
	lines   chan string // its log and that of its successors, until all have ended
	public  string      // the address of its public listener
	private string
}

// startProgram starts a gateway and waits until it listens.
func startProgram(t *testing.T, i installation, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return start(t, exec.CommandContext(ctx, i.program, append([]string{
		"--id", "gw-1", "--data", i.data, "--public", "127.0.0.1:0",
		"--private", "127.0.0.1:0", "--trusted-peer", "127.0.0.1, 10.0.0.0/8", "--log-level", "DEBUG", "--hello-timeout", "1h",
	}, args...)...))
}

// start starts a gateway by a command and waits until it listens.
func start(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := launch(t, cmd)
	m := p.await(t, `msg="gateway listens" .*private=(\S+) public=(\S+)`)
	p.private, p.public = m[1], m[2]
	return p
}

// launch starts a gateway by a command. Whatever of it and its successors is left at the test's end is killed.
func launch(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{Cmd: cmd, lines: make(chan string, 10_000)}
	p.Env = append(append(os.Environ(), asProgram+"=1"), p.Env...)
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, write, err := os.Pipe() // not StderrPipe, which ends with the first process
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = write
	err = p.Start()
	_ = write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	go func() {
		defer close(p.lines)
		defer func() { _ = stderr.Close() }()
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// await reads the log up to a line, and returns the expression's groups in it.
func (p *program) await(t *testing.T, expression string) []string {
	t.Helper()
	line := regexp.MustCompile(expression)
	timeout := time.After(patience)
	var seen []string
	for {
		select {
		case text, more := <-p.lines:
			if !more {
				t.Fatalf("the log ended without %s:\n%s", expression, strings.Join(seen, "\n"))
			}
			if m := line.FindStringSubmatch(text); m != nil {
				return m
			}
			seen = append(seen, text)
		case <-timeout:
			t.Fatalf("waited in vain for %s:\n%s", expression, strings.Join(seen, "\n"))
		}
	}
}

// hang opens a flow that stays in the middle of its first bytes.
func (p *program) hang(t *testing.T) {
	t.Helper()
	dial(t, p.public)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end reads the rest of the log and returns how the process ended.
func (p *program) end() error {
	for range p.lines {
	}
	return p.Wait()
}

func TestSIGTERMDrainsAndExitsWithZero(t *testing.T) {
	i := install(t)
	p := startProgram(t, i, "--drain", "200ms")
	p.hang(t) // the deadline has to end it
	p.signal(t, syscall.SIGTERM)
	if err := p.end(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(filepath.Join(i.data, "proof-key.pem")); err != nil {
		t.Errorf("the proof key was not kept: %v", err)
	}
}

// Whoever asks twice does not want to wait for the drain.
func TestASecondSIGTERMEndsTheDrain(t *testing.T) {
	p := startProgram(t, install(t), "--drain", "1h", "--control-url", controlPlane(t))
	openInTime(t, p.private)
	p.signal(t, syscall.SIGTERM)
	p.await(t, `msg="gateway drains"`)
	p.signal(t, syscall.SIGTERM)
	err := p.end()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("after the second SIGTERM: %v, want that it ended the process", err)
	}
}

// The data path links no database driver and no cloud SDK: beside the standard library and our own packages it links
// what stands here, and nothing else.
func TestTheDataPathLinksLittle(t *testing.T) {
	const module = "github.com/postern/postern/"
	allowed := []string{
		"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/collectors",
		"github.com/prometheus/client_golang/prometheus/promhttp", "golang.org/x/crypto/cryptobyte", "golang.org/x/sys/unix",
		// Certificates by ACME, and what clients' certificates say.
		"github.com/caddyserver/certmagic", "go.uber.org/zap", "golang.org/x/crypto/ocsp", "github.com/dlclark/regexp2/v2",
		"golang.org/x/net/http2/hpack",   // header compression of HTTP/2
		"golang.org/x/net/http/httpguts", // which bytes a field may have
	}
	own := []string{
		"api", "cmd/postern-gateway", "internal/backend", "internal/engine", "internal/gateway", "internal/l4", "internal/link", "internal/policy",
		"internal/certificate", "internal/clientcert", "internal/flock", "internal/http2", "internal/httpproxy", "internal/proxyconf", "internal/revocation",
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	foreign := map[string]string{} // import path → who imports it
	seen := map[string]bool{}
	var walk func(pkg string)
	walk = func(pkg string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources of %s: %v", pkg, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range parsed.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if own, ok := strings.CutPrefix(path, module); ok {
					walk(own)
				} else if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
					foreign[path] = pkg
				}
			}
		}
	}
	walk("cmd/postern-gateway")
	for path, by := range foreign {
		if !slices.Contains(allowed, path) {
			t.Errorf("%s imports %s", by, path)
		}
	}
	for _, must := range []string{"internal/gateway", "internal/policy", "internal/l4", "internal/link", "api"} {
		if !seen[must] {
			t.Errorf("the walk did not come by %s", must)
		}
	}
	for pkg := range seen {
		if !slices.Contains(own, pkg) {
			t.Errorf("the data path links %s", pkg)
		}
	}
}
