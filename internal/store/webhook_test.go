package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// connected is the event of a connection that came about.
func connected(cluster link.ID) link.Event {
	return link.Event{
		Object: link.ObjectRef{Kind: link.ObjectConnection, ID: string(cluster) + "/vpce-0a1b2c3d"},
		Type:   link.EventStateChanged, State: string(link.Available), Message: "PENDING → AVAILABLE", Actor: "reconciler",
	}
}

// customers makes a project with a cluster for each name, and returns the clusters by name.
func customers(t *testing.T, st *store.Store, names ...string) map[string]link.Cluster {
	t.Helper()
	out := map[string]link.Cluster{}
	for _, name := range names {
		write(t, st, func(tx *store.Tx) error {
			p, _, err := tx.AddProject("", name)
			if err != nil {
				return err
			}
			out[name], err = tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: name, Provider: link.AWS, PublicAccess: link.PublicEnabled})
			return err
		})
	}
	return out
}

func subscribe(t *testing.T, st *store.Store, edit func(*link.Webhook)) link.Webhook {
	t.Helper()
	w := link.Webhook{ID: link.NewID(), Kind: link.WebhookHTTP, URL: "https://hooks.example/", Enabled: true}
	edit(&w)
	write(t, st, func(tx *store.Tx) (err error) {
		w, err = tx.AddWebhook(w, []byte("0123456789abcdef01234567"))
		return err
	})
	return w
}

func deliveries(t *testing.T, st *store.Store, w link.Webhook) (out []link.Delivery) {
	t.Helper()
	read(t, st, func(tx *store.Tx) (err error) {
		out, _, err = tx.Deliveries(w.ID, "", store.Cut{Limit: 100})
		return err
	})
	return out
}

// There is one delivery of each happening for each subscription that wants it, from the same transaction as the event.
func TestFanOut(t *testing.T) { storetest.OnEach(t, testFanOut) }

func testFanOut(t *testing.T, db storetest.Database) {
	st := open(t, db)
	c := customers(t, st, "acme", "other")
	other := link.NewID()
	for _, tt := range []struct {
		name string
		edit func(*link.Webhook)
		want []link.ID // the clusters whose connections it is told of
	}{
		{"all of the installation", func(*link.Webhook) {}, []link.ID{c["acme"].ID, c["other"].ID}},
		{"one cluster", func(w *link.Webhook) { w.ClusterID = c["acme"].ID }, []link.ID{c["acme"].ID}},
		{"one project", func(w *link.Webhook) { w.ProjectID = c["other"].ProjectID }, []link.ID{c["other"].ID}},
		{"an organisation's", func(w *link.Webhook) { w.OrganisationID = other }, nil},
		{"of the type", func(w *link.Webhook) { w.Types = []link.Happening{"connection.connected"} }, []link.ID{c["acme"].ID, c["other"].ID}},
		{"of other types", func(w *link.Webhook) { w.Types = []link.Happening{"connection.failed"} }, nil},
		{"switched off", func(w *link.Webhook) { w.Enabled = false }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := subscribe(t, st, tt.edit)
			write(t, st, func(tx *store.Tx) error {
				return errors.Join(
					tx.AddEvent(connected(c["acme"].ID)),
					tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectCluster, ID: string(c["acme"].ID)}, Type: "CHANGED"}),
					tx.AddEvent(connected(c["other"].ID)),
				)
			})
			var got []link.ID
			for _, d := range deliveries(t, st, w) {
				got = append(got, d.Event.Place.ClusterID)
				if d.Status != link.DeliveryPending || d.Type != "connection.connected" || d.Event.ID == 0 || d.Event.State != "AVAILABLE" {
					t.Errorf("a delivery: %+v", d)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("told of clusters %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFailedWriteTellsNobody(t *testing.T) { storetest.OnEach(t, testFailedWriteTellsNobody) }

func testFailedWriteTellsNobody(t *testing.T, db storetest.Database) {
	st := open(t, db)
	c := customers(t, st, "acme")
	w := subscribe(t, st, func(*link.Webhook) {})
	boom := errors.New("boom")
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.AddEvent(connected(c["acme"].ID)), boom)
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if got := deliveries(t, st, w); len(got) != 0 {
		t.Errorf("%d deliveries of what did not happen", len(got))
	}
}

// What is tested is the one subscription, whatever it filters.
func TestTestReachesItsSubscriptionAlone(t *testing.T) {
	storetest.OnEach(t, testTestReachesItsSubscriptionAlone)
}

func testTestReachesItsSubscriptionAlone(t *testing.T, db storetest.Database) {
	st := open(t, db)
	w := subscribe(t, st, func(w *link.Webhook) { w.Types = []link.Happening{"claim.expiring"} })
	bystander := subscribe(t, st, func(*link.Webhook) {})
	write(t, st, func(tx *store.Tx) error {
		return tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectWebhook, ID: "/" + string(w.ID)}, Type: link.EventTest})
	})
	if got := deliveries(t, st, w); len(got) != 1 || got[0].Type != link.TestHappening {
		t.Errorf("its deliveries: %+v", got)
	}
	if got := deliveries(t, st, bystander); len(got) != 0 {
		t.Errorf("a bystander's deliveries: %+v", got)
	}
}

func TestDeliveryIsSwappedOnce(t *testing.T) { storetest.OnEach(t, testDeliveryIsSwappedOnce) }

func testDeliveryIsSwappedOnce(t *testing.T, db storetest.Database) {
	st := open(t, db)
	c := customers(t, st, "acme")
	w := subscribe(t, st, func(*link.Webhook) {})
	write(t, st, func(tx *store.Tx) error { return tx.AddEvent(connected(c["acme"].ID)) })
	d := deliveries(t, st, w)[0]
	d.Status, d.Attempts, d.NextAt, d.LastError = link.DeliveryDead, 3, time.Time{}, "no answer"
	write(t, st, func(tx *store.Tx) error {
		got, err := tx.SwapDelivery(d)
		if err == nil && (got.Status != link.DeliveryDead || got.Attempts != 3 || got.LastError != "no answer" || got.Version != d.Version+1) {
			t.Errorf("stored %+v", got)
		}
		return errors.Join(err, tx.AddAttempt(d.ID, link.DeliveryAttempt{At: tx.Now(), Status: 503, Error: "no answer", Took: time.Second}))
	})
	err := st.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.SwapDelivery(d); return err })
	if !errors.Is(err, store.ErrChanged) {
		t.Errorf("a second result of the same attempt: %v, want ErrChanged", err)
	}
	write(t, st, func(tx *store.Tx) error {
		dead, _, err := tx.Deliveries(w.ID, link.DeliveryDead, store.Cut{Limit: 10})
		if err != nil || len(dead) != 1 {
			t.Fatalf("%d are dead, want 1: %v", len(dead), err)
		}
		_, err = tx.Redeliver(dead[0])
		return err
	})
	read(t, st, func(tx *store.Tx) error {
		got, err := tx.Delivery(d.ID)
		tries, err2 := tx.Attempts(d.ID)
		if got.Status != link.DeliveryPending || got.Attempts != 0 || got.ID != d.ID || len(tries) != 1 || tries[0].Status != 503 || tries[0].Took != time.Second {
			t.Errorf("after redelivery: %+v, tries %+v", got, tries)
		}
		return errors.Join(err, err2)
	})
}

func TestSigningKeysOverlap(t *testing.T) { storetest.OnEach(t, testSigningKeysOverlap) }

func testSigningKeysOverlap(t *testing.T, db storetest.Database) {
	st := open(t, db)
	w := subscribe(t, st, func(*link.Webhook) {})
	for _, tt := range []struct {
		name   string
		until  time.Duration
		before string
	}{{"while the old one is good", time.Hour, "0123456789abcdef01234567"}, {"when it is over", -time.Second, ""}} {
		write(t, st, func(tx *store.Tx) error {
			_, err := tx.RotateSigningKey(w.ID, []byte("new key"), tx.Now().Add(tt.until))
			return err
		})
		read(t, st, func(tx *store.Tx) error {
			k, err := tx.SigningKeys(w.ID)
			if string(k.Now) != "new key" || string(k.Before) != tt.before {
				t.Errorf("%s: now %q, before %q", tt.name, k.Now, k.Before)
			}
			return err
		})
	}
}

var all = link.Reach{All: true}

func TestFeed(t *testing.T) { storetest.OnEach(t, testFeed) }

func testFeed(t *testing.T, db storetest.Database) {
	st := open(t, db)
	c := customers(t, st, "acme", "other")
	acme, other := c["acme"], c["other"]
	add := func(es ...link.Event) {
		t.Helper()
		write(t, st, func(tx *store.Tx) error {
			for _, e := range es {
				if err := tx.AddEvent(e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	add(connected(acme.ID), connected(other.ID),
		link.Event{Object: link.ObjectRef{Kind: link.ObjectProject, ID: string(acme.ProjectID)}, Type: "CHANGED"},
		link.Event{Object: link.ObjectRef{Kind: link.ObjectRegion, ID: "AWS/us-east-1"}, Type: "CHANGED"})
	// The history of a cluster that is gone stands where the cluster stood.
	write(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.RemoveCluster(other.ID), tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectCluster, ID: string(other.ID)}, Type: "DELETED"}))
	})
	for _, tt := range []struct {
		name string
		feed store.Feed
		want []int64
		seq  int64
		more bool
	}{
		{"everything", store.Feed{Within: all}, []int64{1, 2, 3, 4, 5}, 5, false},
		{"a part", store.Feed{Within: all, Limit: 2}, []int64{1, 2}, 2, true},
		{"all in one", store.Feed{Within: all, Limit: 5}, []int64{1, 2, 3, 4, 5}, 5, false},
		{"the rest", store.Feed{Within: all, After: 2}, []int64{3, 4, 5}, 5, false},
		{"the end", store.Feed{Within: all, After: 5}, nil, 5, false},
		{"a cluster", store.Feed{Within: all, At: link.Place{ClusterID: acme.ID}}, []int64{1}, 5, false},
		{"a project with its cluster", store.Feed{Within: all, At: link.Place{ProjectID: acme.ProjectID}}, []int64{1, 3}, 5, false},
		{"a type", store.Feed{Within: all, Type: "CHANGED"}, []int64{3, 4}, 5, false},
		{"within a project", store.Feed{Within: link.Reach{Projects: []link.ID{other.ProjectID}}}, []int64{2, 5}, 5, false},
		{"within a cluster and a project", store.Feed{Within: link.Reach{Projects: []link.ID{other.ProjectID}, Clusters: []link.ID{acme.ID}}}, []int64{1, 2, 5}, 5, false},
		{"within nothing", store.Feed{Within: link.Reach{}}, nil, 5, false},
		{"within another organisation", store.Feed{Within: link.Reach{Organisations: []link.ID{link.NewID()}}}, nil, 5, false},
	} {
		if tt.feed.Limit == 0 {
			tt.feed.Limit = 100
		}
		read(t, st, func(tx *store.Tx) error {
			got, err := tx.Feed(tt.feed)
			var ids []int64
			for _, e := range got.Events {
				ids = append(ids, e.ID)
			}
			if d := cmp.Diff(tt.want, ids); d != "" || got.Seq != tt.seq || got.More != tt.more {
				t.Errorf("%s: up to %d, more %t: %s", tt.name, got.Seq, got.More, d)
			}
			return err
		})
	}
}

// Whoever comes with a cursor from before what is kept is told so, and skips nothing without knowing it.
func TestFeedTellsWhatWasDropped(t *testing.T) { storetest.OnEach(t, testFeedTellsWhatWasDropped) }

func testFeedTellsWhatWasDropped(t *testing.T, db storetest.Database) {
	st := open(t, db)
	write(t, st, func(tx *store.Tx) error {
		for range 10 {
			if err := tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectRegion, ID: "AWS/us-east-1"}, Type: "CHANGED"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err := store.TrimForTest(t.Context(), st, 4); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[int64]error{0: nil, 1: store.ErrDropped, 5: store.ErrDropped, 6: nil, 10: nil, 11: store.ErrChanged} {
		err := st.Read(t.Context(), func(tx *store.Tx) error {
			got, err := tx.Feed(store.Feed{Within: all, After: after, Limit: 100})
			if err == nil && int64(len(got.Events)) != min(4, 10-after) {
				t.Errorf("after %d: %d events", after, len(got.Events))
			}
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("after %d: %v, want %v", after, err, want)
		}
	}
}

func TestClaimsAreWarnedOfOnce(t *testing.T) { storetest.OnEach(t, testClaimsAreWarnedOfOnce) }

func testClaimsAreWarnedOfOnce(t *testing.T, db storetest.Database) {
	st := open(t, db)
	c := customers(t, st, "acme")["acme"]
	add := func(ttl time.Duration) (id link.ID) {
		id = link.NewID()
		write(t, st, func(tx *store.Tx) error {
			_, err := tx.AddClaim(link.Claim{ID: id, ClusterID: c.ID, ExpiresAt: tx.Now().Add(ttl)}, [32]byte([]byte(id)[:32]))
			return err
		})
		return id
	}
	soon, _, _ := add(30*time.Minute), add(2*time.Hour), add(time.Minute) // one that lasts, and one that was never good for long
	for _, want := range [][]link.ID{{soon}, nil} {
		write(t, st, func(tx *store.Tx) error {
			claims, err := tx.WarnClaims(tx.Now().Add(time.Hour), 20*time.Minute)
			var got []link.ID
			for _, c := range claims {
				got = append(got, c.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("warned of %v, want %v", got, want)
			}
			return err
		})
	}
}
