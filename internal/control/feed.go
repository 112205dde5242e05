package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// FeedQuery asks for a part of the feed: the events of all objects in the order of their commits. The zero value is its
// oldest part that is kept. A filter by what is not there, or is not the caller's to see, fits no event.
type FeedQuery struct {
	Cursor    string    // FeedPage.Next of an earlier answer
	Since     time.Time // without a cursor: begin with the first event of this time or later
	Limit     int       // 0 means 100; more than 500 means 500
	ProjectID link.ID   // its own events and those of its clusters; empty for any
	ClusterID link.ID   // empty for any
	Type      string    // of the events; empty for any
}

// FeedPage is a part of the feed.
type FeedPage struct {
	Events  []link.Event
	Cursors []string // by event: what comes after it
	Next    string   // always given: what comes after this part, also when nothing does yet
	More    bool     // there is more already
	Seq     int64    // for WaitFeed
}

// Feed returns a part of the feed: the events that the caller may see. It is of kind Gone with CURSOR_TOO_OLD when some
// of what follows the cursor is not kept any more.
func (p *Plane) Feed(ctx context.Context, c policy.Caller, q FeedQuery) (out FeedPage, err error) {
	cut, err := Page{Limit: q.Limit}.cut("")
	if err != nil {
		return out, err
	}
	key, err := p.cursors.of(ctx, p.st)
	if err != nil {
		return out, err
	}
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectCluster}, func(tx *store.Tx) error {
		f := store.Feed{
			Limit: cut.Limit, Within: policy.ReachOf(c, link.ObjectCluster), At: link.Place{ProjectID: q.ProjectID, ClusterID: q.ClusterID}, Type: q.Type,
		}
		switch {
		case q.Cursor != "":
			if f.After, err = openCursor(key, q.Cursor); err != nil {
				return err
			}
		case !q.Since.IsZero():
			if f.After, err = tx.EventBefore(q.Since); err != nil {
				return err
			}
		}
		part, err := tx.Feed(f)
		if err != nil {
			return cursorError(err)
		}
		for _, e := range part.Events {
			if policy.May(c, policy.Read, e.Object, e.Place).Allow {
				out.Events, out.Cursors = append(out.Events, e), append(out.Cursors, sealCursor(key, e.ID))
			}
		}
		out.Next, out.More, out.Seq = sealCursor(key, part.Seq), part.More, part.Seq
		return nil
	})
	return out, err
}

// WaitFeed returns once there is an event after a part of the feed, whoever may see it. It is an error only that ctx ended
// or that the database cannot be read.
func (p *Plane) WaitFeed(ctx context.Context, after FeedPage) error {
	_, err := p.st.WaitEvents(ctx, after.Seq)
	return err
}

func cursorError(err error) error {
	switch {
	case errors.Is(err, store.ErrDropped):
		return &link.Error{
			Kind: link.Gone, Reason: "CURSOR_TOO_OLD", Field: "cursor", Message: "some of the events after this cursor are not kept any more",
			Hint: "read the objects themselves to learn how they stand, then go on without a cursor: the answer begins with the oldest event that is kept",
		}
	case errors.Is(err, store.ErrChanged):
		return &link.Error{
			Kind: link.Gone, Reason: "CURSOR_UNKNOWN", Field: "cursor", Message: "this cursor is of events that this installation does not have: it was restored from a backup",
			Hint: "read the objects themselves to learn how they stand, then go on without a cursor: the answer begins with the oldest event that is kept",
		}
	}
	return err
}

// A cursor is a version, a seq and a seal over both, so that nobody comes to rely on what is in it.
const (
	cursorVersion = 1
	cursorLength  = 1 + 8 + cursorSeal
	cursorSeal    = 16
)

// cursorKey is what cursors are sealed with, once it was read: the same in every process.
type cursorKey struct {
	mu  sync.Mutex
	key []byte
}

func (k *cursorKey) of(ctx context.Context, st *store.Store) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		return k.key, nil
	}
	fresh := identity.NewSealKey()
	err := st.Write(ctx, func(tx *store.Tx) (err error) {
		k.key, err = tx.SealKey(fresh)
		return err
	})
	if err != nil {
		k.key = nil
	}
	return k.key, err
}

func sealCursor(key []byte, seq int64) string {
	b := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(seq))
	return base64.RawURLEncoding.EncodeToString(append(b, cursorMAC(key, b)...))
}

func openCursor(key []byte, cursor string) (seq int64, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) != cursorLength || b[0] != cursorVersion || !hmac.Equal(b[9:], cursorMAC(key, b[:9])) {
		return 0, invalid("cursor", "MALFORMED_CURSOR", "not a cursor of this feed: "+link.Quote(cursor),
			"give next_cursor of an earlier answer unchanged, or nothing for the oldest event that is kept")
	}
	return int64(binary.BigEndian.Uint64(b[1:9])), nil
}

func cursorMAC(key []byte, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("events ")) // the key seals other things too
	h.Write(b)
	return h.Sum(nil)[:cursorSeal]
}
