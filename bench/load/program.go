//go:build linux

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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is for what has to happen on a machine that is busy with other things.
const patience = 2 * time.Minute

// build builds the programs from these sources into dir. args are for go build.
func build(ctx context.Context, dir string, args ...string) error {
	const module = "github.com/postern/postern/cmd/"
	args = append(append([]string{"build", "-o", dir + string(os.PathSeparator)}, args...), module+"postern", module+"postern-gateway")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// program is a running process of ours.
type program struct {
	name  string
	cmd   *exec.Cmd
	log   string // path
	ended chan struct{}
}

// startProgram starts a process that dies with this one. What it prints goes to a file in dir.
func startProgram(dir, name string, env []string, path string, args ...string) (*program, error) {
	p := &program{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.cmd = exec.CommandContext(context.Background(), path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// await waits until something holds; it gives up when the process has ended, and after patience.
func (p *program) await(ctx context.Context, what string, holds func() error) error {
	err := until(ctx, func() error {
		select {
		case <-p.ended:
			return errEnded
		default:
			return holds()
		}
	})
	if err != nil {
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s: %s: %w\n%s", p.name, what, err, said)
	}
	return nil
}

var errEnded = errors.New("the process has ended")

// until waits until something holds, and returns why it does not when patience ends.
func until(ctx context.Context, holds func() error) error {
	late, beat := time.After(patience), time.NewTicker(50*time.Millisecond)
	defer beat.Stop()
	for {
		err := holds()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return err
		case <-beat.C:
		}
	}
}

// awaitDocument waits for a JSON file that the process writes when it is ready.
func (p *program) awaitDocument(ctx context.Context, path string, into any) error {
	return p.await(ctx, "wait for "+filepath.Base(path), func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	})
}

// stop ends the process as an operator does.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// usage is what a process has taken.
type usage struct {
	RSS, Peak int64 // bytes resident, now and at most
	CPU       time.Duration
}

func (p *program) usage() (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case key == "VmRSS":
			u.RSS = kilobytes << 10
		case key == "VmHWM":
			u.Peak = kilobytes << 10
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	// proc(5): the program's name, which may hold blanks, ends with the last bracket; utime and stime are fields 14 and 15,
	// in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * (time.Second / 100)
	}
	return u, nil
}

// freeAddr is an address to listen on that nobody listens on now. It is not 127.0.0.1, so that no client's own port comes
// in between.
func freeAddr(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.77.0.2:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
