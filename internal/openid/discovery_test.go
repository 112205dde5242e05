package openid_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postern/postern/internal/openid"
)

// slowProvider is a provider whose discovery document takes until the test lets it go.
type slowProvider struct {
	*httptest.Server
	asked chan struct{} // a value for each request
	let   chan struct{} // closed: all are let go, also one whose asker has just left
}

func newSlowProvider(t *testing.T) *slowProvider {
	s := &slowProvider{asked: make(chan struct{}, 10), let: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked <- struct{}{}
		select {
		case <-s.let:
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%[1]s/auth","token_endpoint":"%[1]s/token","jwks_uri":"%[1]s/keys"}`, s.URL)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s
}

// While one sign-in waits for a slow provider others wait with it, each as long as it likes; when the first gives up another
// asks in its place. The provider is asked once.
func TestSlowDiscoveryHoldsUpNobodyElse(t *testing.T) {
	s := newSlowProvider(t)
	p, err := openid.New(openid.Config{Issuer: s.URL, ClientID: "c", RedirectURL: redirect})
	if err != nil {
		t.Fatal(err)
	}
	const soon = 30 * time.Second
	begin := func(ctx context.Context) chan error {
		out := make(chan error, 1)
		go func() {
			_, _, err := p.Begin(ctx)
			out <- err
		}()
		return out
	}
	await := func(what string, c chan error) error {
		t.Helper()
		select {
		case err := <-c:
			return err
		case <-time.After(soon):
			t.Fatalf("%s still waits", what)
			return nil
		}
	}
	asked := func(what string) {
		t.Helper()
		select {
		case <-s.asked:
		case <-time.After(soon):
			t.Fatalf("the provider is not asked %s", what)
		}
	}
	first, giveUp := context.WithCancel(t.Context())
	one := begin(first)
	asked("at first")
	impatient, leave := context.WithCancel(t.Context())
	two := begin(impatient)
	leave()
	if err := await("who left", two); reason(err) != "PROVIDER_UNAVAILABLE" {
		t.Errorf("who left is told %v", err)
	}
	three, four := begin(t.Context()), begin(t.Context())
	giveUp()
	if err := await("who gave up", one); reason(err) != "PROVIDER_UNAVAILABLE" {
		t.Errorf("who gave up is told %v", err)
	}
	asked("by one of the others")
	close(s.let)
	for what, c := range map[string]chan error{"the third": three, "the fourth": four} {
		if err := await(what, c); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := await("a later one", begin(t.Context())); err != nil {
		t.Error(err)
	}
	if n := len(s.asked); n != 0 {
		t.Errorf("the provider was asked %d times more", n)
	}
}
