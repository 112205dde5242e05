package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	ref "golang.org/x/net/http2"
)

// datas reads so many bytes of a stream's body, and checks that no more come before a PING is answered.
func (c *client) datas(stream uint32, want int) (got []byte) {
	c.t.Helper()
	for len(got) < want {
		e := c.next(func(e event) bool {
			return e.Type == ref.FrameData && e.StreamID == stream || e.Type == ref.FrameGoAway
		})
		if e.Type == ref.FrameGoAway {
			c.t.Fatal(e)
		}
		got = append(got, e.body...)
	}
	c.ok(c.out.WritePing(false, [8]byte{9}))
	e := c.next(func(e event) bool { return e.Type == ref.FrameData && e.StreamID == stream || e.Type == ref.FramePing })
	if e.Type != ref.FramePing || len(got) != want {
		c.t.Fatalf("%d bytes in place of %d", len(got)+len(e.body), want)
	}
	return got
}

// letters is n bytes of which every one tells where it stands.
func letters(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%23)
	}
	return b
}

// An answer goes as far as the stream's window, whatever moves it (RFC 9113 sections 6.9.1 and 6.9.2).
func TestStreamWindows(t *testing.T) {
	want := letters(100)
	c := dial(t, testConfig(), func(s *Stream) {
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write(want, true, false)
	}, ref.Setting{ID: ref.SettingInitialWindowSize, Val: 10})
	c.headers(1, true, get()...)
	got := c.datas(1, 10)
	c.ok(c.out.WriteWindowUpdate(1, 5))
	got = append(got, c.datas(1, 5)...)
	c.ok(c.out.WriteSettings(ref.Setting{ID: ref.SettingInitialWindowSize, Val: 30}))
	got = append(got, c.datas(1, 20)...)
	c.ok(c.out.WriteSettings(ref.Setting{ID: ref.SettingInitialWindowSize, Val: 0})) // 30 below nothing
	c.ok(c.out.WriteWindowUpdate(1, 20))
	got = append(got, c.datas(1, 0)...)
	c.headers(3, true, get()...) // another one has nothing either
	c.datas(3, 0)
	c.ok(c.out.WriteWindowUpdate(1, 11))
	got = append(got, c.datas(1, 1)...)
	c.ok(c.out.WriteWindowUpdate(1, 1000))
	_, rest := c.answer(1)
	if got = append(got, rest...); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
	c.ok(c.out.WriteWindowUpdate(3, 1000))
	if _, body := c.answer(3); body != string(want) {
		t.Errorf("%q", body)
	}
}

// All answers together go as far as the connection's window, and none takes it from the others for good.
func TestConnectionWindow(t *testing.T) {
	want := letters(100_000)
	c := dial(t, testConfig(), func(s *Stream) {
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write(want, true, false)
	}, ref.Setting{ID: ref.SettingInitialWindowSize, Val: 1 << 20}, ref.Setting{ID: ref.SettingMaxFrameSize, Val: 20_000})
	bodies := map[uint32][]byte{}
	for id := uint32(1); id <= 9; id += 2 {
		c.headers(id, true, get()...)
		bodies[id] = nil
	}
	total, ended, allowed := 0, 0, defaultWindow
	for ended < len(bodies) {
		e := c.next(func(e event) bool { return e.Type == ref.FrameData || e.Type == ref.FrameGoAway })
		if e.Type == ref.FrameGoAway || e.Length > 20_000 {
			t.Fatal(e)
		}
		bodies[e.StreamID] = append(bodies[e.StreamID], e.body...)
		if e.end() {
			ended++
		}
		if total += len(e.body); total > allowed {
			t.Fatalf("%d bytes where %d are allowed", total, allowed)
		}
		if total == allowed {
			allowed += 50_000
			c.ok(c.out.WriteWindowUpdate(0, 50_000))
		}
	}
	for id, body := range bodies {
		if !bytes.Equal(body, want) {
			t.Errorf("stream %d: %d bytes, or others", id, len(body))
		}
	}
}

// Bodies come as they were sent, and their windows are opened again, for padding too.
func TestBodies(t *testing.T) {
	const size = 3 * StreamWindow
	want := letters(size)
	c := dial(t, testConfig(), func(s *Stream) {
		got, err := io.ReadAll(s)
		text := "as sent"
		if err != nil || !bytes.Equal(got, want) || !s.Whole() {
			text = "otherwise"
		}
		for _, f := range s.Trailers() {
			text += " " + f.Name + ": " + f.Value
		}
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write([]byte(text), true, false)
	})
	for id := uint32(1); id <= 7; id += 2 {
		padding := make([]byte, 37*(id-1))
		if len(padding) > 255 {
			padding = padding[:255]
		}
		c.headers(id, false, post()...)
		window := StreamWindow - 64<<10 // what the server allows, with room for a frame
		for sent := 0; sent < size; {
			for window <= 0 {
				e := c.next(func(e event) bool {
					return e.Type == ref.FrameWindowUpdate && e.StreamID == id || e.Type == ref.FrameRSTStream
				})
				if e.Type != ref.FrameWindowUpdate {
					t.Fatal(e)
				}
				window += int(e.word)
			}
			n := min(10_000, size-sent)
			c.ok(c.out.WriteDataPadded(id, false, want[sent:sent+n], padding))
			sent += n
			window -= n + len(padding) + 1
		}
		c.headers(id, true, "x-sum", "5")
		if _, body := c.answer(id); body != "as sent x-sum: 5" {
			t.Errorf("with %d bytes of padding: %s", len(padding), body)
		}
	}
}

// Padding takes up room in windows, and gives it back.
func TestPadding(t *testing.T) {
	c := dial(t, testConfig(), say)
	c.headers(1, false, post()...)
	padding, window := make([]byte, 255), StreamWindow
	for range 2 * StreamWindow / 257 {
		for window < 257 {
			e := c.next(func(e event) bool {
				return e.Type == ref.FrameWindowUpdate && e.StreamID == 1 || e.Type == ref.FrameGoAway
			})
			if e.Type != ref.FrameWindowUpdate {
				t.Fatal(e)
			}
			window += int(e.word)
		}
		c.ok(c.out.WriteDataPadded(1, false, []byte("x"), padding))
		window -= 257
	}
	c.ok(c.out.WriteData(1, true, nil))
	if _, body := c.answer(1); body != fmt.Sprintf("read %d", 2*StreamWindow/257) {
		t.Error(body)
	}
}

// What nobody reads is no burden: the connection's window comes back with the end of its stream.
func TestUnreadBodies(t *testing.T) {
	c := dial(t, testConfig(), func(s *Stream) {
		if s.Head.Method == http.MethodPost {
			_, _ = s.Read(make([]byte, 1))
		}
		s.Begin(AppendStatus(nil, 200))
		_ = s.End(nil)
	})
	window := defaultWindow
	for id := uint32(1); id < 60; id += 2 {
		c.headers(id, false, post()...)
		for sent := 0; sent < StreamWindow; sent += 16 << 10 {
			for window < 16<<10 {
				e := c.next(func(e event) bool {
					return e.Type == ref.FrameWindowUpdate && e.StreamID == 0 || e.Type == ref.FrameGoAway
				})
				if e.Type != ref.FrameWindowUpdate {
					t.Fatal(e)
				}
				window += int(e.word)
			}
			c.ok(c.out.WriteData(id, false, make([]byte, 16<<10)))
			window -= 16 << 10
		}
	}
	c.alive(61)
}

// A body of which a part was dropped, since the answer has ended, is not taken for a whole one.
func TestDroppedBodies(t *testing.T) {
	ended := make(chan error, 1)
	c := dial(t, testConfig(), func(s *Stream) {
		for end := time.Now().Add(patient); time.Now().Before(end); <-time.After(time.Millisecond) {
			s.c.mu.Lock()
			received := s.received
			s.c.mu.Unlock()
			if received {
				break
			}
		}
		s.Begin(AppendStatus(nil, 200))
		_ = s.End(nil)
		_, err := s.Read(make([]byte, 10))
		ended <- err
	})
	c.headers(1, false, post()...)
	c.ok(c.out.WriteData(1, true, []byte("hello")))
	c.answer(1)
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// A request whose body is not read, or whose answer is not taken, holds no other one.
func TestRequestsDoNotHoldOthers(t *testing.T) {
	block := make(chan struct{})
	c := dial(t, testConfig(), func(s *Stream) {
		switch {
		case s.Head.Method == http.MethodGet:
			say(s)
		case s.Head.Length > 0:
			<-block
		default:
			s.Begin(AppendStatus(nil, 200))
			_ = s.Write(make([]byte, 1<<20), true, false)
		}
	})
	t.Cleanup(func() { close(block) })
	c.ok(c.out.WriteWindowUpdate(0, 1<<20))
	c.headers(1, false, post("content-length", "2000000")...)
	for range StreamWindow / (16 << 10) {
		c.ok(c.out.WriteData(1, false, make([]byte, 16<<10)))
	}
	c.headers(3, true, post()...)
	c.datas(3, defaultWindow)
	for id := uint32(5); id < 100; id += 2 {
		c.alive(id)
	}
}

// A connection that is to end answers what its client sent before it knew, and ends when the last request has its answer.
func TestGoAway(t *testing.T) {
	go_ := make(chan struct{})
	c := dial(t, testConfig(), func(s *Stream) {
		<-go_
		say(s)
	})
	c.server.GoAway()
	c.server.GoAway()
	if e := c.next(func(e event) bool { return e.Type == ref.FrameGoAway }); Code(e.code) != NoError || e.word != 1<<31-1 {
		t.Errorf("%v", e)
	}
	e := c.next(func(e event) bool { return e.Type == ref.FramePing })
	c.headers(1, true, get()...) // was on its way
	c.ok(c.out.WritePing(true, [8]byte(e.body)))
	if e := c.next(func(e event) bool { return e.Type == ref.FrameGoAway }); Code(e.code) != NoError || e.word != 1 {
		t.Errorf("%v", e)
	}
	c.headers(3, true, get()...)
	c.wantReset(3, RefusedStream)
	close(go_)
	if status, _ := c.answer(1); status != "200" {
		t.Error(status)
	}
	if err := c.wait(); err != nil {
		t.Error(err)
	}
	for e := range c.events {
		if e.Type == ref.FrameGoAway {
			t.Error("told once more")
		}
	}
}

// A client that does not say that it knows has a second for its requests to come.
func TestGoAwayUnanswered(t *testing.T) {
	for name, early := range map[string]bool{"before it is served": true, "while nothing comes": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, other := net.Pipe()
				c := dumb(t, testConfig(), say, one, other)
				if early {
					c.server.GoAway()
				}
				greet(c)
				synctest.Wait()
				begun := time.Now()
				if !early {
					c.server.GoAway()
				}
				if err := <-c.served; err != nil || time.Since(begun) != partingTime {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				kinds := ""
				for e := range c.events {
					kinds += e.Type.String() + " "
				}
				if want := "SETTINGS WINDOW_UPDATE GOAWAY PING SETTINGS GOAWAY "; early && kinds != want {
					t.Errorf("%s, want %s", kinds, want)
				}
			})
		})
	}
}

// A client that was promised one request at a time may send the next as soon as it has the answer.
func TestRequestsFollowAtOnce(t *testing.T) {
	cfg := testConfig()
	cfg.Streams = 1
	c := dial(t, cfg, say)
	for id := uint32(1); id < 1000; id += 2 {
		c.alive(id)
	}
}

// A goroutine answers one request after the other.
func TestCrew(t *testing.T) {
	c := dial(t, testConfig(), say)
	for id := uint32(1); id < 20; id += 2 {
		c.alive(id)
		for end := time.Now().Add(patient); ; <-time.After(time.Millisecond) {
			c.server.crew.mu.Lock()
			n := len(c.server.crew.idle)
			c.server.crew.mu.Unlock()
			if n == 1 {
				break
			}
			if n > 1 || time.Now().After(end) {
				t.Fatalf("%d goroutines wait behind request %d", n, id)
			}
		}
	}
}

// Whoever watches a request is told when its client goes, once.
func TestWatch(t *testing.T) {
	for name, leave := range map[string]func(*client){
		"resets":    func(c *client) { c.ok(c.out.WriteRSTStream(1, ref.ErrCodeCancel)) },
		"hangs up":  func(c *client) { c.conn.Close() },
		"breaks it": func(c *client) { c.ok(c.out.WriteData(0, false, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			watched, left, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
			c := dial(t, testConfig(), func(s *Stream) {
				s.Watch(func() { t.Error("told though nobody watched any more") })()
				stop := s.Watch(func() { close(left) })
				defer stop()
				close(watched)
				<-left
				_, err := s.Read(make([]byte, 1))
				ended <- err
				s.Begin(AppendStatus(nil, 200))
				ended <- s.End(nil)
			})
			c.headers(1, false, post()...)
			<-watched
			leave(c)
			for range 2 {
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// What clients may take their time for, and for how long.
func TestTimeouts(t *testing.T) {
	cfg := testConfig()
	idle := cfg.IdleTimeout + partingTime // which nobody acknowledges
	answer := func(s *Stream, body string) {
		s.Begin(AppendStatus(nil, 200))
		_ = s.Write([]byte(body), true, false)
	}
	for _, x := range []struct {
		name   string
		handle func(*Stream)
		do     func(*client)
		ends   time.Duration // of the connection, behind the last thing that the client did
		fails  bool          // Serve's error is a timeout
		answer string        // of stream 1
		reset  bool          // or that stream is reset with CANCEL
	}{
		{name: "between requests", handle: say, do: func(c *client) { c.headers(1, true, get()...) }, ends: idle, answer: "read 0"},
		{name: "before the first request", do: func(*client) {}, ends: idle},
		{name: "PING between requests", do: func(c *client) {
			for range 5 {
				<-time.After(10 * time.Second)
				c.ok(c.out.WritePing(false, [8]byte{}))
			}
		}, ends: idle - 50*time.Second},
		{name: "half a head", do: func(c *client) { c.raw(string(appendHead(nil, 1, headers, 0, 1)) + "\x82") }, ends: cfg.HeaderTimeout, fails: true},
		{name: "half a head, in pieces", do: func(c *client) {
			c.raw(string(appendHead(nil, 1, headers, 0, 1)) + "\x82")
			<-time.After(cfg.HeaderTimeout - time.Second)
			c.raw(string(appendHead(nil, 1, continuation, 0, 1)) + "\x82")
		}, ends: time.Second, fails: true},
		{name: "half a frame", do: func(c *client) { c.raw(string(appendHead(nil, 8, ping, 0, 0))) }, ends: cfg.HeaderTimeout, fails: true},
		{name: "half a frame's head", do: func(c *client) { c.raw("\x00\x00") }, ends: cfg.HeaderTimeout, fails: true},
		{name: "frames that each come in time", do: func(c *client) {
			half, rest := string(appendHead(nil, 8, ping, 0, 0))+"1234", "5678"
			c.raw(half)
			for range 2 {
				<-time.After(cfg.HeaderTimeout - time.Second)
				c.raw(rest + half)
			}
			c.raw(rest)
		}, ends: idle - 2*(cfg.HeaderTimeout-time.Second)},
		{name: "a slow answer", handle: func(s *Stream) {
			<-time.After(10 * cfg.IdleTimeout)
			answer(s, "late")
		}, do: func(c *client) { c.headers(1, true, get()...) }, ends: 10*cfg.IdleTimeout + idle, answer: "late"},
		{name: "a slow body", handle: say, do: func(c *client) {
			c.headers(1, false, post()...)
			for range 5 {
				<-time.After(cfg.BodyTimeout - time.Second)
				c.ok(c.out.WriteData(1, false, []byte("x")))
			}
			c.ok(c.out.WriteData(1, true, nil))
		}, ends: idle, answer: "read 5"},
		{name: "a body that does not come", handle: func(s *Stream) {
			_, err := io.ReadAll(s)
			answer(s, map[bool]string{true: "slow"}[isTimeout(err)])
		}, do: func(c *client) {
			c.headers(1, false, post()...)
			c.ok(c.out.WriteData(1, false, []byte("x")))
		}, ends: cfg.BodyTimeout + idle, answer: "slow"},
		{name: "DATA that does not come to its end", handle: func(s *Stream) {
			_, err := io.ReadAll(s)
			answer(s, map[bool]string{true: "slow"}[isTimeout(err)])
		}, do: func(c *client) {
			c.headers(1, false, post()...)
			c.raw(string(appendHead(nil, 5, data, flagEndStream, 1)) + "x")
		}, ends: 2 * cfg.BodyTimeout, fails: true, answer: "slow"},
		{name: "windows that stay closed", handle: func(s *Stream) {
			answer(s, "x")
		}, do: func(c *client) {
			c.ok(c.out.WriteSettings(ref.Setting{ID: ref.SettingInitialWindowSize, Val: 0}))
			c.headers(1, true, get()...)
		}, ends: cfg.SendTimeout + idle, reset: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, other := net.Pipe()
				c := greet(dumb(t, cfg, x.handle, one, other))
				x.do(c)
				begun := time.Now()
				err := <-c.served
				if took := time.Since(begun); took != x.ends {
					t.Errorf("ended after %v, want %v", took, x.ends)
				}
				if isTimeout(err) != x.fails || !x.fails && err != nil {
					t.Errorf("Serve: %v", err)
				}
				body, reset, away := "", false, false
				for e := range c.events {
					if e.Type == ref.FrameData {
						body += string(e.body)
					}
					reset = reset || e.Type == ref.FrameRSTStream && Code(e.code) == Cancel
					away = away || e.Type == ref.FrameGoAway && Code(e.code) == NoError
				}
				if body != x.answer || reset != x.reset || away == x.fails {
					t.Errorf("answer %q, reset %v, GOAWAY %v", body, reset, away)
				}
			})
		})
	}
	t.Run("no preface", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			one, other := net.Pipe()
			c := dumb(t, cfg, say, one, other)
			c.listen()
			begun := time.Now()
			if err := <-c.served; !isTimeout(err) || time.Since(begun) != cfg.HeaderTimeout {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
		})
	})
}
