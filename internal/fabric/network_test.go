package fabric

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"go.uber.org/goleak"
)

// A flow through the endpoint: the target hears who came and through which endpoint, and either side ends on its own.
func TestDialThroughEndpoint(t *testing.T) {
	heard := make(chan *proxyproto.Header, 1)
	w := newWorld(t, nil)
	w.build(startTarget(t, func(h *proxyproto.Header, c *net.TCPConn, r io.Reader) {
		heard <- h
		all, _ := io.ReadAll(r) // ends with the client's half-close
		_, _ = c.Write([]byte(strings.ToUpper(string(all))))
	}))
	conn, err := w.dial(60*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("hello"))
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "HELLO" || err != nil {
		t.Errorf("answer %q, %v", got, err)
	}
	h := <-heard
	tlvs, _ := h.TLVs()
	if got := tlvparse.FindAWSVPCEndpointID(tlvs); got != w.endpoint {
		t.Errorf("the target heard endpoint %q, want %q", got, w.endpoint)
	}
	if h.SourceAddr.String() != conn.LocalAddr().String() || h.DestinationAddr.String() != conn.RemoteAddr().String() {
		t.Errorf("the target heard %s to %s, the client has %s to %s", h.SourceAddr, h.DestinationAddr, conn.LocalAddr(), conn.RemoteAddr())
	}
	if want := netip.AddrPortFrom(w.interfaceAddr(0), 443).String(); conn.RemoteAddr().String() != want {
		t.Errorf("dialled %s, want %s", conn.RemoteAddr(), want)
	}
}

// Without the attribute the target hears the client's own first byte first.
func TestDialWithoutProxyProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := newWorld(t, nil).build(targetOf(ln.Addr()))
	w.change(func(s *State) {
		s.TargetGroups[w.tg].Attributes[AttrProxyProtocolV2] = "false"
		s.TargetGroups[w.tg].HealthCheck.Enabled = false
	})
	conn, err := w.dial(60*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("hello"))
	conn.Close()
	for { // a health check from before they were turned off may come first
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		c.Close()
		if string(got) == "hello" {
			return
		}
		if len(got) > 16 {
			t.Fatalf("the target heard %q", got)
		}
	}
}

// How a dial fails, as a program sees it.
func TestDialFailures(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		cfg.Internet = []InternetHost{{Name: "www.test", Ports: map[uint16]string{443: "127.0.0.1:1"}}}
	}).build(startTarget(t, echo))
	isTimeout := func(err error) bool {
		var ne net.Error
		return errors.As(err, &ne) && ne.Timeout()
	}
	for _, c := range []struct {
		what, from, address string
		is                  func(error) bool
	}{
		{"no such name", w.customer.VPCID, "nope.test:443", func(err error) bool {
			var e *net.DNSError
			return errors.As(err, &e) && e.IsNotFound
		}},
		{"nobody listens", Internet, "www.test:443", func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{"no such port", Internet, "www.test:80", func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{"no listener", w.customer.VPCID, w.interfaceAddr(0).String() + ":444", isTimeout}, // the security group comes first
		{"a private address from outside", Internet, w.name() + ":443", func(err error) bool { return errors.Is(err, syscall.ENETUNREACH) }},
		{"silence", w.customer.VPCID, "10.255.255.255:443", isTimeout},
		{"no such vantage point", "vpc-unknown", "www.test:443", func(err error) bool { return err != nil }},
		{"no port", Internet, "www.test", func(err error) bool { return err != nil }},
		{"a named port", Internet, "www.test:https", func(err error) bool { return err != nil }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		conn, err := w.f.Dial(ctx, c.from, "tcp", c.address)
		cancel()
		if err == nil {
			conn.Close()
		}
		var op *net.OpError
		if !c.is(err) || !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if _, err := w.f.Dial(t.Context(), Internet, "udp", "www.test:443"); err == nil {
		t.Error("UDP was dialled")
	}
}

// A load balancer without targets lets the connection stand and resets it.
func TestDialWithoutTargets(t *testing.T) {
	w := newWorld(t, nil).build()
	conn, err := w.dial(time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("err %v, want a reset", err)
	}
}

// A drop is silent, and a dial that holds through it goes on when the way opens.
func TestDialHoldsUntilTheWayOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).build(startTarget(t, echo))
	w.change(func(s *State) { s.Endpoints[w.endpoint].State = EndpointPendingAcceptance })
	before := time.Now()
	if _, err := w.dial(300*time.Millisecond, w.name()+":443"); err == nil || time.Since(before) < 250*time.Millisecond {
		t.Fatalf("err %v after %s, want a time-out after 300ms", err, time.Since(before))
	}
	result := make(chan error, 1)
	go func() {
		conn, err := w.dial(20*time.Second, w.name()+":443")
		if err == nil {
			conn.Close()
		}
		result <- err
	}()
	w.change(func(s *State) { s.Endpoints[w.endpoint].State = EndpointAvailable })
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// Of two addresses the first is silent: the second gets its share of the time.
func TestDialTriesTheNextAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).build(startTarget(t, echo))
	w.change(func(s *State) {
		nic := s.NetworkInterfaces["eni-ep0"]
		nic.GroupIDs = []string{s.newGroup(s.VPCs[w.customer.VPCID], "closed", "").ID}
	})
	conn, err := w.dial(4*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if want := netip.AddrPortFrom(w.interfaceAddr(1), 443).String(); conn.RemoteAddr().String() != want {
		t.Errorf("dialled %s, want %s", conn.RemoteAddr(), want)
	}
}

// Deleting the endpoint cuts its flows; rejecting it leaves them and lets no new one in.
func TestFlowsAndTheirEndpoint(t *testing.T) {
	w := newWorld(t, nil).build(startTarget(t, echo))
	conn, err := w.dial(60*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pingPong := func() error {
		_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	if err := pingPong(); err != nil {
		t.Fatal(err)
	}
	w.change(func(s *State) { s.Endpoints[w.endpoint].State = EndpointRejected })
	if err := pingPong(); err != nil {
		t.Errorf("after the rejection: %v", err)
	}
	if _, err := w.dial(100*time.Millisecond, w.name()+":443"); err == nil {
		t.Error("a new flow was let in after the rejection")
	}
	w.change(func(s *State) { s.Endpoints[w.endpoint].State = EndpointDeleting })
	await(t, "the flow is cut", func() bool { return pingPong() != nil })
}

// A silent flow is cut after the load balancer's idle time-out, one that moves is not.
func TestIdleFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).build(startTarget(t, echo))
	w.change(func(s *State) { s.Listeners[w.listener].IdleSeconds = 2 })
	idle, err := w.dial(60*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	busy, err := w.dial(60*time.Second, w.name()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	read := make(chan error, 1)
	go func() {
		_, err := idle.Read(make([]byte, 1))
		read <- err
	}()
	for {
		select {
		case err := <-read:
			if err == nil {
				t.Error("the idle flow read a byte")
			}
			if _, err := busy.Write([]byte("x")); err != nil {
				t.Errorf("the busy flow was cut: %v", err)
			}
			return
		case <-time.After(100 * time.Millisecond):
			if _, err := busy.Write([]byte("x")); err != nil {
				t.Fatalf("the busy flow was cut: %v", err)
			}
			if _, err := io.ReadFull(busy, make([]byte, 1)); err != nil {
				t.Fatalf("the busy flow was cut: %v", err)
			}
		}
	}
}

// Much, both ways at once, through the proxy's splice.
func TestLargeBody(t *testing.T) {
	w := newWorld(t, nil).build(startTarget(t, echo))
	conn := dialSOCKS(t, w.f.SOCKSAddr(), w.customer.VPCID, w.name())
	body := make([]byte, 16<<20)
	_, _ = rand.Read(body)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = conn.Write(body)
		_ = conn.CloseWrite()
	})
	sum := sha256.New()
	n, err := io.Copy(sum, conn)
	wg.Wait()
	if err != nil || n != int64(len(body)) || [32]byte(sum.Sum(nil)) != sha256.Sum256(body) {
		t.Errorf("%d bytes of %d came back, %v; checksums equal: %v", n, len(body), err, [32]byte(sum.Sum(nil)) == sha256.Sum256(body))
	}
}

// A busy spliced flow outlives the idle time-out, though nothing above the kernel sees its bytes; once silent it ends.
func TestIdleSplicedFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).build(startTarget(t, echo))
	w.change(func(s *State) { s.Listeners[w.listener].IdleSeconds = 2 })
	conn := dialSOCKS(t, w.f.SOCKSAddr(), w.customer.VPCID, w.name())
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 40 {
		<-tick.C
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("err %v, want a reset", err)
	}
}

// A CONNECT client that sends before it has its answer, and then finishes sending, loses nothing.
func TestConnectClientSpeaksFirst(t *testing.T) {
	w := newWorld(t, nil).build(startTarget(t, echo))
	c, err := net.Dial("tcp", w.f.HTTPProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, connectHead(w.name()+":443", w.customer.VPCID)+"early ")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // a tunnel's answer has none: the bytes behind it stay in r
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	_, _ = io.WriteString(c, "late")
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(r); string(got) != "early late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// dialSOCKS goes to the host's port 443 through the SOCKS vantage point with a client of the test's own, which ends with
// the test.
func dialSOCKS(t testing.TB, proxy, user, host string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, socksGreeting(user, "x"))
	_, _ = c.Write(append(append([]byte{5, 1, 0, 3, byte(len(host))}, host...), 443>>8, 443&0xff))
	var welcome [4]byte
	if _, err := io.ReadFull(c, welcome[:]); err != nil || welcome[3] != 0 {
		t.Fatalf("welcome %v, %v", welcome, err)
	}
	var reply [10]byte
	if _, err := io.ReadFull(c, reply[:]); err != nil || reply[1] != socksSucceeded {
		t.Fatalf("reply %v, %v", reply, err)
	}
	return c.(*net.TCPConn)
}

// Close ends what runs: listeners, name servers, health checks, flows in both forms, dials that hold.
func TestCloseLeavesNothing(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("world", func(t *testing.T) {
		w := newWorld(t, nil).build(startTarget(t, echo))
		direct, err := w.dial(60*time.Second, w.name()+":443")
		if err != nil {
			t.Fatal(err)
		}
		spliced := dialSOCKS(t, w.f.SOCKSAddr(), w.customer.VPCID, w.name())
		_ = w.f.DNSAddr(w.customer.VPCID)
		held := make(chan error, 1)
		go func() {
			_, err := w.f.Dial(t.Context(), w.customer.VPCID, "tcp", "10.255.255.255:443")
			held <- err
		}()
		idle, err := net.Dial("tcp", w.f.SOCKSAddr()) // a client that says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
		if err := w.f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{direct, spliced} {
			_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a flow outlived the fabric: %v", err)
			}
			c.Close()
		}
		select {
		case err := <-held:
			if err == nil {
				t.Error("a dial succeeded after the end")
			}
		case <-time.After(60 * time.Second):
			t.Error("a dial holds although the fabric is closed")
		}
		if _, err := w.f.Dial(t.Context(), w.customer.VPCID, "tcp", w.name()+":443"); err == nil {
			t.Error("a dial succeeded after the end")
		}
	})
	goleak.VerifyNone(t, ignore)
}

// After a restart on the same directory the same endpoint carries again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	keep := func(cfg *Config) { cfg.Dir = dir }
	first := newWorld(t, keep).build(startTarget(t, echo))
	name := first.name()
	if err := first.f.Close(); err != nil {
		t.Fatal(err)
	}
	second := newWorld(t, keep)
	conn, err := second.dial(60*time.Second, name+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// A fabric that cannot start says why and leaves nothing behind.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for want, cfg := range map[string]Config{
		"SOCKS":      {SOCKSAddr: address},
		"HTTP proxy": {HTTPProxyAddr: address},
		"loopback":   {Internet: []InternetHost{{Name: "www.test", Ports: map[uint16]string{443: "192.0.2.1:443"}}}},
		"twice":      {Internet: []InternetHost{{Name: "www.test"}, {Name: "www.test"}}},
	} {
		ignore := goleak.IgnoreCurrent()
		f, err := Start(t.Context(), cfg)
		if err == nil {
			_ = f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err %v", want, err)
		}
		goleak.VerifyNone(t, ignore)
	}
}
