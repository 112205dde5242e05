package fabric

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestParseVantage(t *testing.T) {
	for in, want := range map[string]vantage{
		"internet":              {vpcID: Internet},
		"vpc-0a":                {vpcID: "vpc-0a"},
		"vpc-0a/subnet-0b":      {"vpc-0a", "subnet-0b"},
		"":                      {},
		"vpc":                   {},
		"vpc-0a/":               {},
		"vpc-0a/eni-1":          {},
		"Internet":              {},
		"internet/subnet-0b":    {},
		"subnet-0b":             {},
		"arn:aws:ec2:vpc/vpc-1": {},
	} {
		got, ok := parseVantage(in)
		if got != want || ok != (want != vantage{}) {
			t.Errorf("%q: %+v, %v; want %+v", in, got, ok, want)
		}
		if ok && got.String() != in {
			t.Errorf("%q is written as %q", in, got)
		}
	}
}

// startProxy runs a SOCKS proxy whose dials are the test's.
func startProxy(t *testing.T, dial func(ctx context.Context, p passage) (*flow, error)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, proto: socks{}, admit: anyVPC, dial: dial, log: slog.New(slog.DiscardHandler)}
	p.serve(t.Context())
	t.Cleanup(p.close)
	return ln.Addr().String()
}

const socksToA = "\x05\x01\x00\x03\x01a\x00\x01"

// A client that gives up while its dial holds frees it at once.
func TestProxyClientHangsUp(t *testing.T) {
	held, freed := make(chan struct{}), make(chan struct{})
	addr := startProxy(t, func(ctx context.Context, _ passage) (*flow, error) {
		close(held)
		<-ctx.Done()
		close(freed)
		return nil, ctx.Err()
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, socksGreeting("vpc-1", "x")+socksToA)
	<-held
	c.Close()
	select {
	case <-freed:
	case <-time.After(60 * time.Second):
		t.Error("the dial still holds")
	}
}

// A client that sends ahead of its answer still reads the refusal.
func TestProxyClientReadsItsRefusal(t *testing.T) {
	addr := startProxy(t, func(context.Context, passage) (*flow, error) {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	})
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, socksGreeting("vpc-1", "x")+socksToA+"GET / HTTP/1.1\r\n\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c)
		c.Close()
		if err != nil || len(got) != 4+10 || got[5] != socksRefused {
			t.Fatalf("heard %q, %v", got, err)
		}
	}
}

// Looking whether a client is there takes none of its bytes, and leaves no deadline behind.
func TestWatchHangup(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	gone := func() { t.Error("the peer is there") }
	stop := watchHangup(c.(*net.TCPConn), gone)
	stop()
	stop = watchHangup(c.(*net.TCPConn), gone)
	_, _ = io.WriteString(peer, "hello")
	b := make([]byte, 5)
	stop()
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	left := make(chan struct{})
	stop = watchHangup(c.(*net.TCPConn), func() { close(left) })
	peer.Close()
	select {
	case <-left:
	case <-time.After(60 * time.Second):
		t.Error("the hang-up was not seen")
	}
	stop()
	if _, err := c.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("err %v", err)
	}
}
