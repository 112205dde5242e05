package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ready is the part of the ready file of `postern up` that the test needs.
type ready struct {
	APIURL         string    `json:"api_url"`
	Token          string    `json:"token"`
	AWSEndpointURL string    `json:"aws_endpoint_url"`
	Accounts       []account `json:"accounts"`
	ClusterID      string    `json:"cluster_id"`
}

// account is a cloud account of the fabric; its role is vendor, customer or stranger.
type account struct {
	Role            string   `json:"role"`
	AccountID       string   `json:"account_id"`
	AccessKeyID     string   `json:"access_key_id"`
	SecretAccessKey string   `json:"secret_access_key"`
	VPCID           string   `json:"vpc_id"`
	SubnetIDs       []string `json:"subnet_ids"`
	SecurityGroupID string   `json:"security_group_id"`
}

func (r ready) customer(t *testing.T) account {
	t.Helper()
	for _, a := range r.Accounts {
		if a.Role == "customer" {
			return a
		}
	}
	t.Fatal("the ready file names no account of a customer")
	return account{}
}

// postern returns a running Postern: the one whose ready file POSTERN_TEST_READY names, otherwise one that is built and
// started for this test and stopped after it.
func postern(t *testing.T) ready {
	t.Helper()
	if file := os.Getenv("POSTERN_TEST_READY"); file != "" {
		r, err := readReady(file)
		if err != nil {
			t.Fatalf("POSTERN_TEST_READY: %v", err)
		}
		return r
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "postern")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/postern")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/postern: %v\n%s", err, out)
	}

	file := filepath.Join(dir, "ready.json")
	var output bytes.Buffer
	up := exec.Command(bin, "up", "--data", filepath.Join(dir, "data"), "--ready-file", file)
	up.Stdout, up.Stderr = &output, &output
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- up.Wait() }()
	t.Cleanup(func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("postern up after SIGTERM: %v\n%s", err, output.Bytes())
			}
		case <-time.After(15 * time.Second):
			_ = up.Process.Kill()
			_ = <-exited // it was killed
			t.Errorf("postern up did not stop within 15 s of SIGTERM\n%s", output.Bytes())
		}
	})

	deadline := time.NewTimer(60 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := readReady(file); err == nil {
			return r
		}
		select {
		case err := <-exited:
			exited <- err // for the clean-up
			t.Fatalf("postern up ended before it was ready: %v\n%s", err, output.Bytes())
		case <-deadline.C:
			t.Fatal("postern up was not ready within 60 s")
		case <-tick.C:
		}
	}
}

func readReady(file string) (r ready, err error) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// eventually asks until done, for at most 30 s: states converge in their own time.
func eventually[T any](t *testing.T, what string, ask func(context.Context) (T, bool)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last T
	for {
		got, done := ask(ctx)
		if done {
			return got
		}
		if ctx.Err() == nil {
			last = got
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 30 s: %s; last seen: %+v", what, last)
		}
	}
}
