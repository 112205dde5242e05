package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// status returns fields of /proc/PID/status.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// Every thread of the gateway, and of its successor, has no privilege left.
func TestPrivilegesAreDropped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has privileges to drop")
	}
	i := install(t)
	p := startProgram(t, i, "--user", "65534:65533")
	checkUnprivileged(t, p.Process.Pid)
	p.signal(t, syscall.SIGHUP)
	successor, err := strconv.Atoi(p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	checkUnprivileged(t, successor)
	if info, err := os.Stat(filepath.Join(i.data, "proof-key.pem")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 || info.Mode() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	_ = syscall.Kill(successor, syscall.SIGTERM)
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func checkUnprivileged(t *testing.T, pid int) {
	t.Helper()
	const none = "0000000000000000"
	want := map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65533 65533 65533 65533", "Groups": "65533", "Umask": "0077", "NoNewPrivs": "1",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		got := status(t, id)
		for name, value := range want {
			if got[name] != value {
				t.Errorf("thread %d of %d: %s is %q, want %q", id, pid, name, got[name], value)
			}
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("core dumps are not off: %v\n%s", err, limits)
	}
}

func TestRootIsWarned(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root is warned")
	}
	i := install(t)
	p := launch(t, exec.CommandContext(t.Context(), i.program, "--data", i.data, "--public", "127.0.0.1:0"))
	p.await(t, `level=WARN msg="runs as root, .* give (--user)"`)
	p.await(t, `msg="(gateway listens)"`)
	if got := status(t, p.Process.Pid); got["CapEff"] != "0000000000000000" || got["CapBnd"] != "0000000000000000" || got["NoNewPrivs"] != "1" {
		t.Errorf("root kept privileges: %v", got)
	}
	p.signal(t, syscall.SIGTERM)
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

// confined is what the test's process does in TestWritesAreConfined: it gives up, then writes where it may and where it
// may not.
func confined() {
	dir, outside := os.Args[1], os.Args[2]
	if err := giveUp(slog.New(slog.DiscardHandler), nil, dir); err != nil {
		fmt.Println("giveUp:", err)
	}
	fmt.Println("inside:", os.WriteFile(filepath.Join(dir, "made"), nil, 0o600))
	fmt.Println("make:", os.WriteFile(filepath.Join(outside, "made"), nil, 0o600))
	fmt.Println("change:", os.WriteFile(filepath.Join(outside, "there"), nil, 0o600))
	fmt.Println("remove:", os.Remove(filepath.Join(outside, "there")))
	fmt.Println("move:", os.Rename(filepath.Join(dir, "made"), filepath.Join(outside, "moved")))
	_, err := os.ReadFile(filepath.Join(outside, "there"))
	fmt.Println("read:", err)
}

func TestWritesAreConfined(t *testing.T) {
	text, err := os.ReadFile("/sys/kernel/security/lsm")
	if err == nil && !slices.Contains(strings.Split(strings.TrimSpace(string(text)), ","), "landlock") {
		t.Skip("the kernel has no Landlock")
	}
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "there"), []byte("what is there"), 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, dir, outside)
	cmd.Env = append(os.Environ(), asProgram+"=confined")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`inside: <nil>`, `make: .*permission denied`, `change: .*permission denied`, `remove: .*permission denied`, `move: .*`, `read: <nil>`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("want %s:\n%s", want, out)
		}
	}
	if text, err := os.ReadFile(filepath.Join(outside, "there")); err != nil || string(text) != "what is there" {
		t.Errorf("the file outside: %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "moved")); err == nil {
		t.Error("a file was moved out")
	}
}

func TestAccounts(t *testing.T) {
	for in, want := range map[string]account{
		"root":        {uid: 0, gid: 0},
		"0":           {uid: 0, gid: 0},
		"root:7":      {uid: 0, gid: 7, groups: []int{7}},
		"54321":       {uid: 54321, gid: 54321, groups: []int{54321}},
		"54321:54322": {uid: 54321, gid: 54322, groups: []int{54322}},
	} {
		a, err := findAccount(in)
		if err != nil || a.uid != want.uid || a.gid != want.gid || want.groups != nil && !slices.Equal(a.groups, want.groups) {
			t.Errorf("%s: %+v, %v", in, a, err)
		}
	}
	for _, in := range []string{"nobody-of-that-name", "-1", "4294967296", "4294967295", "54321:4294967296", "root:no-such-group", "root:-1", "root:"} {
		if a, err := findAccount(in); err == nil {
			t.Errorf("%s: %+v", in, a)
		}
	}
}
