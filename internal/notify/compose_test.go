package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

var update = flag.Bool("update", false, "write the golden files")

func parcelOf(h link.Happening, e link.Event) parcel {
	e.ID, e.At = 42, time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	if e.Object.Kind != link.ObjectWebhook {
		e.Place = link.Place{ProjectID: "11111111-1111-4111-8111-111111111111", ClusterID: "22222222-2222-4222-8222-222222222222"}
	}
	p := parcel{
		delivery: link.Delivery{ID: "33333333-3333-4333-8333-333333333333", Type: h, Event: e},
		webhook:  link.Webhook{Kind: link.WebhookMail, Addresses: []string{"net@customer.test"}},
	}
	if e.Place.ClusterID != "" {
		p.cluster = "acme"
	}
	return p
}

// parts are a composed mail's header and its bodies by type.
func parts(t *testing.T, p parcel) (mail.Header, map[string]string) {
	t.Helper()
	m, err := compose(MailConfig{Addr: "127.0.0.1:25", From: "postern@vendor.test"}, "Postern", "https://postern.example", p, time.Date(2026, 5, 6, 8, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	read, err := mail.ReadMessage(&b)
	if err != nil {
		t.Fatalf("not a mail: %v", err)
	}
	_, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for r := multipart.NewReader(read.Body, params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // as documented
			return read.Header, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		typ, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		bodies[typ] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
}

// What people and programs are sent, word for word.
func TestGoldenMessages(t *testing.T) {
	connection := link.ObjectRef{Kind: link.ObjectConnection, ID: "22222222-2222-4222-8222-222222222222/vpce-0a1b2c3d4e5f60718"}
	for name, p := range map[string]parcel{
		"connected": parcelOf("connection.connected", link.Event{
			Object: connection, Type: link.EventStateChanged, State: "AVAILABLE", Reason: link.ReasonOwnerTrusted,
			Message: "PENDING_ACCEPTANCE → AVAILABLE: owner 123456789012 is trusted", Actor: "reconciler",
		}),
		"action_needed": parcelOf("connection.action_needed", link.Event{
			Object: connection, Type: link.EventNotAccepted, Reason: link.ReasonOwnerNotTrusted, Message: "owner 123456789012 is not trusted by this cluster",
			NextStep: "add 123456789012 to the cluster's trusted owners, and the endpoint is accepted by itself; or delete the connection", Actor: "reconciler",
		}),
		"failed": parcelOf("connection.failed", link.Event{
			Object: connection, Type: link.EventStateChanged, State: "FAILED", Reason: link.ReasonEndpointFailed, Message: "PENDING → FAILED: the cloud could not set the endpoint up",
			NextStep: "the endpoint's owner reads its last error at the cloud, deletes it and creates a new one", Actor: "reconciler",
		}),
		"expiring": parcelOf("claim.expiring", link.Event{
			Object: link.ObjectRef{Kind: link.ObjectClaim, ID: "22222222-2222-4222-8222-222222222222/44444444-4444-4444-8444-444444444444"}, Type: link.EventExpiring,
			State: "OPEN", Reason: "NOT_USED_YET", Message: "the claim was not used and expires at 2026-05-06T07:18:09Z", NextStep: "use it before then, or make another one", Actor: "notifier",
		}),
		"test": parcelOf(link.TestHappening, link.Event{
			Object: link.ObjectRef{Kind: link.ObjectWebhook, ID: "/55555555-5555-4555-8555-555555555555"}, Type: link.EventTest, State: "TEST", Reason: "TEST_REQUESTED",
			Message: "alice asked for a test of this subscription", NextStep: "nothing: that this arrived is what the test was for", Actor: "alice",
		}),
	} {
		head, bodies := parts(t, p)
		subject, err := new(mime.WordDecoder).DecodeHeader(head.Get("Subject"))
		if err != nil {
			t.Fatal(err)
		}
		var hook bytes.Buffer
		raw, err := payloadOf(p, "https://postern.example").body()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&hook, raw, "", "  "); err != nil {
			t.Fatal(err)
		}
		for file, got := range map[string]string{
			name + ".txt": "Subject: " + subject + "\n\n" + bodies["text/plain"], name + ".html": bodies["text/html"], name + ".json": hook.String() + "\n",
		} {
			file = filepath.Join("testdata", "golden", file)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (write it anew with -update): %s", file, diff)
			}
		}
	}
}

// Whatever stands in an event, a mail has the head that it should and no other, and its HTML no markup of the event's.
func FuzzMailHead(f *testing.F) {
	f.Add("vpce-1", "acme", "hello", "do it")
	f.Add("vpce-1\r\nBcc: everybody@example.com", "acme\nX-Evil: 1", "a\r\n.\r\nMAIL FROM:<x@y>", "\r\n\r\nbody")
	f.Add("é\x00\u2028", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", `"><a href="javascript:alert(1)">`)
	f.Add(strings.Repeat("x", 3000), "=?utf-8?q?=0D=0ABcc:_x=40y?=", "\xff\xfe", "")
	f.Fuzz(func(t *testing.T, id, cluster, message, next string) {
		p := parcelOf("connection.failed", link.Event{
			Object: link.ObjectRef{Kind: link.ObjectConnection, ID: "c/" + id}, State: "FAILED", Reason: "R", Message: message, NextStep: next, Actor: id,
		})
		p.cluster = cluster
		head, bodies := parts(t, p)
		known := map[string]bool{
			"Subject": true, "From": true, "To": true, "Date": true, "Message-Id": true, "Mime-Version": true, "Content-Type": true, "Auto-Submitted": true,
			"User-Agent": true, "X-Mailer": true,
		}
		for name, values := range head {
			if !known[name] || len(values) != 1 {
				t.Errorf("header %q: %q", name, values)
			}
		}
		if got := head.Get("To"); got != "<net@customer.test>" {
			t.Errorf("to %q", got)
		}
		if html := bodies["text/html"]; strings.Contains(html, "<script") || strings.Contains(html, "<img") || strings.Contains(html, "<a ") {
			t.Errorf("markup of the event's: %s", html)
		}
		if len(bodies) != 2 {
			t.Errorf("%d bodies", len(bodies))
		}
	})
}
