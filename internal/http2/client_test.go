package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	ref "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patient is how long a test waits for what has to come.
const patient = 20 * time.Second

// client speaks to a Conn as a test wants, right or wrong, with frames that another implementation writes and reads.
type client struct {
	t       testing.TB
	conn    net.Conn
	server  *Conn
	out     *ref.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	events  chan event    // what came from the server; closed at its end
	served  chan error    // what Serve returned
	listens chan struct{} // closed when listening has ended; nil: it has not begun
}

// event is a frame of the server's.
type event struct {
	ref.FrameHeader
	fields []hpack.HeaderField
	body   []byte
	code   ref.ErrCode
	word   uint32 // the last stream of GOAWAY, or a window's growth
	text   string
}

func (e event) String() string {
	return fmt.Sprintf("%v on stream %d, flags %x, %v, %d, %.100q %v", e.Type, e.StreamID, e.Flags, e.code, e.word, e.body, e.fields)
}

// end reports whether a stream ends with the frame.
func (e event) end() bool {
	return (e.Type == ref.FrameData || e.Type == ref.FrameHeaders) && e.Flags.Has(ref.FlagDataEndStream)
}

func testConfig() *Config {
	return &Config{
		Streams: 10, Header: 8 << 10, Fields: 50, HeaderTimeout: 20 * time.Second, IdleTimeout: time.Minute, BodyTimeout: 30 * time.Second,
		SendTimeout: 40 * time.Second,
	}
}

// pair is a connection over loopback.
func pair(t testing.TB) (one, other net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	one, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return one, other
}

// dumb connects a client, which has said nothing yet, to a Conn.
func dumb(t testing.TB, cfg *Config, handle func(*Stream), one, other net.Conn) *client {
	t.Helper()
	crew := new(Crew)
	c := &client{t: t, conn: one, events: make(chan event, 1<<16), served: make(chan error, 1), out: ref.NewFramer(one, one)}
	c.out.AllowIllegalWrites = true
	c.encoder = hpack.NewEncoder(&c.block)
	c.server = NewConn(other, cfg, crew, handle)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.served <- c.server.Serve()
		if tcp, ok := other.(*net.TCPConn); ok { // as a caller has to, so that what was said last is heard
			_ = tcp.CloseWrite()
			_ = tcp.SetReadDeadline(time.Now().Add(patient))
			_, _ = io.Copy(io.Discard, tcp)
		}
		other.Close()
		c.server.Wait()
		crew.Close()
	}()
	t.Cleanup(func() {
		one.Close()
		<-ended
		if c.listens != nil {
			<-c.listens
		}
	})
	return c
}

// listen reads what the server sends.
func (c *client) listen() {
	in := ref.NewFramer(nil, c.conn)
	in.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	in.SetMaxReadFrameSize(1<<24 - 1)
	c.listens = make(chan struct{})
	go func() {
		defer close(c.listens)
		defer close(c.events)
		for {
			f, err := in.ReadFrame()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) && !strings.Contains(err.Error(), "reset by peer") {
					c.events <- event{text: err.Error()}
				}
				return
			}
			e := event{FrameHeader: f.Header()}
			switch f := f.(type) {
			case *ref.MetaHeadersFrame:
				e.fields = f.Fields
			case *ref.DataFrame:
				e.body = bytes.Clone(f.Data())
			case *ref.RSTStreamFrame:
				e.code = f.ErrCode
			case *ref.GoAwayFrame:
				e.code, e.word = f.ErrCode, f.LastStreamID
			case *ref.WindowUpdateFrame:
				e.word = f.Increment
			case *ref.PingFrame:
				e.body = bytes.Clone(f.Data[:])
			}
			c.events <- e
		}
	}()
}

// dial connects a client whose preface and SETTINGS have been sent.
func dial(t testing.TB, cfg *Config, handle func(*Stream), settings ...ref.Setting) *client {
	t.Helper()
	one, other := pair(t)
	_ = one.SetDeadline(time.Now().Add(3 * patient))
	return greet(dumb(t, cfg, handle, one, other), settings...)
}

func greet(c *client, settings ...ref.Setting) *client {
	c.t.Helper()
	c.listen()
	c.raw(preface)
	c.ok(c.out.WriteSettings(settings...))
	return c
}

func (c *client) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) raw(s string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, s)
	c.ok(err)
}

// fields encodes a block: names and values in turn.
func (c *client) fields(pairs ...string) []byte {
	c.block.Reset()
	for i := 0; i+1 < len(pairs); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // into memory
	}
	return bytes.Clone(c.block.Bytes())
}

// get are the pseudo-header fields of a request, with others behind them.
func get(others ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/"}, others...)
}

func post(others ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", "a.test", ":path", "/"}, others...)
}

// headers sends HEADERS.
func (c *client) headers(stream uint32, end bool, pairs ...string) {
	c.t.Helper()
	c.ok(c.out.WriteHeaders(ref.HeadersFrameParam{StreamID: stream, BlockFragment: c.fields(pairs...), EndStream: end, EndHeaders: true}))
}

// next waits for a frame that passes; others are skipped.
func (c *client) next(pass func(event) bool) event {
	c.t.Helper()
	late := time.After(patient)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.t.Fatal("the connection has ended")
			}
			if e.text != "" {
				c.t.Fatal(e.text)
			}
			if pass(e) {
				return e
			}
		case <-late:
			c.t.Fatal("nothing comes")
		}
	}
}

// answer reads an answer to its end.
func (c *client) answer(stream uint32) (status, body string) {
	c.t.Helper()
	for {
		e := c.next(func(e event) bool {
			return e.StreamID == stream && e.Type != ref.FrameWindowUpdate || e.Type == ref.FrameGoAway
		})
		switch e.Type {
		case ref.FrameHeaders:
			if status == "" {
				status = e.fields[0].Value
			}
		case ref.FrameData:
			body += string(e.body)
		default:
			c.t.Fatalf("in place of an answer: %v", e)
		}
		if e.end() {
			return status, body
		}
	}
}

// wantReset waits for RST_STREAM.
func (c *client) wantReset(stream uint32, code Code) {
	c.t.Helper()
	e := c.next(func(e event) bool {
		return e.Type == ref.FrameRSTStream && e.StreamID == stream || e.Type == ref.FrameGoAway
	})
	if e.Type != ref.FrameRSTStream || Code(e.code) != code {
		c.t.Fatalf("%v, want a reset with %v", e, ref.ErrCode(code))
	}
}

// wantGoAway waits for GOAWAY with an error, and for the end of the connection.
func (c *client) wantGoAway(code Code) {
	c.t.Helper()
	e := c.next(func(e event) bool { return e.Type == ref.FrameGoAway })
	if Code(e.code) != code {
		c.t.Fatalf("%v, want %v", e, ref.ErrCode(code))
	}
	for e := range c.events {
		if e.text != "" {
			c.t.Fatal(e.text)
		}
	}
	c.conn.Close()
	err := c.wait()
	var fault *Error
	if code == NoError && err != nil || code != NoError && (!errors.As(err, &fault) || fault.Code != code) {
		c.t.Errorf("Serve: %v", err)
	}
}

// wait waits for the end of Serve.
func (c *client) wait() error {
	c.t.Helper()
	select {
	case err := <-c.served:
		return err
	case <-time.After(patient):
		c.t.Fatal("Serve does not return")
		return nil
	}
}

// alive checks that the connection goes on.
func (c *client) alive(stream uint32) {
	c.t.Helper()
	c.headers(stream, true, get()...)
	if status, _ := c.answer(stream); status != "200" {
		c.t.Errorf("another request: %s", status)
	}
}

// say is a handler that reads the whole body and answers with a text of the body's length.
func say(s *Stream) {
	n, err := io.Copy(io.Discard, s)
	if err != nil && s.Head.Length != 0 {
		return
	}
	text := "read " + strconv.FormatInt(n, 10)
	s.Begin(AppendField(AppendStatus(nil, 200), "content-length", strconv.Itoa(len(text))))
	_ = s.Write([]byte(text), true, false)
}
