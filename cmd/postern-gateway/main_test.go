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

func TestSIGTERMDrainsAndExitsWithZero(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, exe, "--id", "gw-1", "--data", dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0",
		"--trusted-peer", "127.0.0.1, 10.0.0.0/8", "--drain", "200ms", "--log-level", "DEBUG")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	listens := regexp.MustCompile(`msg="gateway listens".* public=(\S+)`)
	lines := bufio.NewScanner(stderr)
	for addr == "" && lines.Scan() {
		if m := listens.FindStringSubmatch(lines.Text()); m != nil {
			addr = m[1]
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr) // a flow that hangs in the middle: the deadline has to end it
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stderr)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "proof-key.pem")); err != nil {
		t.Errorf("the proof key was not kept: %v", err)
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
