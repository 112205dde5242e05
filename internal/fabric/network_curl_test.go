package fabric

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// curl runs the real curl and returns what it printed to both outputs, and its exit code.
func curl(t *testing.T, stdin string, args ...string) (out, said string, code int) {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("needs curl (Debian package curl): %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-q", "-sS", "--noproxy", ""}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// proxied is an HTTP server behind a listener that wants PROXY headers; it serves a body of random bytes at /large.
func proxied(t *testing.T) (Target, []byte) {
	t.Helper()
	large := make([]byte, 8<<20)
	_, _ = rand.Read(large)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = rw.Write(large)
		case "/upload":
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(rw, http.StatusText(http.StatusOK)+" "+strings.Repeat("x", int(n>>20)))
		default:
			_, _ = io.WriteString(rw, "hello "+r.RemoteAddr)
		}
	}))
	srv.Listener = &proxyproto.Listener{Listener: srv.Listener, ReadHeaderTimeout: 5 * time.Second}
	srv.Start()
	t.Cleanup(srv.Close)
	return targetOf(srv.Listener.Addr()), large
}

// What a person does with curl through the vantage points, and what curl says of it.
func TestCurl(t *testing.T) {
	t.Parallel()
	target, large := proxied(t)
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, "outside") }))
	defer other.Close()
	w := newWorld(t, func(cfg *Config) {
		cfg.Internet = []InternetHost{{Name: "www.test", Ports: map[uint16]string{80: other.Listener.Addr().String()}}}
	}).build(target)
	w.change(func(s *State) {
		s.HostedZones["Z"] = hostedTestZone("Z", "db.vendor.test.", true, w.customer.VPCID,
			"db.vendor.test. SOA ns.vendor.test. a.vendor.test. 1 7200 900 1209600 60", "db.vendor.test. A ALIAS "+w.name()+".")
		for _, id := range s.Endpoints[w.endpoint].GroupIDs {
			s.SecurityGroups[id].Rules = append(s.SecurityGroups[id].Rules, Rule{ID: "sgr-81", Protocol: "tcp", FromPort: 81, ToPort: 81, CIDR: everywhere})
		}
	})
	inside, subnet := w.customer.VPCID, w.customer.VPCID+"%2F"+w.customer.SubnetIDs[1]
	const (
		noProxy = 97 // curl's code for a SOCKS failure
		noReply = 56 // and for a CONNECT that was refused
		slow    = 28
	)
	type run struct {
		user, url string
		exitSOCKS int
		exitHTTP  int
		out       string
		saidHTTP  string
		extra     []string
	}
	from := vantageAddress(w.f.snapshot().Subnets[w.customer.SubnetIDs[0]].CIDR).String()
	from2 := vantageAddress(w.f.snapshot().Subnets[w.customer.SubnetIDs[1]].CIDR).String()
	for name, c := range map[string]run{
		"the private name":            {user: inside, url: "http://db.vendor.test:443/", out: "hello " + from + ":"},
		"from another subnet":         {user: subnet, url: "http://db.vendor.test:443/", out: "hello " + from2 + ":"},
		"the endpoint's name":         {user: inside, url: "http://" + w.name() + ":443/", out: "hello " + from + ":"},
		"its address":                 {user: inside, url: "http://" + w.interfaceAddr(1).String() + ":443/", out: "hello " + from + ":"},
		"the internet, from a VPC":    {user: inside, url: "http://www.test/", out: "outside"},
		"the internet, from outside":  {user: Internet, url: "http://www.test/", out: "outside"},
		"the private name, outside":   {user: Internet, url: "http://db.vendor.test:443/", exitSOCKS: noProxy, exitHTTP: noReply, saidHTTP: "502"},
		"the private name, elsewhere": {user: w.vendor.VPCID, url: "http://db.vendor.test:443/", exitSOCKS: noProxy, exitHTTP: noReply, saidHTTP: "502"},
		"no listener":                 {user: inside, url: "http://db.vendor.test:81/", exitSOCKS: noProxy, exitHTTP: noReply, saidHTTP: "502"},
		"a silent drop":               {user: inside, url: "http://db.vendor.test:82/", exitSOCKS: slow, exitHTTP: slow, extra: []string{"-m", "1"}},
		"a VPC that does not exist":   {user: "vpc-unknown", url: "http://www.test/", exitSOCKS: noProxy, exitHTTP: noReply, saidHTTP: "407"},
	} {
		t.Run(name, func(t *testing.T) {
			out, said, exit := curl(t, "", append(c.extra, "-v", "--proxy", "socks5h://"+c.user+":x@"+w.f.SOCKSAddr(), c.url)...)
			if exit != c.exitSOCKS || !strings.HasPrefix(out, c.out) {
				t.Errorf("SOCKS: exit %d, want %d, out %q\n%s", exit, c.exitSOCKS, out, said)
			}
			out, said, exit = curl(t, "", append(c.extra, "-v", "-p", "--proxy", "http://"+c.user+":x@"+w.f.HTTPProxyAddr(), c.url)...)
			if exit != c.exitHTTP || !strings.HasPrefix(out, c.out) || !strings.Contains(said, c.saidHTTP) {
				t.Errorf("CONNECT: exit %d, want %d, out %q\n%s", exit, c.exitHTTP, out, said)
			}
		})
	}

	t.Run("no user name", func(t *testing.T) {
		if out, said, exit := curl(t, "", "--proxy", "socks5h://"+w.f.SOCKSAddr(), "http://www.test/"); exit != noProxy {
			t.Errorf("exit %d, out %q\n%s", exit, out, said)
		}
	})
	t.Run("a large answer", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "large")
		_, said, exit := curl(t, "", "-o", file, "--proxy", "socks5h://"+inside+":x@"+w.f.SOCKSAddr(), "http://db.vendor.test:443/large")
		if got, err := os.ReadFile(file); err != nil || exit != 0 || !bytes.Equal(got, large) {
			t.Errorf("exit %d, %d bytes of %d, %v\n%s", exit, len(got), len(large), err, said)
		}
	})
	t.Run("a large upload", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "large")
		if err := os.WriteFile(file, large, 0o600); err != nil {
			t.Fatal(err)
		}
		out, said, exit := curl(t, "", "-T", file, "--proxy", "socks5h://"+inside+":x@"+w.f.SOCKSAddr(), "http://db.vendor.test:443/upload")
		if exit != 0 || out != "OK xxxxxxxx" {
			t.Errorf("exit %d, out %q\n%s", exit, out, said)
		}
	})
	t.Run("telnet", func(t *testing.T) {
		out, said, exit := curl(t, "GET / HTTP/1.0\r\n\r\n", "-v", "--proxy", "socks5h://"+inside+":x@"+w.f.SOCKSAddr(), "telnet://"+w.name()+":443")
		if exit != 0 || !strings.Contains(out, "hello "+from) {
			t.Errorf("exit %d, out %q\n%s", exit, out, said)
		}
	})
}
