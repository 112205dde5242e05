package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"go/parser"
	"go/token"
	"io"
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

// asProgram makes the test binary be the program: the tests start themselves as a process that can be signalled.
const asProgram = "POSTERN_GATEWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a gateway in a process of its own.
type program struct {
	*exec.Cmd
	dir    string
	stderr *bufio.Scanner
	public string // the address of its public listener
}

// startProgram starts a gateway and waits until it listens.
func startProgram(t *testing.T, drain string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := &program{dir: t.TempDir()}
	p.Cmd = exec.CommandContext(ctx, exe, "--id", "gw-1", "--data", p.dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0",
		"--trusted-peer", "127.0.0.1, 10.0.0.0/8", "--drain", drain, "--log-level", "DEBUG", "--hello-timeout", "1h")
	p.Env = append(os.Environ(), asProgram+"=1")
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewScanner(stderr)
	p.public = p.awaitLine(t, `msg="gateway listens".* public=(\S+)`)
	return p
}

// awaitLine reads the log up to a line, and returns the expression's first group in it.
func (p *program) awaitLine(t *testing.T, expression string) string {
	t.Helper()
	line := regexp.MustCompile(expression)
	for p.stderr.Scan() {
		if m := line.FindStringSubmatch(p.stderr.Text()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("the log ended without %s", expression)
	return ""
}

// hang opens a flow that stays in the middle of its first bytes.
func (p *program) hang(t *testing.T) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", p.public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
}

func (p *program) signal(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// end reads the rest of the log and returns how the process ended.
func (p *program) end() error {
	for p.stderr.Scan() {
	}
	return p.Wait()
}

func TestSIGTERMDrainsAndExitsWithZero(t *testing.T) {
	p := startProgram(t, "200ms")
	p.hang(t) // the deadline has to end it
	p.signal(t)
	if err := p.end(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "proof-key.pem")); err != nil {
		t.Errorf("the proof key was not kept: %v", err)
	}
}

// Whoever asks twice does not want to wait for the drain.
func TestASecondSIGTERMEndsTheDrain(t *testing.T) {
	p := startProgram(t, "1h")
	p.hang(t)
	p.signal(t)
	p.awaitLine(t, `msg="gateway (drains)"`)
	ended := make(chan error, 1)
	go func() { ended <- p.end() }()
	var err error
	for over := false; !over; {
		_ = p.Process.Signal(syscall.SIGTERM) // again when the first of them came too early to be the second; or it has ended
		select {
		case err = <-ended:
			over = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("after the second SIGTERM: %v, want that it ended the process", err)
	}
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(" from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := func(string) string { return "" }
	env := func(key string) string {
		if key == tokenVariable {
			return "from the environment"
		}
		return ""
	}
	base := []string{"--id", "gw-1", "--data", dir, "--public", "127.0.0.1:0"}
	for _, tt := range []struct {
		name   string
		args   []string
		getenv func(string) string
		want   string // of the error; empty when it is a good command line
		token  string
	}{
		{"without a control plane", base, nobody, "", ""},
		{"token from the environment", append(base, "--control-url", "http://127.0.0.1:1"), env, "", "from the environment"},
		{"token from a file", append(base, "--control-url", "http://127.0.0.1:1", "--token-file", tokenFile), env, "", "from the file"},
		{"no token", append(base, "--control-url", "http://127.0.0.1:1"), nobody, "POSTERN_GATEWAY_TOKEN", ""},
		{"a token file that is not there", append(base, "--control-url", "http://127.0.0.1:1", "--token-file", dir+"/none"), nobody, "no such file", ""},
		{"no directory", []string{"--public", "127.0.0.1:0"}, nobody, "--data", ""},
		{"nothing to listen on", []string{"--data", dir}, nobody, "--private", ""},
		{"private and nobody trusted", append(base, "--private", "127.0.0.1:0"), nobody, "--trusted-peer", ""},
		{"a range that is none", append(base, "--trusted-peer", "10.0.0.0/33"), nobody, "--help", ""},
		{"an unknown flag", append(base, "--open-sesame"), nobody, "--help", ""},
		{"an argument too many", append(base, "now"), nobody, `"now"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parse(tt.args, tt.getenv, io.Discard)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if o.config.Token != tt.token || o.config.RulesFile != filepath.Join(dir, "rules") {
					t.Errorf("token %q, rules file %q", o.config.Token, o.config.RulesFile)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that names %s", err, tt.want)
			}
		})
	}
	var help strings.Builder
	if _, err := parse([]string{"--help"}, nobody, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "SIGTERM") {
		t.Errorf("--help: %v\n%s", err, help.String())
	}
}

// The data path links no database driver and no cloud SDK: beside the standard library and our own packages it links
// what stands here, and nothing else.
func TestTheDataPathLinksLittle(t *testing.T) {
	const module = "github.com/postern/postern/"
	allowed := []string{"golang.org/x/crypto/cryptobyte"}
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
	if len(seen) != 6 {
		t.Errorf("the data path is made of %d of our packages: %v", len(seen), seen)
	}
}
