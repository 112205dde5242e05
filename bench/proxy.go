//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// proxy is a program that is measured.
type proxy struct {
	name string
	// command prepares a start in s.dir and returns what to run.
	command func(s *start) (*exec.Cmd, error)
	bare    bool // takes no PROXY header
	talks   bool // also when nothing is wrong
}

// start is what a proxy is started with.
type start struct {
	ctx     context.Context
	dir     string // its own, for configuration and state
	listen  netip.AddrPort
	workers int
	cores   cores
	routes  []route
	ready   func() error // nil when listening is being ready; set by proxy.command
	// processes is how many there are once it works, set by proxy.command; 0 means one. A master listens before its workers
	// are there, whose processor time is what counts.
	processes int
	release   func() // frees what command took; nil for nothing
}

// route says where flows for a name go.
type route struct {
	ServerName string
	Backend    netip.AddrPort
}

// clientNetwork is where the clients come from, as the PROXY headers tell: what the peers decide by.
const clientNetwork = "10.0.0.0/8"

//go:embed haproxy.cfg.tmpl
var haproxyText string

//go:embed nginx.conf.tmpl
var nginxText string

var (
	haproxyTemplate = template.Must(template.New("haproxy").Parse(haproxyText))
	nginxTemplate   = template.Must(template.New("nginx").Parse(nginxText))
)

// configuration is what the peers' templates are filled with.
type configuration struct {
	Dir         string
	Listen      netip.AddrPort
	Workers     int
	Sources     string
	Routes      []route
	Descriptors int      // that the process may open
	MaxFlows    int      // two descriptors each
	Splice      bool     // HAProxy: move bytes with splice(2) always, and not where it thinks that it helps, which is nowhere
	Modules     []string // nginx: shared objects to load
}

func newConfiguration(s *start) configuration {
	limit := descriptorLimit()
	return configuration{
		Dir: s.dir, Listen: s.listen, Workers: s.workers, Sources: clientNetwork, Routes: s.routes,
		Descriptors: limit, MaxFlows: (limit - 200) / 2,
	}
}

// write fills a template into a file of the configuration's folder.
func (c configuration) write(t *template.Template) (string, error) {
	path := filepath.Join(c.Dir, t.Name()+".conf")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(t.Execute(f, c), f.Close())
}

// haproxy is Debian's HAProxy, as its documentation says, or with splicing forced.
func haproxy(name string, splice bool) proxy {
	return proxy{name: name, command: func(s *start) (*exec.Cmd, error) {
		c := newConfiguration(s)
		if c.Splice = splice; splice {
			c.MaxFlows /= 2 // pipes want descriptors too
		}
		path, err := c.write(haproxyTemplate)
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(s.ctx, "haproxy", "-db", "-q", "-f", path), nil
	}}
}

// nginxStream is where Debian's package libnginx-mod-stream puts its module.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

// nginx is Debian's nginx with its stream module.
func nginx() proxy {
	return proxy{name: "nginx", command: func(s *start) (*exec.Cmd, error) {
		c := newConfiguration(s)
		if _, err := os.Stat(nginxStream); err == nil {
			c.Modules = append(c.Modules, nginxStream)
		}
		s.processes = 1 + s.workers
		path, err := c.write(nginxTemplate)
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(s.ctx, "nginx", "-e", "stderr", "-p", s.dir, "-c", path), nil
	}}
}

// process is a proxy that runs.
type process struct {
	addr    netip.AddrPort
	pids    []int
	cmd     *exec.Cmd
	output  tail
	cancel  context.CancelFunc
	release func()
	dir     string
	talks   bool
}

// run starts the proxy on some processors, and returns when it takes flows. Its process ends with close.
func (p proxy) run(ctx context.Context, routes []route, workers int, on cores) (_ *process, err error) {
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return nil, err
	}
	run := &process{dir: dir, talks: p.talks}
	ctx, run.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s: %w", p.name, errors.Join(err, run.close()))
		}
	}()
	if run.addr, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nginx's workers give up root
		return nil, err
	}
	s := &start{ctx: ctx, dir: dir, listen: run.addr, workers: workers, cores: on, routes: routes}
	cmd, err := p.command(s)
	run.release = s.release
	if err != nil {
		return nil, err
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &run.output, &run.output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := startOn(cmd, on); err != nil {
		return nil, err
	}
	run.cmd = cmd
	if err := awaitListener(ctx, run.addr); err != nil {
		return nil, err
	}
	if s.ready != nil {
		if err := s.ready(); err != nil {
			return nil, err
		}
	}
	run.pids, err = awaitFamily(ctx, cmd.Process.Pid, max(s.processes, 1))
	return run, err
}

// awaitFamily returns a process and all that descend from it, once they are so many.
func awaitFamily(ctx context.Context, pid, count int) (all []int, err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if all, err = family(pid); err != nil || len(all) >= count || ctx.Err() != nil {
			return all, errors.Join(err, ctx.Err())
		}
	}
	return nil, fmt.Errorf("it has %d processes, want %d", len(all), count)
}

// close ends the process. The error says when it had ended before, or did not end well.
func (p *process) close() error {
	defer os.RemoveAll(p.dir) //nolint:errcheck // what is left of a folder for temporary files
	if p.release != nil {
		defer p.release()
	}
	defer p.cancel()
	if p.cmd == nil {
		return nil
	}
	early := p.cmd.Process.Signal(syscall.Signal(0))
	p.cancel()
	err := p.cmd.Wait()
	if early != nil {
		return fmt.Errorf("it has ended by itself: %w\n%s", err, p.output.String())
	}
	if text := p.output.String(); text != "" && !p.talks {
		return fmt.Errorf("it complained:\n%s", text)
	}
	return nil // that a signal ended it is what was asked for
}

// freeAddress is an address to listen on that nobody listens on now. It is not 127.0.0.1, so that no client's own port comes in between.
func freeAddress() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.77.0.3:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

func awaitListener(ctx context.Context, at netip.AddrPort) error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, "tcp", at.String()); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("it does not listen: %w", err)
}

// tail keeps what a process said last.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const mostOutput = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - mostOutput; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
