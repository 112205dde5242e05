//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the numbers were measured on.
type machine struct {
	Kernel     string `json:"kernel"`
	Processor  string `json:"processor"`
	Cores      int    `json:"cores"`
	Go         string `json:"go"`
	HAProxy    string `json:"haproxy"`
	Nginx      string `json:"nginx"`
	Caddy      string `json:"caddy"`
	HelloBytes int    `json:"hello_bytes"` // of a ClientHello
	FlowBytes  int    `json:"flow_bytes"`  // of a short flow, both ways
}

func describeMachine(b *bench) machine {
	t := &b.client.transcripts[short]
	m := machine{
		Cores: b.cores.all.Count(), Go: runtime.Version(), HelloBytes: len(t.hello), FlowBytes: t.size(),
		HAProxy: versionOf("haproxy", "-v"), Nginx: versionOf("nginx", "-v"), Caddy: versionOf("caddy", "version"),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				m.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

// versionOf returns the first version number that a program tells of itself, empty when there is none.
func versionOf(program, flag string) string {
	text, _ := exec.Command(program, flag).CombinedOutput() //nolint:noctx // it ends at once
	return string(versionNumber.Find(text))
}

func (m machine) String() string {
	return fmt.Sprintf("Linux %s, %d × %s, %s, HAProxy %s, nginx %s, Caddy %s\n"+
		"a short flow: %d bytes both ways, of them a ClientHello of %d",
		m.Kernel, m.Cores, m.Processor, m.Go, m.HAProxy, m.Nginx, m.Caddy, m.FlowBytes, m.HelloBytes)
}

// cores is a set of processors.
type cores = unix.CPUSet

// processors are those that this process could use when it began.
type processors struct{ all cores }

func ownProcessors() (processors, error) {
	var p processors
	err := unix.SchedGetaffinity(0, &p.all)
	return p, err
}

// split gives the last n processors to a proxy and the others to the load. When there are no others the two share.
func (p processors) split(n int) (proxy, load cores) {
	load = p.all
	for cpu := 8*len(p.all)*strconv.IntSize/8 - 1; cpu >= 0 && n > 0; cpu-- {
		if p.all.IsSet(cpu) {
			proxy.Set(cpu)
			load.Clear(cpu)
			n--
		}
	}
	if load.Count() == 0 {
		load = proxy
	}
	return proxy, load
}

// stayOn binds every thread of this process to processors.
func stayOn(set cores) error {
	files, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, file := range files {
		tid, err := strconv.Atoi(filepath.Base(file))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("bind the load to its processors: %w", err)
		}
	}
	return nil
}

// startOn starts a process that may use some processors only: a child inherits those of the thread that starts it.
func startOn(cmd *exec.Cmd, on cores) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var had cores
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return err
	}
	if err := unix.SchedSetaffinity(0, &on); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &had))
}
