package http2

import "encoding/binary"

// data takes DATA (RFC 9113 section 6.1).
func (c *Conn) data(f frameHead) error {
	if f.stream == 0 {
		return &Error{ProtocolError, "DATA without a stream"}
	}
	c.in.body = f.stream
	if err := c.await(f.length, forBody); err != nil {
		return err
	}
	p := c.in.unread()[:f.length]
	c.in.take(f.length)
	if f.flags&flagPadded != 0 && f.length == 0 {
		return &Error{FrameSizeError, "DATA without the length of its padding"}
	}
	p, ok := unpad(p, f.flags)
	if !ok {
		return &Error{ProtocolError, "more padding than payload"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.admit(f, len(p))
	if s == nil || err != nil {
		c.credit(f.length)
		return err
	}
	if s.halted {
		s.consumed(f.length)
	} else {
		s.put(p)
		s.consumed(f.length - len(p))
	}
	if f.flags&flagEndStream == 0 {
		return nil
	}
	return c.received(s)
}

// admit judges DATA with so many bytes of a body. It returns their stream, nil when nobody takes them.
func (c *Conn) admit(f frameHead, body int) (*Stream, error) {
	if c.receive -= f.length; c.receive < 0 {
		return nil, &Error{FlowControlError, "more DATA than the connection's window allows"}
	}
	if body == 0 && f.flags&flagEndStream == 0 {
		if err := c.guard.spend(); err != nil {
			return nil, err
		}
	}
	s := c.streams[f.stream]
	if s == nil {
		if c.unused(f.stream) {
			return nil, &Error{ProtocolError, "DATA on an idle stream"}
		}
		if ours, _ := c.past.find(f.stream); ours {
			return nil, nil // it was under way
		}
		return nil, c.breach(&streamError{f.stream, StreamClosed, "DATA on a closed stream"})
	}
	s.receive -= f.length
	s.got += int64(body)
	switch {
	case s.received:
		return nil, c.breach(&streamError{f.stream, StreamClosed, "DATA behind the end of a request"})
	case s.receive < 0:
		return nil, c.breach(&streamError{f.stream, FlowControlError, "more DATA than the stream's window allows"})
	case s.Head.Length >= 0 && s.got > s.Head.Length:
		return nil, c.breach(&streamError{f.stream, ProtocolError, "a body longer than its Content-Length"})
	}
	return s, nil
}

// received takes note that a request has come to its end.
func (c *Conn) received(s *Stream) error {
	if s.Head.Length >= 0 && s.got != s.Head.Length {
		return c.breach(&streamError{s.id, ProtocolError, "a body shorter than its Content-Length"})
	}
	s.received = true
	s.readable.Broadcast()
	if s.ended {
		c.forget(s)
		c.past.add(s.id, false)
	}
	return nil
}

// unused reports whether no request has come on a stream yet (RFC 9113 section 5.1.1).
func (c *Conn) unused(id uint32) bool { return id > c.last || id%2 == 0 }

// headers takes HEADERS (RFC 9113 section 6.2): a request, or its trailers.
func (c *Conn) headers(f frameHead, p []byte) error {
	if f.stream == 0 {
		return &Error{ProtocolError, "HEADERS without a stream"}
	}
	p, ok := unpad(p, f.flags)
	if !ok {
		return &Error{ProtocolError, "more padding than payload"}
	}
	var fault *streamError
	if f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return &Error{FrameSizeError, "HEADERS without the priority it announces"}
		}
		if binary.BigEndian.Uint32(p)&^(1<<31) == f.stream {
			fault = &streamError{f.stream, ProtocolError, "a stream that depends on itself"}
		}
		p = p[5:]
	}
	u, worse, err := c.classify(f)
	if err != nil {
		return err
	}
	if worse != nil {
		fault = worse
	}
	c.head.begin(f, u, fault)
	return c.block(f, p)
}

// classify says what HEADERS are for, by the state of their stream (RFC 9113 section 5.1), and what is wrong with them.
func (c *Conn) classify(f frameHead) (use, *streamError, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.stream]
	switch {
	case s != nil && s.received:
		return forNothing, &streamError{f.stream, StreamClosed, "HEADERS behind the end of a request"}, nil
	case s != nil && f.flags&flagEndStream == 0:
		return forNothing, &streamError{f.stream, ProtocolError, "trailers that do not end a request"}, nil
	case s != nil:
		return forTrailers, nil, nil
	case f.stream > c.last && f.stream%2 == 1:
		c.last = f.stream
		return forRequest, nil, nil
	}
	switch ours, known := c.past.find(f.stream); {
	case ours: // they were under way
		return forNothing, nil, nil
	case known:
		return 0, nil, &Error{StreamClosed, "HEADERS on a closed stream"}
	}
	return 0, nil, &Error{ProtocolError, "HEADERS on a stream that cannot be begun"}
}

// continuation takes CONTINUATION (RFC 9113 section 6.10).
func (c *Conn) continuation(f frameHead, p []byte) error {
	if !c.head.open {
		return &Error{ProtocolError, "CONTINUATION without HEADERS"}
	}
	if err := c.guard.spend(); err != nil {
		return err
	}
	return c.block(f, p)
}

// block takes a part of a header block, and does what the block says at its end.
func (c *Conn) block(f frameHead, p []byte) error {
	h := &c.head
	if err := h.part(p, f.flags&flagEndHeaders != 0); err != nil || h.open {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.head = zero
	if h.fault != nil {
		return c.breach(h.fault)
	}
	switch h.use {
	case forTrailers:
		s := c.streams[h.stream]
		switch {
		case s == nil: // the answer has ended meanwhile
			return nil
		case h.large:
			return c.breach(&streamError{h.stream, EnhanceYourCalm, "trailers that are too large"})
		case h.wrong != "":
			return c.breach(&streamError{h.stream, ProtocolError, h.wrong})
		}
		s.trailers = append(make([]Field, 0, len(h.fields)), h.fields...)
		return c.received(s)
	case forRequest:
		return c.begin()
	}
	return nil
}

// breach resets a stream whose client has not kept to the rules.
func (c *Conn) breach(e *streamError) error {
	if c.unused(e.id) {
		return &Error{e.code, e.reason} // a stream that was never used cannot be reset
	}
	c.reset(e.id, e.code, &gone{e.reason})
	return c.guard.spend()
}

// ending is how many requests may besides just be ending: their clients know already that they have.
const ending = 10

// begin begins to answer the request that was read.
func (c *Conn) begin() error {
	h := &c.head
	if c.err != nil {
		return c.err
	}
	if c.leaving {
		return c.breach(&streamError{h.stream, RefusedStream, "a request behind GOAWAY"})
	}
	// A client that resets its requests gets rid of streams, but not of the work that they still make.
	if len(c.streams) >= c.cfg.Streams || c.running >= 2*c.cfg.Streams+ending {
		return c.breach(&streamError{h.stream, RefusedStream, "more requests at once than were offered"})
	}
	r, wrong := h.request()
	if wrong != "" {
		return c.breach(&streamError{h.stream, ProtocolError, wrong})
	}
	s := newStream(c, h.stream, r, h.end)
	c.streams[s.id] = s
	c.running++
	c.crew.run(s)
	return nil
}

// priority takes PRIORITY, which means nothing any more (RFC 9113 section 5.3.2).
func (c *Conn) priority(f frameHead, p []byte) error {
	if f.stream == 0 {
		return &Error{ProtocolError, "PRIORITY without a stream"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(p) != 5:
		return c.breach(&streamError{f.stream, FrameSizeError, "the length of PRIORITY"})
	case binary.BigEndian.Uint32(p)&^(1<<31) == f.stream:
		return c.breach(&streamError{f.stream, ProtocolError, "a stream that depends on itself"})
	}
	return c.guard.spend()
}

// rstStream takes RST_STREAM (RFC 9113 section 6.4).
func (c *Conn) rstStream(f frameHead, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(p) != 4:
		return &Error{FrameSizeError, "the length of RST_STREAM"}
	case c.unused(f.stream):
		return &Error{ProtocolError, "RST_STREAM on an idle stream"}
	}
	if s := c.streams[f.stream]; s != nil {
		s.lose(errReset)
		c.forget(s)
		c.past.add(s.id, false)
	}
	return c.guard.spend()
}

// settings takes SETTINGS (RFC 9113 section 6.5).
func (c *Conn) settings(f frameHead, p []byte) error {
	switch {
	case f.stream != 0:
		return &Error{ProtocolError, "SETTINGS on a stream"}
	case f.flags&flagAck != 0 && len(p) > 0 || len(p)%6 != 0:
		return &Error{FrameSizeError, "the length of SETTINGS"}
	case f.flags&flagAck != 0:
		return c.guard.spend()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; len(p) > 0; p = p[6:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.out.add(appendHead(c.out.buffer(), 0, settings, flagAck, 0))
	return c.guard.spend()
}

// set takes one setting.
func (c *Conn) set(id uint16, value uint32) error {
	switch id {
	case settingTableSize:
		// The table begins with 4 KiB. Nothing is put into it, but a client that makes it smaller has to be told.
		c.resetTable = c.resetTable || value < defaultTable
	case settingEnablePush:
		if value > 1 {
			return &Error{ProtocolError, "the value of SETTINGS_ENABLE_PUSH"}
		}
	case settingInitialWindow:
		if value > largestWindow {
			return &Error{FlowControlError, "the value of SETTINGS_INITIAL_WINDOW_SIZE"}
		}
		more := int(value) - c.sendFirst
		c.sendFirst = int(value)
		for _, s := range c.streams {
			if s.send += more; s.send > largestWindow {
				return &Error{FlowControlError, "a stream's window that is too large"}
			}
			s.window.Broadcast()
		}
	case settingMaxFrame:
		if value < defaultFrame || value > largestFrame {
			return &Error{ProtocolError, "the value of SETTINGS_MAX_FRAME_SIZE"}
		}
		c.maxFrame = int(value)
	}
	return nil
}

// ping takes PING (RFC 9113 section 6.7).
func (c *Conn) ping(f frameHead, p []byte) error {
	switch {
	case f.stream != 0:
		return &Error{ProtocolError, "PING on a stream"}
	case len(p) != 8:
		return &Error{FrameSizeError, "the length of PING"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.flags&flagAck != 0 {
		if c.parting && string(p) == farewell {
			c.leave()
		}
	} else {
		c.out.add(append(appendHead(c.out.buffer(), 8, ping, flagAck, 0), p...))
	}
	return c.guard.reply()
}

// windowUpdate takes WINDOW_UPDATE (RFC 9113 section 6.9).
func (c *Conn) windowUpdate(f frameHead, p []byte) error {
	if len(p) != 4 {
		return &Error{FrameSizeError, "the length of WINDOW_UPDATE"}
	}
	n := int(binary.BigEndian.Uint32(p) &^ (1 << 31))
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		switch c.send += n; {
		case n == 0:
			return &Error{ProtocolError, "WINDOW_UPDATE by nothing"}
		case c.send > largestWindow:
			return &Error{FlowControlError, "a connection's window that is too large"}
		}
		c.sendable.Broadcast()
		return c.guard.reply()
	}
	if c.unused(f.stream) {
		return &Error{ProtocolError, "WINDOW_UPDATE on an idle stream"}
	}
	s := c.streams[f.stream]
	if s == nil {
		return c.guard.reply()
	}
	switch s.send += n; {
	case n == 0:
		return c.breach(&streamError{s.id, ProtocolError, "WINDOW_UPDATE by nothing"})
	case s.send > largestWindow:
		return c.breach(&streamError{s.id, FlowControlError, "a stream's window that is too large"})
	}
	s.window.Broadcast()
	return c.guard.reply()
}
