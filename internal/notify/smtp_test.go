package notify_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// mailServer is as much of an SMTP server (RFC 5321, RFC 3207, RFC 4954) as takes mail: it offers STARTTLS, and AUTH PLAIN
// after it.
type mailServer struct {
	net.Listener
	tls      *tls.Config
	plain    bool   // offers no STARTTLS
	password string // of "postern"; empty: AUTH is not offered
	refuse   string // answer to the data, in place of taking it

	mu   sync.Mutex
	got  []taken
	done sync.WaitGroup
}

// taken is a mail that the server took.
type taken struct {
	from string
	to   []string
	data string
	tls  bool
	user string
}

func newMailServer(t *testing.T, edit func(*mailServer)) *mailServer {
	t.Helper()
	// A server for the sake of its certificate.
	certs := httptest.NewTLSServer(nil)
	t.Cleanup(certs.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{Listener: ln, tls: certs.TLS}
	edit(s)
	s.done.Go(func() {
		for {
			conn, err := s.Listener.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() {
				if err := s.talk(conn); err != nil && !errors.Is(err, io.EOF) {
					t.Logf("the mail server: %v", err)
				}
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() { _ = s.Listener.Close(); s.done.Wait() })
	return s
}

func (s *mailServer) talk(conn net.Conn) error {
	in := bufio.NewReader(conn)
	say := func(lines ...string) { _, _ = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n") }
	var m taken
	say("220 mail.test ESMTP")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			offer := []string{"250-mail.test"}
			if !m.tls && !s.plain {
				offer = append(offer, "250-STARTTLS")
			}
			if s.password != "" && m.tls {
				offer = append(offer, "250-AUTH PLAIN")
			}
			say(append(offer, "250 8BITMIME")...)
		case "STARTTLS":
			say("220 go on")
			secure := tls.Server(conn, s.tls)
			if err := secure.Handshake(); err != nil {
				return err
			}
			conn, in = secure, bufio.NewReader(secure)
			m.tls = true
		case "AUTH":
			b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			if want := "\x00postern\x00" + s.password; err != nil || string(b) != want {
				say("535 5.7.8 no")
				continue
			}
			m.user = "postern"
			say("235 2.7.0 yes")
		case "MAIL":
			m.from, m.to = rest, nil
			say("250 yes")
		case "RCPT":
			m.to = append(m.to, rest)
			say("250 yes")
		case "DATA":
			say("354 go on")
			var data strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return err
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			if s.refuse != "" {
				say(s.refuse)
				continue
			}
			m.data = data.String()
			s.mu.Lock()
			s.got = append(s.got, m)
			s.mu.Unlock()
			say("250 taken")
		case "RSET", "NOOP":
			say("250 yes")
		case "QUIT":
			say("221 bye")
			return nil
		default:
			say(fmt.Sprintf("500 not known: %q", verb))
		}
	}
}

func (s *mailServer) mails() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.got...)
}
