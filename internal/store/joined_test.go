package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestJoined(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, d storetest.Database) {
		st := d.Open(t, store.Options{})
		ctx := t.Context()
		stop := errors.New("stop")
		object := link.ObjectRef{Kind: link.ObjectProject, ID: "p"}
		token := func(ctx context.Context, name string, after error) error {
			return st.Write(ctx, func(tx *store.Tx) error {
				err := errors.Join(tx.PutToken(name, "operator", name), tx.AddEvent(link.Event{Object: object, Type: name}))
				return errors.Join(err, after)
			})
		}
		knows := func(ctx context.Context, name string) bool {
			err := st.Read(ctx, func(tx *store.Tx) error { _, _, err := tx.Token(name); return err })
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			return err == nil
		}
		revision := version(t, st)

		err := st.Together(ctx, func(ctx context.Context) error {
			if err := token(ctx, "one", nil); err != nil {
				return err
			}
			if err := token(ctx, "two", stop); !errors.Is(err, stop) {
				t.Errorf("a part that fails: %v", err)
			}
			if !knows(ctx, "one") || knows(ctx, "two") {
				t.Error("a part does not see what the parts before it left")
			}
			return token(ctx, "three", nil)
		})
		if err != nil || !knows(ctx, "one") || knows(ctx, "two") || !knows(ctx, "three") {
			t.Errorf("%v: one %t, two %t, three %t", err, knows(ctx, "one"), knows(ctx, "two"), knows(ctx, "three"))
		}
		err = st.Together(ctx, func(ctx context.Context) error { return errors.Join(token(ctx, "four", nil), stop) })
		if !errors.Is(err, stop) || knows(ctx, "four") {
			t.Errorf("all of it fails: %v", err)
		}
		var events []link.Event
		read(t, st, func(tx *store.Tx) (err error) {
			events, _, err = tx.Events(object, store.Cut{Limit: 10})
			return err
		})
		if len(events) != 2 || events[0].Type != "one" || events[1].Type != "three" || version(t, st) != revision {
			t.Errorf("events %+v", events)
		}
	})
}
