package http2

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	ref "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What breaks the connection's rules ends it, with the code that the standard names.
func TestConnectionErrors(t *testing.T) {
	frame := func(kind kind, flags uint8, stream uint32, payload string) func(*client) {
		return func(c *client) { c.raw(string(appendHead(nil, len(payload), kind, flags, stream)) + payload) }
	}
	after := func(before, then func(*client)) func(*client) {
		return func(c *client) {
			before(c)
			then(c)
		}
	}
	opened := func(c *client) { c.headers(1, false, post()...) }
	for _, x := range []struct {
		name string
		do   func(*client)
		code Code
	}{
		{"4.2: a frame that is too long", frame(data, 0, 1, strings.Repeat("x", 16<<10+1)), FrameSizeError},
		{"4.3: a block that cannot be read", frame(headers, flagEndHeaders, 1, "\xff\xff\xff\xff\xff"), CompressionError},
		{"4.3: a block that breaks off", frame(headers, flagEndHeaders, 1, "\x00\x05ab"), CompressionError},
		{"5.1: DATA on an idle stream", frame(data, 0, 1, "x"), ProtocolError},
		{"5.1: RST_STREAM on an idle stream", frame(rstStream, 0, 1, "\x00\x00\x00\x08"), ProtocolError},
		{"5.1: WINDOW_UPDATE on an idle stream", frame(windowUpdate, 0, 1, "\x00\x00\x00\x01"), ProtocolError},
		{"5.1.1: a stream of the server's", func(c *client) { c.headers(2, true, get()...) }, ProtocolError},
		{"5.1.1: a stream that was passed over", func(c *client) {
			c.headers(3, true, get()...)
			c.headers(1, true, get()...)
		}, ProtocolError},
		{"5.1: HEADERS on a closed stream", func(c *client) {
			c.alive(1)
			c.headers(1, true, get()...)
		}, StreamClosed},
		{"6.1: DATA without a stream", frame(data, 0, 0, "x"), ProtocolError},
		{"6.1: more padding than payload", after(opened, frame(data, flagPadded, 1, "\x05abcd")), ProtocolError},
		{"6.1: no room for the padding's length", after(opened, frame(data, flagPadded, 1, "")), FrameSizeError},
		{"6.2: HEADERS without a stream", frame(headers, flagEndHeaders, 0, ""), ProtocolError},
		{"6.2: more padding than payload", frame(headers, flagPadded|flagEndHeaders, 1, "\x05abcd"), ProtocolError},
		{"6.2: no room for the priority", frame(headers, flagPriority|flagEndHeaders, 1, "abcd"), FrameSizeError},
		{"6.2: another frame within a block", after(frame(headers, 0, 1, "\x82"), frame(ping, 0, 0, "12345678")), ProtocolError},
		{"6.2: CONTINUATION of another stream", after(frame(headers, 0, 1, "\x82"), frame(continuation, flagEndHeaders, 3, "\x82")), ProtocolError},
		{"6.3: PRIORITY without a stream", frame(priority, 0, 0, "\x00\x00\x00\x01\x01"), ProtocolError},
		{"6.4: RST_STREAM without a stream", frame(rstStream, 0, 0, "\x00\x00\x00\x08"), ProtocolError},
		{"6.4: RST_STREAM of another length", after(opened, frame(rstStream, 0, 1, "\x00\x00\x08")), FrameSizeError},
		{"6.5: SETTINGS on a stream", frame(settings, 0, 1, ""), ProtocolError},
		{"6.5: an acknowledgement that says something", frame(settings, flagAck, 0, "\x00\x03\x00\x00\x00\x01"), FrameSizeError},
		{"6.5: SETTINGS of another length", frame(settings, 0, 0, "\x00\x03\x00\x00\x00"), FrameSizeError},
		{"6.5.2: neither push nor no push", frame(settings, 0, 0, "\x00\x02\x00\x00\x00\x02"), ProtocolError},
		{"6.5.2: a window that is too large", frame(settings, 0, 0, "\x00\x04\x80\x00\x00\x00"), FlowControlError},
		{"6.5.2: a frame that is too short", frame(settings, 0, 0, "\x00\x05\x00\x00\x3f\xff"), ProtocolError},
		{"6.5.2: a frame that is too long", frame(settings, 0, 0, "\x00\x05\x01\x00\x00\x00"), ProtocolError},
		{"6.6: PUSH_PROMISE", after(opened, frame(pushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02\x82")), ProtocolError},
		{"6.7: PING on a stream", frame(ping, 0, 1, "12345678"), ProtocolError},
		{"6.7: PING of another length", frame(ping, 0, 0, "1234567"), FrameSizeError},
		{"6.8: GOAWAY on a stream", frame(goAway, 0, 1, "\x00\x00\x00\x00\x00\x00\x00\x00"), ProtocolError},
		{"6.8: GOAWAY of another length", frame(goAway, 0, 0, "\x00\x00\x00\x00"), FrameSizeError},
		{"6.9: the connection's window grows by nothing", frame(windowUpdate, 0, 0, "\x00\x00\x00\x00"), ProtocolError},
		{"6.9: WINDOW_UPDATE of another length", frame(windowUpdate, 0, 0, "\x00\x00\x01"), FrameSizeError},
		{"6.9.1: the connection's window overflows", frame(windowUpdate, 0, 0, "\x7f\xff\xff\xff"), FlowControlError},
		{"6.9.2: a stream's window overflows by SETTINGS", after(opened, after(frame(windowUpdate, 0, 1, "\x7f\xff\x00\x00"), frame(settings, 0, 0, "\x00\x04\x7f\xff\xff\xff"))), FlowControlError},
		{"6.9.1: more than the connection's window allows", func(c *client) {
			for stream := uint32(1); stream < 20; stream += 2 { // nobody reads
				c.headers(stream, false, post()...)
				for range StreamWindow / (16 << 10) {
					if c.out.WriteData(stream, false, make([]byte, 16<<10)) != nil {
						return
					}
				}
			}
		}, FlowControlError},
		{"6.10: CONTINUATION of nothing", frame(continuation, flagEndHeaders, 1, "\x82"), ProtocolError},
	} {
		t.Run(x.name, func(t *testing.T) {
			block := make(chan struct{})
			c := dial(t, testConfig(), func(s *Stream) {
				if s.Head.Method == http.MethodPost {
					<-block
					return
				}
				say(s)
			})
			t.Cleanup(func() { close(block) })
			x.do(c)
			c.wantGoAway(x.code)
		})
	}
	t.Run("3.4: no preface", func(t *testing.T) {
		one, other := pair(t)
		c := dumb(t, testConfig(), say, one, other)
		c.listen()
		c.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		c.wantGoAway(ProtocolError)
	})
	t.Run("3.4: no SETTINGS", func(t *testing.T) {
		one, other := pair(t)
		c := dumb(t, testConfig(), say, one, other)
		c.listen()
		c.raw(preface)
		c.ok(c.out.WritePing(false, [8]byte{}))
		c.wantGoAway(ProtocolError)
	})
}

// What breaks one stream's rules ends that one.
func TestStreamErrors(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(*client) // on stream 1
		code Code
	}{
		{"5.1: DATA behind the end", func(c *client) {
			c.headers(1, true, post("x-wait", "1")...)
			c.ok(c.out.WriteData(1, false, []byte("x")))
		}, StreamClosed},
		{"5.1: HEADERS behind the end", func(c *client) {
			c.headers(1, true, post("x-wait", "1")...)
			c.headers(1, true, post()...)
		}, StreamClosed},
		{"5.1: DATA on a closed stream", func(c *client) {
			c.alive(1)
			c.ok(c.out.WriteData(1, false, []byte("x")))
		}, StreamClosed},
		{"5.1: DATA on a stream that was reset", func(c *client) {
			c.headers(1, false, post()...)
			c.ok(c.out.WriteRSTStream(1, ref.ErrCodeCancel))
			c.ok(c.out.WriteData(1, false, []byte("x")))
		}, StreamClosed},
		{"5.1.2: too many at once", func(c *client) {
			for id := uint32(101); id < 121; id += 2 {
				c.headers(id, true, post("x-wait", "1")...)
			}
			c.headers(121, true, get()...)
			c.wantReset(121, RefusedStream)
			c.ok(c.out.WriteRSTStream(101, ref.ErrCodeCancel))
			c.headers(123, true, get()...)
			if status, _ := c.answer(123); status != "200" {
				c.t.Error(status)
			}
			c.raw(string(appendWord(nil, windowUpdate, 103, 0)))
			c.wantReset(103, ProtocolError)
		}, NoError},
		{"5.3.1: depends on itself", func(c *client) {
			c.ok(c.out.WriteHeaders(ref.HeadersFrameParam{
				StreamID: 1, BlockFragment: c.fields(get()...), EndStream: true, EndHeaders: true, Priority: ref.PriorityParam{StreamDep: 1},
			}))
		}, ProtocolError},
		{"6.3: PRIORITY of another length", func(c *client) {
			c.headers(1, false, post()...)
			c.raw(string(appendHead(nil, 4, priority, 0, 1)) + "abcd")
		}, FrameSizeError},
		{"6.9: the window grows by nothing", func(c *client) {
			c.headers(1, false, post()...)
			c.raw(string(appendWord(nil, windowUpdate, 1, 0)))
		}, ProtocolError},
		{"6.9.1: the window overflows", func(c *client) {
			c.headers(1, false, post()...)
			c.ok(c.out.WriteWindowUpdate(1, 1<<31-1))
		}, FlowControlError},
		{"6.9.1: more than the window allows", func(c *client) {
			c.headers(1, false, post("x-wait", "1")...)
			for range StreamWindow/(16<<10) + 1 {
				c.ok(c.out.WriteData(1, false, make([]byte, 16<<10)))
			}
		}, FlowControlError},
		{"8.1: trailers without the end", func(c *client) {
			c.headers(1, false, post()...)
			c.headers(1, false, "x-sum", "1")
		}, ProtocolError},
		{"8.1: pseudo-header fields in trailers", func(c *client) {
			c.headers(1, false, post()...)
			c.headers(1, true, ":path", "/")
		}, ProtocolError},
		{"8.1.1: more than Content-Length", func(c *client) {
			c.headers(1, false, post("content-length", "3")...)
			c.ok(c.out.WriteData(1, false, []byte("abcd")))
		}, ProtocolError},
		{"8.1.1: less than Content-Length", func(c *client) {
			c.headers(1, false, post("content-length", "3")...)
			c.ok(c.out.WriteData(1, true, []byte("ab")))
		}, ProtocolError},
		{"8.1.1: less than Content-Length before trailers", func(c *client) {
			c.headers(1, false, post("content-length", "3")...)
			c.headers(1, true, "x-sum", "1")
		}, ProtocolError},
		{"8.1.1: a Content-Length and no body", func(c *client) { c.headers(1, true, post("content-length", "3")...) }, ProtocolError},
		{"8.1: the handler says nothing", func(c *client) { c.headers(1, true, get("x-silent", "1")...) }, InternalError},
		{"8.1: nobody wants the rest", func(c *client) {
			c.headers(1, false, post("x-early", "1")...)
			if status, _ := c.answer(1); status != "200" {
				c.t.Error(status)
			}
		}, NoError},
	} {
		t.Run(x.name, func(t *testing.T) {
			block := make(chan struct{})
			c := dial(t, testConfig(), func(s *Stream) {
				has := func(name string) bool {
					return slices.ContainsFunc(s.Head.Fields, func(f Field) bool { return f.Name == name })
				}
				switch {
				case has("x-wait"):
					<-block
				case has("x-silent"):
				case has("x-early"):
					s.Begin(AppendStatus(nil, 200))
					_ = s.End(nil)
				default:
					say(s)
				}
			})
			t.Cleanup(func() { close(block) })
			x.do(c)
			if !strings.HasPrefix(x.name, "5.1.2") {
				c.wantReset(1, x.code)
			}
			c.alive(201)
		})
	}
}

// Requests by their fields (RFC 9113 sections 8.2 and 8.3): what the handler is given, or that it is asked nothing.
func TestHeads(t *testing.T) {
	long := strings.Repeat("x", 9<<10)
	for _, x := range []struct {
		name   string
		fields []string
		want   *Head // nil: the stream is reset
	}{
		{"plain", get("user-agent", "x", "accept", "*/*"), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", Fields: []Field{{"user-agent", "x"}, {"accept", "*/*"}}}},
		{"Host in place of :authority", []string{":method", "GET", ":scheme", "https", ":path", "/", "host", "b.test"}, &Head{Method: "GET", Scheme: "https", Authority: "b.test", Path: "/"}},
		{"Host as :authority", get("host", "A.test"), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/"}},
		{"another Host", get("host", "b.test"), nil},
		{"two hosts", []string{":method", "GET", ":scheme", "https", ":path", "/", "host", "b.test", "host", "c.test"}, nil},
		{"cookies in crumbs", get("cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3"), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", Fields: []Field{{"cookie", "a=1; b=2; c=3"}, {"x", "y"}}}},
		{"blanks around a value", get("x", " \ty "), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", Fields: []Field{{"x", "y"}}}},
		{"TE: trailers", get("te", "trailers"), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", Fields: []Field{{"te", "trailers"}}}},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "a.test:443"}, &Head{Method: "CONNECT", Authority: "a.test:443"}},
		{"a length of nothing", get("content-length", "0"), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/"}},
		{"too large", get("x", long), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", TooLarge: true}},
		{"too many", get(strings.Split(strings.Repeat("x,y,", 50)+"x,y", ",")...), &Head{Method: "GET", Scheme: "https", Authority: "a.test", Path: "/", TooLarge: true}},
		{"CONNECT with a path", []string{":method", "CONNECT", ":authority", "a.test:443", ":path", "/"}, nil},
		{"extended CONNECT", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a.test", ":path", "/"}, nil},
		{"no method", []string{":scheme", "https", ":authority", "a.test", ":path", "/"}, nil},
		{"no scheme", []string{":method", "GET", ":authority", "a.test", ":path", "/"}, nil},
		{"another scheme", []string{":method", "GET", ":scheme", "ftp", ":authority", "a.test", ":path", "/"}, nil},
		{"no path", []string{":method", "GET", ":scheme", "https", ":authority", "a.test"}, nil},
		{"an empty path", []string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", ""}, nil},
		{"a method with a blank", []string{":method", "GET /", ":scheme", "https", ":authority", "a.test", ":path", "/"}, nil},
		{"an answer's pseudo-header field", get(":status", "200"), nil},
		{"a pseudo-header field twice", get(":path", "/"), nil},
		{"a pseudo-header field behind others", []string{":method", "GET", ":scheme", "https", "x", "y", ":path", "/"}, nil},
		{"capitals", get("X-Own", "1"), nil},
		{"a name with a colon", get("x:y", "1"), nil},
		{"an empty name", get("", "1"), nil},
		{"an end of line in a value", get("x", "y\r\nz: 1"), nil},
		{"a zero byte in a value", get("x", "y\x00"), nil},
		{"an end of line in the path", []string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/ HTTP/1.1\r\nx: y"}, nil},
		{"Connection", get("connection", "close"), nil},
		{"Keep-Alive", get("keep-alive", "1"), nil},
		{"Proxy-Connection", get("proxy-connection", "close"), nil},
		{"Transfer-Encoding", get("transfer-encoding", "chunked"), nil},
		{"Upgrade", get("upgrade", "h2c"), nil},
		{"TE: gzip", get("te", "gzip"), nil},
		{"two lengths", get("content-length", "0", "content-length", "1"), nil},
		{"a length below nothing", get("content-length", "-1"), nil},
		{"a length with a sign", get("content-length", "+0"), nil},
		{"a length that no number holds", get("content-length", "9223372036854775808"), nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			heads := make(chan Head, 1)
			c := dial(t, testConfig(), func(s *Stream) {
				if s.id == 1 {
					heads <- s.Head
				}
				say(s)
			})
			c.headers(1, true, x.fields...)
			if x.want == nil {
				c.wantReset(1, ProtocolError)
			} else {
				c.answer(1)
				got := <-heads
				if x.want.TooLarge {
					got.Fields = nil
				}
				fields := slices.Equal(got.Fields, x.want.Fields)
				got.Fields, x.want.Fields = nil, nil
				if !fields || got.Method != x.want.Method || got.Scheme != x.want.Scheme || got.Authority != x.want.Authority || got.Path != x.want.Path ||
					got.Length != x.want.Length || got.TooLarge != x.want.TooLarge {
					t.Errorf("%+v, fields as they should be %v, want %+v", got, fields, x.want)
				}
			}
			c.alive(3) // and the table is what it was
		})
	}
}

// A block may come in parts, cut wherever it is.
func TestContinuation(t *testing.T) {
	c := dial(t, testConfig(), say)
	block := c.fields(get("x-own", strings.Repeat("y", 100))...)
	c.ok(c.out.WriteHeaders(ref.HeadersFrameParam{StreamID: 1, BlockFragment: block[:1], EndStream: true, PadLength: 7}))
	for _, b := range block[1:] {
		c.ok(c.out.WriteContinuation(1, false, []byte{b}))
	}
	c.ok(c.out.WriteContinuation(1, true, nil))
	if status, _ := c.answer(1); status != "200" {
		t.Error(status)
	}
}

// Answers' heads are what another implementation takes them for, whatever their names' case and their length.
func TestAnswersHeads(t *testing.T) {
	long := strings.Repeat("v", 40<<10)
	want := []hpack.HeaderField{
		{Name: ":status", Value: "207"},
		{Name: "content-type", Value: "text/plain"},
		{Name: "x-own", Value: ""},
		{Name: strings.Repeat("n", 300), Value: "1"},
		{Name: "x-long", Value: long},
	}
	c := dial(t, testConfig(), func(s *Stream) {
		b := AppendField(AppendStatus(nil, 207), "Content-Type", "text/plain")
		b = AppendField(b, "X-Own", "")
		b = AppendField(b, strings.Repeat("N", 300), "1")
		s.Begin(AppendField(b, "x-long", long))
		_ = s.End(AppendField(nil, "X-Sum", "5"))
	})
	c.headers(1, true, get()...)
	e := c.next(func(e event) bool { return e.Type == ref.FrameHeaders })
	if !slices.Equal(e.fields, want) {
		t.Errorf("%.300v", e.fields)
	}
	e = c.next(func(e event) bool { return e.Type == ref.FrameHeaders })
	if !e.end() || len(e.fields) != 1 || e.fields[0].Name != "x-sum" {
		t.Errorf("trailers: %v", e)
	}
}

// A client whose table is smaller than usual is told once, in the first block, that none is used (RFC 7541 section 4.2).
func TestSmallTables(t *testing.T) {
	for size, want := range map[uint32]byte{0: 0x20, 4095: 0x20, 4096: 0x88, 1 << 16: 0x88} {
		one, other := pair(t)
		_ = one.SetDeadline(time.Now().Add(patient))
		c := dumb(t, testConfig(), say, one, other)
		c.raw(preface)
		c.ok(c.out.WriteSettings(ref.Setting{ID: ref.SettingHeaderTableSize, Val: size}))
		for id := uint32(1); id < 5; id += 2 {
			c.headers(id, true, get()...)
			for {
				f, err := c.out.ReadFrame()
				c.ok(err)
				if f, ok := f.(*ref.HeadersFrame); ok {
					if got := f.HeaderBlockFragment()[0]; got != want {
						t.Errorf("a table of %d bytes, stream %d: the block begins with %x", size, id, got)
					}
					break
				}
			}
			want = 0x88
		}
	}
}

// Every name of the table's is found at its place, and fields come back from another implementation's decoder as they were.
func FuzzFields(f *testing.F) {
	for name := range static {
		f.Add(name, "x", 200)
	}
	f.Add("X-Own", "", 404)
	f.Add(strings.Repeat("n", 200), strings.Repeat("v", 500), 599)
	f.Fuzz(func(t *testing.T, name, value string, status int) {
		if name == "" || status < 100 || status > 999 {
			return
		}
		got, err := hpack.NewDecoder(0, nil).DecodeFull(AppendField(AppendStatus(nil, status), name, value))
		if err != nil || len(got) != 2 || got[0].Name != ":status" || got[1].Value != value || got[1].Name != string(lowered(name)) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func lowered(s string) []byte {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return b
}
