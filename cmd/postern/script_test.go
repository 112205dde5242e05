package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postern/postern/internal/servertest"
	"github.com/postern/postern/internal/storetest"
)

// binary is the program under test, built once from this tree: what people run, not a part of the test.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postern-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	args := []string{"build", "-o", dir}
	if raceEnabled {
		args = append(args, "-race")
		// At its end a program with the race detector waits a second for what its goroutines may still do wrong. The stories
		// end hundreds of programs, most of which have asked for one thing and have no goroutine left.
		if err := os.Setenv("GORACE", "atexit_sleep_ms=50"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	build := exec.Command("go", append(args, "github.com/postern/postern/cmd/postern", "github.com/postern/postern/cmd/postern-gateway")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program under test: %v\n%s", err, out)
		return 1
	}
	binary = filepath.Join(dir, "postern")
	return storetest.Main{M: m}.Run()
}

// TestScript runs the stories in testdata: one story per file, told by the built program and real clients.
func TestScript(t *testing.T) {
	// A vendor's service that is none of Postern's: it stands behind the gateways of the stories that bring their own.
	ca, err := openAuthority(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.issue([]string{"orders.us-east-1.pe.vendor.test", "orders.us-east-1.vendor.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	backend, err := startSampleBackend(cert, "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := backend.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("AWS_CONFIG_FILE", os.DevNull)
			env.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
			env.Setenv("AWS_PAGER", "")
			env.Setenv("BACKEND", backend.addr)
			_, port, err := net.SplitHostPort(backend.addr)
			if err != nil {
				return err
			}
			env.Setenv("BACKEND_PORT", port)
			env.Setenv("BACKEND_CA", ca.file)
			env.Setenv("AWS_MAX_ATTEMPTS", "1")
			if d := storetest.New(t); d.URL != "" { // otherwise SQLite in each control plane's own folder
				env.Setenv(databaseVariable, d.URL)
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await":  await,
			"setvar": setvar,
			"json":   checkJSON,
			"aws-as": awsAs,
			"retry":  retry,
			"flip":   flip,
			"tamper": tamper,
			"port": func(ts *testscript.TestScript, neg bool, args []string) { // an address at which nobody listens
				if neg || len(args) != 1 {
					ts.Fatalf("usage: port name")
				}
				ts.Setenv(args[0], fmt.Sprintf("127.0.0.1:%d", servertest.Port(t)))
			},
			"database": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: database name")
				}
				ts.Setenv(args[0], storetest.Empty(t).URL)
			},

			"receiver": startReceiver,
			"secret":   tellSecret,
			"received": received,
		},
	})
}

// await waits until a file exists: await FILE.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await file")
	}
	name := ts.MkAbs(args[0])
	if err := poll(90*time.Second, func() error { _, err := os.Stat(name); return err }); err != nil {
		ts.Fatalf("%s did not appear: %v", args[0], err)
	}
}

// setvar sets a variable from a JSON document: setvar NAME FILE PATH.
func setvar(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: setvar name file path")
	}
	v, err := at(ts.ReadFile(args[1]), args[2])
	if err != nil {
		ts.Fatalf("%s %s: %v", args[1], args[2], err)
	}
	ts.Setenv(args[0], text(v))
}

// checkJSON holds a value of a JSON document against another text: json FILE PATH WANT. WANT of the form
// @PATH means the value at that path of the same document.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] json file path want")
	}
	doc := ts.ReadFile(args[0])
	v, err := at(doc, args[1])
	if err != nil {
		ts.Fatalf("%s %s: %v", args[0], args[1], err)
	}
	want := args[2]
	if other, ok := strings.CutPrefix(want, "@"); ok {
		w, err := at(doc, other)
		if err != nil {
			ts.Fatalf("%s %s: %v", args[0], other, err)
		}
		want = text(w)
	}
	if got := text(v); (got == want) == neg {
		ts.Fatalf("%s %s is %q, want (not: %v) %q", args[0], args[1], got, neg, want)
	}
}

// at walks a dotted path through a JSON document; numbers index arrays, "len" is an array's length.
func at(doc, path string) (any, error) {
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		return nil, fmt.Errorf("not JSON: %w: %.200s", err, doc)
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[part]; !ok {
				return nil, fmt.Errorf("no %q in %.300s", part, text(x))
			}
		case []any:
			if part == "len" {
				v = float64(len(x))
				continue
			}
			var i int
			if _, err := fmt.Sscanf(part, "%d", &i); err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("no element %q in a list of %d", part, len(x))
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("%q asked of %v", part, v)
		}
	}
	return v, nil
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// awsAs makes the rest of the script call AWS as an account of the embedded cloud: aws-as READY-FILE ROLE.
func awsAs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: aws-as ready-file role")
	}
	var r Ready
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &r); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	acc, ok := r.account(args[1])
	if !ok {
		ts.Fatalf("no account %q", args[1])
	}
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": r.AWSEndpointURL, "AWS_ACCESS_KEY_ID": acc.AccessKeyID, "AWS_SECRET_ACCESS_KEY": acc.SecretAccessKey,
		"AWS_REGION": r.Region, "AWS_DEFAULT_REGION": r.Region, "VPC": acc.VPCID, "SUBNET1": acc.SubnetIDs[0], "SUBNET2": acc.SubnetIDs[1], "GROUP": acc.SecurityGroupID,
		"ACCOUNT": acc.AccountID, "SOCKS": r.SOCKSAddr, "API": r.APIURL, "TOKEN": r.Token, "CLUSTER": r.ClusterID, "CA": r.CAFile,
		"SERVICE": r.ServiceName, "SERVICE_ID": r.ServiceID, "PRIVATE": r.PrivateDomain, "PUBLIC": r.PublicDomain, "HTTPPROXY": r.HTTPProxyAddr,
	} {
		ts.Setenv(k, v)
	}
}

// retry runs a program until its output holds a text: retry TEXT PROGRAM ARG….
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: retry text program arg...")
	}
	var last string
	err := poll(60*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		program := args[1]
		if program == "postern" {
			program = binary
		}
		cmd := exec.CommandContext(ctx, program, args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = environ(ts)
		out, err := cmd.CombinedOutput()
		last = string(out)
		if strings.Contains(last, args[0]) {
			return nil
		}
		return errors.Join(fmt.Errorf("no %q in the output", args[0]), err)
	})
	ts.Logf("%s", last)
	if err != nil {
		ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
	}
}

// environ is the script's environment for programs that a command of ours starts.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PAGER", "AWS_MAX_ATTEMPTS",
		"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "POSTERN_API_URL", "POSTERN_API_CA_FILE", "POSTERN_TOKEN",
	} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// poll tries do every 50 ms until it returns nil or limit has passed, and returns its last error.
func poll(limit time.Duration, do func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}
