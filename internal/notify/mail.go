package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net"
	"net/mail"
	"net/netip"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/postern/postern/internal/link"
)

// MailConfig is how mail is sent. TLS is required, by STARTTLS or on port 465 from the start, unless the server is on
// loopback.
type MailConfig struct {
	Addr     string // host:port of the SMTP server
	From     string // address of the sender, with a name or without
	Username string // empty: without authentication
	Password string
	RootCAs  *x509.CertPool // that vouch for the server; the system's when nil
}

func (c *MailConfig) check() error {
	host, port, err := net.SplitHostPort(c.Addr)
	if _, err2 := strconv.ParseUint(port, 10, 16); err != nil || err2 != nil || host == "" {
		return &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_SMTP_ADDRESS", Field: "smtp_addr", Message: "not an address of a mail server: " + link.Quote(c.Addr),
			Hint: "give host:port, for example smtp.example.com:587",
		}
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		return &link.Error{
			Kind: link.Invalid, Reason: "MALFORMED_MAIL_ADDRESS", Field: "smtp_from", Message: "not a sender's address: " + link.Quote(c.From),
			Hint: "give postern@example.com, or Postern <postern@example.com>",
		}
	}
	return nil
}

// loopback reports whether the server is on this machine.
func (c *MailConfig) loopback() bool {
	host, _, _ := net.SplitHostPort(c.Addr)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// domain is that of the sender: Message-IDs end in it.
func (c *MailConfig) domain() string {
	a, err := mail.ParseAddress(c.From)
	if err != nil {
		return "localhost" // check lets no such through
	}
	return a.Address[strings.LastIndexByte(a.Address, '@')+1:]
}

// mail sends a parcel as one mail to all addresses of its subscription.
func (n *Notifier) mail(ctx context.Context, p parcel) result {
	if n.cfg.Mail == nil {
		return result{words: "this installation sends no mail any more"}
	}
	if len(p.webhook.Addresses) == 0 {
		return result{words: "whoever had the subscription's addresses is no member of the organisation any more"}
	}
	msg, err := compose(*n.cfg.Mail, n.cfg.Agent, n.cfg.PublicURL, p, n.cfg.Now())
	if err != nil {
		n.cfg.Log.Error("write a mail", "delivery", p.delivery.ID, "err", err)
		return result{words: "the mail cannot be written"}
	}
	client, hangUp, err := n.cfg.Mail.client(n.cfg.Timeout)
	if err != nil {
		n.cfg.Log.Error("set up the mail client", "err", err)
		return result{words: "the mail server is not set up as it should be"}
	}
	defer hangUp()
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		n.cfg.Log.Warn("a mail was not sent", "delivery", p.delivery.ID, "err", err)
		r := result{words: "the mail server could not be reached"}
		var se *gomail.SendError
		switch {
		case errors.As(err, &se) && se.ErrorCode() != 0:
			r.status = se.ErrorCode()
			r.words = fmt.Sprintf("the mail server answered %d", r.status)
		case errors.Is(err, context.DeadlineExceeded):
			r.words = fmt.Sprintf("the mail server did not answer within %.0f seconds", n.cfg.Timeout.Seconds())
		}
		return r
	}
	return result{arrived: true, status: 250}
}

// client returns a client for one mail, and what ends its TCP stream: the library leaves it open where the server and it
// do not come to terms.
func (c *MailConfig) client(timeout time.Duration) (_ *gomail.Client, hangUp func(), err error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, nil, err
	}
	secure := &tls.Config{ServerName: host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	var streams []net.Conn
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		d := &net.Dialer{Timeout: timeout}
		if number == smtps {
			conn, err = (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, network, address)
		} else {
			conn, err = d.DialContext(ctx, network, address)
		}
		if err == nil {
			streams = append(streams, conn)
		}
		return conn, err
	}
	o := []gomail.Option{
		gomail.WithPort(number), gomail.WithTimeout(timeout), gomail.WithHELO(c.domain()),
		gomail.WithTLSConfig(secure), gomail.WithDialContextFunc(dial),
	}
	switch {
	case number == smtps:
		o = append(o, gomail.WithSSL())
	case c.loopback():
		o = append(o, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	default:
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.Username != "" {
		o = append(o, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.Username), gomail.WithPassword(c.Password))
	}
	client, err := gomail.NewClient(host, o...)
	return client, func() {
		for _, s := range streams {
			_ = s.Close() // most are by now
		}
	}, err
}

// smtps is the port of servers that speak TLS from the start (RFC 8314).
const smtps = 465

//go:embed templates
var templates embed.FS

var (
	plainMail = texttemplate.Must(texttemplate.ParseFS(templates, "templates/mail.txt"))
	htmlMail  = htmltemplate.Must(htmltemplate.ParseFS(templates, "templates/mail.html"))
)

// letter is what the templates of a mail get.
type letter struct {
	Headline string // also the subject
	payload
	At string // when it happened
}

// compose writes a mail. Its Message-ID is the delivery's, in every try.
func compose(c MailConfig, agent, base string, p parcel, now time.Time) (*gomail.Msg, error) {
	content := payloadOf(p, base)
	l := letter{Headline: headline(content), payload: content, At: content.Timestamp.Format("2 January 2006, 15:04:05 MST")}
	var plain, html bytes.Buffer
	if err := errors.Join(plainMail.Execute(&plain, l), htmlMail.Execute(&html, l)); err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := errors.Join(m.From(c.From), m.To(p.webhook.Addresses...)); err != nil {
		return nil, err
	}
	m.Subject(l.Headline)
	m.SetMessageIDWithValue(string(p.delivery.ID) + "@" + c.domain())
	m.SetDateWithValue(now)
	m.SetUserAgent(agent)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office reply to it
	m.SetBodyString(gomail.TypeTextPlain, plain.String())
	m.AddAlternativeString(gomail.TypeTextHTML, html.String())
	return m, nil
}

// headlines begin a mail, by what happened.
var headlines = map[string]string{
	"connected": "Connected", "failed": "Failed", "action_needed": "Action needed", "expiring": "Expires soon", "expired": "Expired", "test": "A test",
}

// headline is the subject of a mail, on one line.
func headline(p payload) string {
	s := headlines[p.Type.What()]
	if s == "" {
		s = string(p.Type)
	}
	if p.Type == link.TestHappening {
		s += " from Postern"
	} else {
		s += fmt.Sprintf(": %s %s", strings.ReplaceAll(p.Data.Object.Kind, "-", " "), p.Data.Object.ID)
	}
	if p.Data.ClusterName != "" {
		s += " of " + p.Data.ClusterName
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
