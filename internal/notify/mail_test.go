package notify_test

import (
	"crypto/x509"
	"net"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/store"
)

// mailing makes a notifier send its mail through a test server, as the program does with a server elsewhere: the name is
// one of the test certificate's, and is no loopback address.
func mailing(t *testing.T, s *mailServer, edit func(*notify.MailConfig)) func(*notify.Config) {
	t.Helper()
	cert, err := x509.ParseCertificate(s.tls.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return func(c *notify.Config) {
		c.Mail = &notify.MailConfig{Addr: s.Addr().String(), From: "Postern <postern@vendor.test>", RootCAs: x509.NewCertPool()}
		c.Mail.RootCAs.AddCert(cert)
		edit(c.Mail)
	}
}

func (w *world) subscribeMail(addresses ...string) link.Webhook {
	w.t.Helper()
	return w.subscribe(func(s *link.Webhook) { s.Kind, s.Addresses = link.WebhookMail, addresses })
}

func TestMail(t *testing.T) {
	s := newMailServer(t, func(s *mailServer) { s.password = "pass word" })
	w := newWorld(t, mailing(t, s, func(c *notify.MailConfig) { c.Username, c.Password = "postern", "pass word" }))
	sub := w.subscribeMail("net@customer.test", "ops@customer.test")
	w.happens()
	d := w.awaitDelivered(sub.ID)
	all := s.mails()
	if len(all) != 1 {
		t.Fatalf("%d mails, want one to both", len(all))
	}
	got := all[0]
	if !got.tls || got.user != "postern" || !strings.HasPrefix(got.from, "FROM:<postern@vendor.test>") ||
		!slices.Equal(got.to, []string{"TO:<net@customer.test>", "TO:<ops@customer.test>"}) {
		t.Errorf("the envelope: %+v", got)
	}
	m, err := mail.ReadMessage(strings.NewReader(got.data))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		"Subject": "Action needed: connection vpce-0a1b2c3d4e5f60718 of acme", "Message-Id": "<" + string(d.ID) + "@vendor.test>",
		"Auto-Submitted": "auto-generated", "From": `"Postern" <postern@vendor.test>`,
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if typ := m.Header.Get("Content-Type"); !strings.HasPrefix(typ, "multipart/alternative") {
		t.Errorf("content type %q", typ)
	}
}

// An organisation's subscription does not write to people who have left it, or who may sign in no more.
func TestMailGoesToNobodyWhoLeft(t *testing.T) {
	s := newMailServer(t, func(*mailServer) {})
	w := newWorld(t, mailing(t, s, func(*notify.MailConfig) {}))
	var organisation link.Organisation
	w.write(func(tx *store.Tx) (err error) {
		if organisation, _, err = tx.AddOrganisation("acme"); err != nil {
			return err
		}
		p, _, err := tx.AddProject(organisation.ID, "acme")
		if err != nil {
			return err
		}
		if w.cluster, err = tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: "theirs", Provider: link.AWS, PublicAccess: link.PublicEnabled}); err != nil {
			return err
		}
		for _, who := range []struct {
			email    string
			scope    link.Scope
			disabled bool
		}{
			{"member@customer.test", link.Scope{Kind: link.ScopeProject, ID: p.ID}, false},
			{"vendor@vendor.test", link.Scope{Kind: link.ScopeInstallation}, false},
			{"disabled@customer.test", link.Scope{Kind: link.ScopeProject, ID: p.ID}, true},
			{"left@customer.test", link.Scope{}, false},
		} {
			pr, _, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: who.email, Email: who.email, Disabled: who.disabled})
			if err != nil {
				return err
			}
			if who.scope.Kind == "" {
				continue
			}
			if _, _, err := tx.AddGrant(link.Grant{PrincipalID: pr.ID, Role: link.RoleViewer, Scope: who.scope}); err != nil {
				return err
			}
		}
		return nil
	})
	theirs := func(addresses ...string) link.Webhook {
		return w.subscribe(func(s *link.Webhook) {
			s.Kind, s.OrganisationID, s.Addresses = link.WebhookMail, organisation.ID, addresses
		})
	}
	some := theirs("Member@customer.test", "left@customer.test", "disabled@customer.test", "vendor@vendor.test", "list@customer.test")
	none := theirs("left@customer.test")
	w.happens()
	w.awaitDelivered(some.ID)
	d := w.await(none.ID, "tried once", func(d link.Delivery) bool { return d.Attempts == 1 })
	if !strings.Contains(d.LastError, "no member") {
		t.Errorf("to nobody: %+v", d)
	}
	all := s.mails()
	want := []string{"TO:<Member@customer.test>", "TO:<vendor@vendor.test>", "TO:<list@customer.test>"}
	if len(all) != 1 || !slices.Equal(all[0].to, want) {
		t.Errorf("the mails are %+v, want one to %v", all, want)
	}
}

func TestMailThatIsNotTaken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server func(*mailServer)
		client func(*notify.MailConfig)
		words  string
	}{
		{"refused", func(s *mailServer) { s.refuse = "554 5.7.1 no" }, func(*notify.MailConfig) {}, "the mail server answered 554"},
		{
			"a wrong password", func(s *mailServer) { s.password = "right" },
			func(c *notify.MailConfig) { c.Username, c.Password = "postern", "wrong" }, "the mail server could not be reached",
		},
		{
			"a certificate of nobody", func(*mailServer) {}, func(c *notify.MailConfig) { c.RootCAs = x509.NewCertPool() },
			"the mail server could not be reached",
		},
		{
			"a password without TLS", func(s *mailServer) { s.plain = true },
			func(c *notify.MailConfig) { c.Username, c.Password = "postern", "secret" }, "the mail server could not be reached",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newMailServer(t, tt.server)
			w := newWorld(t, mailing(t, s, tt.client))
			sub := w.subscribeMail("net@customer.test")
			w.happens()
			d := w.await(sub.ID, "tried once", func(d link.Delivery) bool { return d.Attempts == 1 })
			if d.Status != link.DeliveryPending || d.LastError != tt.words {
				t.Errorf("status %s, %q; want %q", d.Status, d.LastError, tt.words)
			}
			if n := len(s.mails()); n != 0 {
				t.Errorf("%d mails were taken", n)
			}
		})
	}
}

// A server that is not on this machine gets nothing in the clear, whether or not there is a password.
func TestMailNeedsTLS(t *testing.T) {
	host := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok && p.IP.To4() != nil && !p.IP.IsLoopback() {
			host = p.IP.String()
		}
	}
	if host == "" {
		t.Skip("this machine has no address but loopback")
	}
	ln, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := newMailServer(t, func(s *mailServer) {
		_ = s.Listener.Close()
		s.Listener, s.plain = ln, true
	})
	w := newWorld(t, mailing(t, s, func(*notify.MailConfig) {}))
	sub := w.subscribeMail("net@customer.test")
	w.happens()
	d := w.await(sub.ID, "tried once", func(d link.Delivery) bool { return d.Attempts == 1 })
	if want := "the mail server could not be reached"; d.LastError != want {
		t.Errorf("%q; want %q", d.LastError, want) // not that it was silent: it did talk to us
	}
	if n := len(s.mails()); n != 0 {
		t.Errorf("%d mails went in the clear", n)
	}
}

func TestMailConfigIsChecked(t *testing.T) {
	for _, c := range []notify.MailConfig{{Addr: "smtp.test", From: "a@b.test"}, {Addr: ":25", From: "a@b.test"}, {Addr: "smtp.test:25", From: "nobody"}} {
		w := newWorld(t, func(*notify.Config) {})
		if _, err := notify.Start(t.Context(), notify.Config{Store: w.st, Mail: &c}); link.KindOf(err) != link.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
