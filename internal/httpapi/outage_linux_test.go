package httpapi_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/servertest"
	"github.com/postern/postern/internal/storetest"
)

// While the database is away every answer says that it will be back, and what cannot be stored is not said to be.
func TestDatabaseAway(t *testing.T) {
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	srv, err := servertest.SharePostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	w := newWorldOn(t, storetest.On(t, srv.URL("postgres")))
	requests := []struct{ method, path, body string }{
		{"GET", "/api/v1/clusters", ""},
		{"POST", "/api/v1/projects", `{"name":"during"}`},
		{"DELETE", "/api/v1/clusters/" + w.cluster.ID, ""},
	}
	srv.Crash()
	for _, r := range requests {
		got := w.send(t, r.method, r.path, r.body, nil)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), `"reason":"DATABASE_UNAVAILABLE"`) ||
			strings.Contains(string(got.body), "postgres") {
			t.Errorf("%s %s while the database is away: %d %s", r.method, r.path, got.status, got.body)
		}
	}
	if got := w.send(t, "GET", "/healthz", "", nil); got.status != http.StatusOK {
		t.Errorf("healthz: %d; a restart would not bring the database back", got.status)
	}
	ready := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); w.send(t, "GET", "/readyz", "", nil).status != want; {
			if time.Now().After(deadline) {
				t.Fatalf("readyz does not become %d", want)
			}
			select {
			case <-t.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	ready(http.StatusServiceUnavailable)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	ready(http.StatusOK)
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusOK} {
		r := requests[i]
		if got := w.send(t, r.method, r.path, r.body, nil); got.status != want {
			t.Errorf("%s %s afterwards: %d %s", r.method, r.path, got.status, got.body)
		}
	}
}
