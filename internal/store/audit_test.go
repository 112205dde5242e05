package store_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// exported is a fresh export of the whole log, by a control plane that has not looked at it before.
func exported(t *testing.T, st *store.Store, key ed25519.PrivateKey) []byte {
	t.Helper()
	plane := control.New(st, control.Options{Domain: "postern.test", AuditKey: key, Log: slog.New(slog.DiscardHandler)})
	give, err := plane.ExportAudit(t.Context(), policy.Caller{Name: "op", Role: policy.Operator}, control.ExportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	if err := give(t.Context(), func(b []byte) error { out = append(out, b...); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func checkExport(t *testing.T, b []byte, o audit.Options) audit.Report {
	t.Helper()
	r, err := audit.Verify(bytes.NewReader(b), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whoever changes the log in the database is found out by the next export, at the entry that was changed.
func TestTamperingWithTheDatabase(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
	for _, c := range []struct {
		name     string
		sql      string
		reason   audit.FaultReason
		position int64
	}{
		{"nothing", `UPDATE audit_entries SET body = body`, "", 0},
		{"what an entry says", `UPDATE audit_entries SET body = replace(body, 'number 4', 'number 5') WHERE body LIKE '%number 4%'`, audit.FaultChanged, 5},
		{"white space in an entry", `UPDATE audit_entries SET body = body || ' ' WHERE position = 5`, audit.FaultChanged, 5},
		{"an entry that is no JSON any more", `UPDATE audit_entries SET body = '' WHERE position = 5`, audit.FaultMalformed, 5},
		{"a hash", `UPDATE audit_entries SET hash = previous WHERE position = 5`, audit.FaultChanged, 5},
		{"a hash that is none", `UPDATE audit_entries SET hash = 'x' WHERE position = 5`, audit.FaultChanged, 5},
		{"an entry is gone", `DELETE FROM audit_entries WHERE position = 5`, audit.FaultRemoved, 5},
		{"the end is gone", `DELETE FROM audit_entries WHERE position >= 5`, audit.FaultUnsigned, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := storetest.Open(t, store.Options{})
			for i := range 8 {
				write(t, st, func(tx *store.Tx) error {
					return tx.AddAudit(audit.Entry{Action: "a.b", Decision: audit.Done, Why: fmt.Sprintf("number %d", i+1)})
				})
			}
			kept := exported(t, st, key)
			if err := store.ExecForTest(t.Context(), st, c.sql); err != nil {
				t.Fatal(err)
			}
			r := checkExport(t, exported(t, st, key), audit.Options{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}})
			switch {
			case c.reason == "" && len(r.Faults) > 0:
				t.Errorf("%+v", r.Faults)
			case c.reason == "":
				if r.Entries < 10 || r.Checkpoints < 2 {
					t.Errorf("%+v", r)
				}
				if old := checkExport(t, kept, audit.Options{}); len(old.Faults) > 0 {
					t.Errorf("the export of before: %+v", old.Faults)
				}
			case len(r.Faults) == 0:
				t.Error("not noticed")
			case c.position != 0 && (r.Faults[0].Position != c.position || r.Faults[0].Reason != c.reason):
				t.Errorf("found %+v, want %s at entry %d", r.Faults, c.reason, c.position)
			}
		})
	}
}

// A log whose end was cut off, and its checkpoints with it, is whole in itself: a checkpoint that somebody kept tells.
func TestAKeptCheckpointShowsACutLog(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
	operator := policy.Caller{Name: "op", Role: policy.Operator}
	st := storetest.Open(t, store.Options{})
	note, err := control.New(st, control.Options{AuditKey: key}).AuditCheckpoint(t.Context(), operator, "")
	if err != nil {
		t.Fatal(err)
	}
	if r := checkExport(t, exported(t, st, key), audit.Options{Checkpoints: [][]byte{note}}); len(r.Faults) > 0 || r.Kept != 1 {
		t.Errorf("as it was: %+v", r)
	}
	err = errors.Join(store.ExecForTest(t.Context(), st, `DELETE FROM audit_entries`), store.ExecForTest(t.Context(), st, `DELETE FROM audit_checkpoints`))
	if err != nil {
		t.Fatal(err)
	}
	b := exported(t, st, key)
	if r := checkExport(t, b, audit.Options{}); len(r.Faults) > 0 {
		t.Errorf("cut and begun anew: %+v", r.Faults)
	}
	if r := checkExport(t, b, audit.Options{Checkpoints: [][]byte{note}}); len(r.Faults) == 0 {
		t.Error("not noticed")
	}
}

// Writers that run side by side make one chain without gaps.
func TestOneChainOfManyWriters(t *testing.T) {
	st := storetest.Open(t, store.Options{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				err := st.Write(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
					return tx.AddAudit(audit.Entry{Action: "a.b", Decision: audit.Done, Why: fmt.Sprint(w, i), Object: link.ObjectRef{Kind: "k"}})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	read(t, st, func(tx *store.Tx) error {
		all, err := tx.AuditRange(1, 1000, 1000)
		var last audit.Sealed
		for _, s := range all {
			if s.Position != last.Position+1 || s.Previous != last.Hash || audit.HashOf(s.Position, s.Previous, s.Digest) != s.Hash {
				t.Errorf("entry %d does not continue entry %d", s.Position, last.Position)
			}
			last = s
		}
		if last.Position != 41 { // the first says that the log begins
			t.Errorf("%d entries", last.Position)
		}
		return err
	})
}

// Processes that share a database may sign with keys of their own. Each says so in the log, each goes on from what the other
// signed, and an export proves all of it with both.
func TestSeveralKeys(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, d storetest.Database) {
		st := d.Open(t, store.Options{})
		operator := policy.Caller{Name: "op", Role: policy.Operator}
		var keys []ed25519.PublicKey
		var planes []*control.Plane
		for i := range 2 {
			key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(10 + i)}, ed25519.SeedSize))
			keys = append(keys, key.Public().(ed25519.PublicKey))
			planes = append(planes, control.New(st, control.Options{Domain: "postern.test", AuditKey: key}))
		}
		var notes [][]byte
		for range 2 {
			for _, p := range planes {
				if _, err := p.CreateOrganisation(t.Context(), operator, "o"+fmt.Sprint(len(notes))); err != nil {
					t.Fatal(err)
				}
				note, err := p.AuditCheckpoint(t.Context(), operator, "")
				if err != nil {
					t.Fatal(err)
				}
				notes = append(notes, note)
			}
		}
		b := exported(t, st, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{10}, ed25519.SeedSize)))
		if r := checkExport(t, b, audit.Options{Keys: keys, Checkpoints: notes}); len(r.Faults) > 0 || r.Kept != 4 {
			t.Errorf("with both keys: %+v", r)
		}
		if r := checkExport(t, b, audit.Options{Keys: keys[:1]}); len(r.Faults) == 0 {
			t.Error("the other key's checkpoints count for who holds one key alone")
		}
		if n := bytes.Count(b, []byte(`"audit-key.add"`)); n != 2 {
			t.Errorf("%d keys are announced", n)
		}
	})
}

// BenchmarkWrite is what a change costs: its row and its line of history alone, and with its entry of the audit log.
func BenchmarkWrite(b *testing.B) {
	st := storetest.Open(b, store.Options{Log: slog.New(slog.DiscardHandler)})
	for _, audited := range []bool{false, true} {
		for _, writers := range []int{1, 8} {
			b.Run(fmt.Sprintf("audited=%t/writers=%d", audited, writers), func(b *testing.B) {
				b.SetParallelism(writers) // times GOMAXPROCS
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						err := st.Write(b.Context(), func(tx *store.Tx) error {
							org, _, err := tx.AddOrganisation(string(link.NewID()))
							ref := link.ObjectRef{Kind: link.ObjectOrganisation, ID: string(org.ID)}
							err = errors.Join(err, tx.AddEvent(link.Event{Object: ref, Type: "CREATED"}))
							if audited {
								err = errors.Join(err, tx.AddAudit(audit.Entry{Action: "organisation.create", Object: ref, Decision: audit.Done, Why: "an organisation was created"}))
							}
							return err
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			})
		}
	}
}
