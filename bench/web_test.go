//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestWebProxiesDoTheWork runs every proxy that speaks HTTP for a moment, with each kind of request: the backend and the
// clients check that all do the same.
func TestWebProxiesDoTheWork(t *testing.T) {
	for _, program := range []string{"nginx", "haproxy", "caddy"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (Debian package %s)", program, program)
		}
	}
	program, err := buildGateway(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{identity: id, webRates: map[string]float64{}}
	if b.cores, err = ownProcessors(); err != nil {
		t.Fatal(err)
	}
	moment := window{warmUp: 50 * time.Millisecond, length: 200 * time.Millisecond, opened: func() error { return nil }, closed: func() error { return nil }}
	for _, p := range webProxies(program, id) {
		t.Run(p.name, func(t *testing.T) {
			err := b.webRun(t.Context(), p, func(run *process) error {
				for _, k := range webKinds {
					// Every connection has had an answer before the window opens; how many come in it is the machine's affair.
					if _, err := b.webLoad(run, p, k).saturate(t.Context(), moment); err != nil {
						t.Errorf("%s: %v", k.title, err)
					}
					n, latency, err := b.webLoad(run, p, k).pace(t.Context(), 50, moment)
					if err != nil || n != len(latency) {
						t.Errorf("%s at a fixed rate: %d requests, %d latencies, %v", k.title, n, len(latency), err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWebPeersTakeTheirConfigurations(t *testing.T) {
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		proxy
		program string
		test    func(args []string) []string
	}{
		{webHAProxy(id), "haproxy", func(args []string) []string { return append(args, "-c") }},
		{webNginx(id), "nginx", func(args []string) []string { return append(args, "-t") }},
		{webCaddy(id), "caddy", func(args []string) []string { return append([]string{"validate"}, args[1:]...) }},
	} {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.program); err != nil {
				t.Skipf("needs %s (Debian package %s)", p.program, p.program)
			}
			cmd, err := p.command(&start{
				ctx: context.Background(), dir: t.TempDir(), listen: testAddress(1000), workers: 2, routes: []route{{webName, testAddress(1001)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			check := exec.Command(cmd.Path, p.test(cmd.Args[1:])...)
			check.Env = cmd.Env
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestTheWebBackendLooksAtRequests: a proxy that does less than the others is found out.
func TestTheWebBackendLooksAtRequests(t *testing.T) {
	b, err := startWebBackend()
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	const good = "GET " + smallPath + " HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n" +
		"X-Forwarded-Host: a\r\nX-JFrog-Override-Base-Url: https://a\r\n\r\n"
	if answer, err := b.answer([]byte(good)); err != nil || !strings.HasSuffix(string(answer), string(documents[smallPath])) {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	for name, bad := range map[string]string{
		"another path":       strings.Replace(good, "/artifactory", "", 1),
		"another method":     strings.Replace(good, "GET", "PUT", 1),
		"no port":            strings.Replace(good, "X-Forwarded-Port: 443\r\n", "", 1),
		"two hosts":          strings.Replace(good, "Host: a\r\n", "Host: a\r\nHost: b\r\n", 1),
		"a forged address":   strings.Replace(good, "10.2.3.4", forgedAddress+", 10.2.3.4", 1),
		"a forged header":    strings.Replace(good, "\r\n\r\n", "\r\nX-Jfrog-Client-Cert: "+forgedCertificate+"\r\n\r\n", 1),
		"an underscored one": strings.Replace(good, "\r\n\r\n", "\r\nX_Jfrog_Client_Cert: "+forgedCertificate+"\r\n\r\n", 1),
	} {
		if _, err := b.answer([]byte(bad)); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestTheCheckerComparesEveryByte(t *testing.T) {
	for _, tt := range []struct {
		got  string
		want error
	}{{"abc", nil}, {"ab", io.ErrUnexpectedEOF}, {"abd", errBody}, {"abcd", errBody}} {
		c := checker{want: []byte("abc")}
		_, err := c.Write([]byte(tt.got))
		if err == nil {
			err = c.end()
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.got, err, tt.want)
		}
	}
}
