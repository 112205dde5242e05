package http2

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ref "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Clients that make work without end and move nothing are sent away (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316).
func TestFloods(t *testing.T) {
	frame := func(k kind, flags uint8, stream uint32, payload string) string {
		return string(appendHead(nil, len(payload), k, flags, stream)) + payload
	}
	request := func(c *client, id uint32, end uint8) string {
		return frame(headers, flagEndHeaders|end, id, string(c.fields(post()...)))
	}
	same := func(s string) func(*client, int) string { return func(*client, int) string { return s } }
	for _, x := range []struct {
		name   string
		before func(*client) string
		frames func(c *client, i int) string
	}{
		{"PING", nil, same(frame(ping, 0, 0, "12345678"))},
		{"PING that is acknowledged", nil, same(frame(ping, flagAck, 0, "12345678"))},
		{"SETTINGS", nil, same(frame(settings, 0, 0, ""))},
		{"SETTINGS that change windows", nil, same(frame(settings, 0, 0, "\x00\x04\x00\x00\x00\x01"))},
		{"SETTINGS that are acknowledged", nil, same(frame(settings, flagAck, 0, ""))},
		{"PRIORITY", nil, same(frame(priority, 0, 1, "\x00\x00\x00\x03\x01"))},
		{"unknown frames", nil, same(frame(0xee, 0, 1, "x"))},
		{"GOAWAY", nil, same(frame(goAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"))},
		{"the connection's window", nil, same(frame(windowUpdate, 0, 0, "\x00\x00\x00\x01"))},
		{"a stream's window", func(c *client) string { return request(c, 1, 0) }, same(frame(windowUpdate, 0, 1, "\x00\x00\x00\x01"))},
		{"DATA without data", func(c *client) string { return request(c, 1, 0) }, same(frame(data, 0, 1, ""))},
		{"DATA of padding", func(c *client) string { return request(c, 1, 0) }, same(frame(data, flagPadded, 1, "\x03abc"))},
		{"parts of a head without end", func(*client) string { return frame(headers, 0, 1, "\x82") }, same(frame(continuation, 0, 1, ""))},
		{"a head without end", func(*client) string { return frame(headers, 0, 1, "\x82") }, same(frame(continuation, 0, 1, strings.Repeat("\x82", 1<<10)))},
		{"a field without end", func(*client) string { return frame(headers, 0, 1, "\x00\x01x\x7f\xff\xff\x7f") }, same(frame(continuation, 0, 1, strings.Repeat("x", 1<<10)))},
		{"requests that are reset", nil, func(c *client, i int) string {
			id := uint32(2*i + 1)
			return request(c, id, 0) + string(appendWord(nil, rstStream, id, uint32(Cancel)))
		}},
		{"requests that are no requests", nil, func(c *client, i int) string {
			return frame(headers, flagEndHeaders|flagEndStream, uint32(2*i+1), "\x82")
		}},
		{"more requests than were offered", nil, func(c *client, i int) string { return request(c, uint32(2*i+1), 0) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			var now, most atomic.Int32
			block := make(chan struct{})
			c := dial(t, testConfig(), func(*Stream) {
				most.Store(max(most.Load(), now.Add(1)))
				<-block
				now.Add(-1)
			})
			t.Cleanup(func() { close(block) })
			var all bytes.Buffer
			if x.before != nil {
				all.WriteString(x.before(c))
			}
			for i := range 20_000 {
				all.WriteString(x.frames(c, i))
			}
			go func() { _, _ = c.conn.Write(all.Bytes()) }() // until the server has had enough
			c.wantGoAway(EnhanceYourCalm)
			if n := most.Load(); n > 2*10+ending {
				t.Errorf("%d requests ran at once, where 10 were offered", n)
			}
		})
	}
}

// A client that takes one byte after the other is sent away.
func TestDribble(t *testing.T) {
	c := dial(t, testConfig(), func(s *Stream) {
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write(make([]byte, 64<<10), true, false)
	}, ref.Setting{ID: ref.SettingInitialWindowSize, Val: 0})
	c.headers(1, true, get()...)
	for range 20_000 {
		if c.out.WriteWindowUpdate(1, 1) != nil {
			break
		}
		if e := c.next(func(e event) bool { return e.Type == ref.FrameData || e.Type == ref.FrameGoAway }); e.Type == ref.FrameGoAway {
			if Code(e.code) != EnhanceYourCalm {
				t.Error(e)
			}
			return
		}
	}
	t.Error("a client may go on")
}

// Who takes what is sent, and opens its windows for every KiB of it, is not sent away however long that goes on.
func TestBusyClients(t *testing.T) {
	const size = 1 << 20
	c := dial(t, testConfig(), func(s *Stream) {
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write(make([]byte, size), true, false)
	})
	for id := uint32(1); id < 20; id += 2 {
		c.headers(id, true, get()...)
		for got := 0; got < size; {
			e := c.next(func(e event) bool { return e.Type == ref.FrameData || e.Type == ref.FrameGoAway })
			if e.Type == ref.FrameGoAway {
				t.Fatal(e)
			}
			got += len(e.body)
			for n := len(e.body); n > 0; n -= 1 << 10 {
				c.ok(c.out.WriteWindowUpdate(0, uint32(min(n, 1<<10))))
				if !e.end() {
					c.ok(c.out.WriteWindowUpdate(id, uint32(min(n, 1<<10))))
				}
			}
		}
	}
}

// A few bytes that stand for many (a bomb of the header table's) are refused before they are many.
func TestBomb(t *testing.T) {
	heads := make(chan Head, 2)
	c := dial(t, testConfig(), func(s *Stream) {
		heads <- s.Head
		say(s)
	})
	c.headers(1, true, get("x", strings.Repeat("y", 3<<10))...)
	c.answer(1)
	if h := <-heads; h.TooLarge || len(h.Fields) != 1 {
		t.Fatalf("%.200v", h)
	}
	block := append(c.fields(get()...), bytes.Repeat([]byte{0x80 | 62}, 5000)...)
	c.ok(c.out.WriteHeaders(ref.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndStream: true, EndHeaders: true}))
	c.answer(3)
	if h := <-heads; !h.TooLarge || h.Fields != nil {
		t.Fatalf("%.200v", h)
	}
	c.alive(5)
}

// Who asks and does not read the answers is not asked for more, and makes nothing pile up.
func TestNobodyReads(t *testing.T) {
	const size = 1 << 20
	one, other := pair(t)
	_ = one.(*net.TCPConn).SetReadBuffer(16 << 10) // so that little is under way
	_ = other.(*net.TCPConn).SetWriteBuffer(16 << 10)
	var group sync.WaitGroup
	c := dumb(t, testConfig(), func(s *Stream) {
		b := AppendField(AppendStatus(nil, 200), "x", strings.Repeat("y", 30<<10))
		s.Begin(b)
		for range size >> 16 {
			if s.Write(make([]byte, 64<<10), false, false) != nil {
				return
			}
		}
		_ = s.End(nil)
	}, one, other)
	var in bytes.Buffer
	out := ref.NewFramer(&in, nil)
	in.WriteString(preface)
	c.ok(out.WriteSettings(ref.Setting{ID: ref.SettingInitialWindowSize, Val: 1 << 30}))
	c.ok(out.WriteWindowUpdate(0, 1<<30))
	for i := range 10 {
		c.ok(out.WriteHeaders(ref.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: c.fields(get()...), EndStream: true, EndHeaders: true}))
	}
	for range 800 {
		c.ok(out.WritePing(false, [8]byte{}))
	}
	group.Go(func() { _, _ = one.Write(in.Bytes()) })
	for end := time.Now().Add(patient); ; <-time.After(time.Millisecond) {
		c.server.mu.Lock()
		waiting, writing, running, queue := len(c.server.out.waiting), c.server.out.writing, c.server.running, c.server.out.queue
		c.server.mu.Unlock()
		if waiting > mostWaiting+64<<10 {
			t.Fatalf("%d bytes wait", waiting)
		}
		if writing && running >= 9 && queue >= 8 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d requests run, %d wait for room", running, queue)
		}
	}
	c.listen()
	got := map[uint32]int{}
	for ended := 0; ended < 10; {
		e := c.next(func(e event) bool { return e.Type == ref.FrameData || e.Type == ref.FrameGoAway })
		got[e.StreamID] += len(e.body)
		if e.end() {
			ended++
			if got[e.StreamID] != size {
				t.Errorf("stream %d: %d bytes", e.StreamID, got[e.StreamID])
			}
		}
		if e.Type == ref.FrameGoAway {
			t.Fatal(e)
		}
	}
	group.Wait()
}

// Whatever a client sends, the server does not break, comes to an end, and says nothing but well-formed frames.
func FuzzConn(f *testing.F) {
	c := &client{}
	c.encoder = hpack.NewEncoder(&c.block)
	f.Add([]byte{})
	f.Add(appendBlock(nil, c.fields(get()...), 1, true, 1<<14))
	f.Add(append(appendBlock(nil, c.fields(post("content-length", "3")...), 1, false, 10), appendHead(nil, 3, data, flagEndStream, 1)...))
	f.Add(appendSettings(nil, setting{settingInitialWindow, 1}, setting{settingTableSize, 0}))
	f.Add(appendWord(appendWord(nil, windowUpdate, 0, 1), rstStream, 1, 8))
	f.Add(append(appendHead(nil, 8, ping, 0, 0), "12345678"...))
	f.Add(appendGoAway(nil, 0, NoError))
	f.Fuzz(func(t *testing.T, sent []byte) {
		one, other := net.Pipe()
		c := greet(dumb(t, testConfig(), func(s *Stream) {
			body := make([]byte, 1<<10)
			n, _ := s.Read(body)
			s.Begin(AppendField(AppendStatus(nil, 200), "x", s.Head.Method))
			_ = s.Write(body[:n], false, false)
			_ = s.End(AppendField(nil, "y", s.Head.Path))
		}, one, other))
		_ = one.SetDeadline(time.Now().Add(patient))
		_, _ = one.Write(sent)
		one.Close()
		if err := c.wait(); isTimeout(err) {
			t.Error(err)
		}
		for e := range c.events {
			if e.text != "" {
				t.Error(e.text)
			}
		}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// FuzzHead holds the reading of frames' heads against another implementation's.
func FuzzHead(f *testing.F) {
	f.Add(appendHead(nil, 1<<24-1, 0xff, 0xff, 1<<32-1))
	f.Add(appendHead(nil, 5, headers, flagEndHeaders, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := ref.ReadFrameHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got := parseHead(b); got.length != int(want.Length) || uint8(got.kind) != uint8(want.Type) || got.flags != uint8(want.Flags) || got.stream != want.StreamID {
			t.Errorf("%+v, want %v", got, want)
		}
	})
}
