package proxytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long one run of a client may take on a machine that is busy with other tests.
const patience = 60 * time.Second

// Network is where clients find hosts of any name: all of them are 127.0.0.1. Programs reach it as the proxy of their
// https requests (RFC 9110, section 9.3.6).
type Network struct {
	URL string

	mu    sync.Mutex
	asked []string // names with ports, in the order in which they were asked for first
}

// NewNetwork starts a network that ends with the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{URL: "http://" + l.Addr().String()}
	var tunnels sync.WaitGroup
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		defer tunnels.Done()
		n.tunnel(t.Context(), w, r)
	})}
	tunnels.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		tunnels.Wait()
	})
	return n
}

// Asked returns which names clients have asked for, with ports.
func (n *Network) Asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

func (n *Network) tunnel(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	if !slices.Contains(n.asked, r.Host) {
		n.asked = append(n.asked, r.Host)
	}
	n.mu.Unlock()
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil || r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT HOST:PORT", http.StatusBadRequest)
		return
	}
	to, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	from, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = from.Close()
		_ = to.Close()
	})
	defer stop()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(from, to)
		_ = from.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(to, rw.Reader)
	_ = to.(*net.TCPConn).CloseWrite()
	<-back
}

// Skopeo runs Debian's skopeo, a client of Docker registries.
type Skopeo struct {
	network *Network
	home    string
	certs   string
}

// NewSkopeo makes a client that trusts an authority, and shows a certificate unless it is nil.
func NewSkopeo(t testing.TB, n *Network, trust *Authority, certificate *tls.Certificate) *Skopeo {
	t.Helper()
	s := &Skopeo{network: n, home: t.TempDir()}
	s.certs = filepath.Join(s.home, "certs")
	if err := os.Mkdir(s.certs, 0o700); err != nil {
		t.Fatal(err)
	}
	writePEM(t, s.certs, "ca.crt", "CERTIFICATE", trust.Certificate.Raw)
	if certificate != nil {
		writePEM(t, s.certs, "client.cert", "CERTIFICATE", certificate.Certificate...)
		writeKey(t, s.certs, "client.key", *certificate)
	}
	return s
}

// Push copies an image to a registry: HOST:PORT/NAME:TAG. The error says what skopeo said.
func (s *Skopeo) Push(ctx context.Context, img Image, to string) error {
	_, err := s.run(ctx, "copy", "--preserve-digests", "--dest-cert-dir", s.certs, "--dest-creds", User+":"+Password, img.Reference(), "docker://"+to)
	return err
}

// Pull copies an image from a registry, and returns the digest of what came.
func (s *Skopeo) Pull(ctx context.Context, from string) (digest string, err error) {
	dir, err := os.MkdirTemp(s.home, "pulled")
	if err != nil {
		return "", err
	}
	if _, err := s.run(ctx, "copy", "--preserve-digests", "--src-cert-dir", s.certs, "--src-creds", User+":"+Password, "docker://"+from, "dir:"+dir); err != nil {
		return "", err
	}
	out, err := s.run(ctx, "manifest-digest", filepath.Join(dir, "manifest.json"))
	return strings.TrimSpace(out), err
}

// Inspect returns what skopeo prints of an image.
func (s *Skopeo) Inspect(ctx context.Context, image string) (string, error) {
	return s.run(ctx, "inspect", "--cert-dir", s.certs, "--creds", User+":"+Password, "docker://"+image)
}

// Tags returns what skopeo prints of a repository's tags.
func (s *Skopeo) Tags(ctx context.Context, repository string) (string, error) {
	return s.run(ctx, "list-tags", "--cert-dir", s.certs, "--creds", User+":"+Password, "docker://"+repository)
}

func (s *Skopeo) run(ctx context.Context, args ...string) (string, error) {
	return run(ctx, []string{"HOME=" + s.home, "XDG_RUNTIME_DIR=" + s.home, "TMPDIR=" + s.home, "HTTPS_PROXY=" + s.network.URL},
		"skopeo", append([]string{"--insecure-policy"}, args...)...)
}

// Curl runs curl, which finds every host at 127.0.0.1 and trusts an authority, and returns what it wrote.
func Curl(ctx context.Context, authority string, args ...string) (string, error) {
	return run(ctx, nil, "curl", append([]string{"-q", "--silent", "--show-error", "--connect-to", "::127.0.0.1:", "--cacert", authority}, args...)...)
}

func run(ctx context.Context, env []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaint, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return out.String(), errors.Join(err, errors.New(strings.TrimSpace(complaint.String())))
	}
	return out.String(), nil
}
