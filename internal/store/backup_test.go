package store_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// backup writes a backup into a file and returns its path.
func backup(t *testing.T, st *store.Store) string {
	t.Helper()
	b, err := st.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(b)
	if err != nil || int64(len(text)) != b.Size || sha256.Sum256(text) != b.SHA256 {
		t.Errorf("%d bytes of %d, %v", len(text), b.Size, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "kept.db")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Writers go on while a backup is made, and every backup is of one moment: of each write it holds all or nothing, and its
// audit log is proven.
func TestBackupsAreOfOneMoment(t *testing.T) {
	st := open(t, storetest.Database{Dir: t.TempDir()})
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	exported(t, st, key)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var written [3]int
	for n := range written {
		writers.Go(func() {
			for ctx.Err() == nil {
				err := st.Write(t.Context(), func(tx *store.Tx) error {
					p, _, err := tx.AddProject("", fmt.Sprintf("p-%d-%d", n, written[n]))
					if err != nil {
						return err
					}
					ref := link.ObjectRef{Kind: link.ObjectProject, ID: string(p.ID)}
					if err := tx.AddEvent(link.Event{Object: ref, Type: "CREATED"}); err != nil {
						return err
					}
					if err := tx.AddAudit(audit.Entry{Action: "project.create", Object: ref, Decision: audit.Done}); err != nil {
						return err
					}
					return tx.RulesChanged(store.RulesOfCluster, p.ID)
				})
				if err != nil {
					t.Error(err)
					return
				}
				written[n]++
			}
		})
	}
	var files []string
	for range 3 {
		files = append(files, backup(t, st))
	}
	stop()
	writers.Wait()
	files = append(files, backup(t, st))
	last := -1
	for _, file := range files {
		dir := t.TempDir()
		if _, err := store.Restore(t.Context(), file, dir, false, store.Options{}); err != nil {
			t.Fatal(err)
		}
		copied := open(t, storetest.Database{Dir: dir})
		if r := checkExport(t, exported(t, copied, key), audit.Options{}); len(r.Faults) > 0 {
			t.Errorf("the audit log of a backup: %+v", r)
		}
		tables := dump(t, copied)
		created := 0
		for _, row := range tables["audit_entries"] {
			created += strings.Count(row, `"project.create"`)
		}
		projects := len(tables["projects"])
		if projects != len(tables["events"]) || projects != created || projects != len(tables["rules_changes"]) || projects < last {
			t.Errorf("%d projects with %d events, %d entries and %d changes of the rules; %d projects before", projects, len(tables["events"]), created, len(tables["rules_changes"]), last)
		}
		last = projects
	}
	if all := written[0] + written[1] + written[2]; last != all || all == 0 {
		t.Errorf("the last backup has %d projects, and %d were made", last, all)
	}
}

// There is one backup at a time, and none is left behind.
func TestOneBackupAtATime(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "backup-1.tmp")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st := open(t, storetest.Database{Dir: dir})
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed process left is still there")
	}
	b, err := st.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Backup(t.Context())
	wantReason(t, err, "BACKUP_UNDER_WAY")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	backup(t, st)
	if files, err := filepath.Glob(filepath.Join(dir, "backup-*")); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestNoBackupOfPostgres(t *testing.T) {
	_, err := open(t, storetest.Postgres(t)).Backup(t.Context())
	wantReason(t, err, "NOT_EMBEDDED")
}

// What was said to people and programs since a backup is not known after a restore: so that they are asked again.
func TestRestoreForgetsWhatMayHaveEnded(t *testing.T) {
	st := open(t, storetest.Database{Dir: t.TempDir()})
	var before []byte
	write(t, st, func(tx *store.Tx) (err error) {
		p, _, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: "Ann", Email: "ann@acme.example"})
		if err != nil {
			return err
		}
		_, err = tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: p.ID, Method: "PASSWORD", ExpiresAt: tx.Now().Add(time.Hour)}, "hash", time.Hour)
		if err != nil {
			return err
		}
		before, err = tx.SealKey(bytes.Repeat([]byte{1}, 32))
		return err
	})
	dir := t.TempDir()
	if _, err := store.Restore(t.Context(), backup(t, st), dir, false, store.Options{}); err != nil {
		t.Fatal(err)
	}
	copied := open(t, storetest.Database{Dir: dir})
	tables := dump(t, copied)
	if len(tables["principals"]) != 1 || len(tables["sessions"]) != 0 {
		t.Errorf("people %q, sessions %q", tables["principals"], tables["sessions"])
	}
	if log := tables["audit_entries"]; !strings.Contains(strings.Join(log, "\n"), `"database.restore"`) {
		t.Errorf("the audit log does not say so: %q", log)
	}
	write(t, copied, func(tx *store.Tx) error {
		after, err := tx.SealKey(bytes.Repeat([]byte{2}, 32))
		if bytes.Equal(before, after) {
			t.Error("what was sealed before is taken still")
		}
		return err
	})
}

// What cannot be restored changes nothing, and says why.
func TestRestoreRefuses(t *testing.T) {
	st := open(t, storetest.Database{Dir: t.TempDir()})
	for n := range 200 {
		write(t, st, func(tx *store.Tx) error {
			_, _, err := tx.AddProject("", fmt.Sprintf("project %d", n))
			return err
		})
	}
	good := backup(t, st)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(text)
	for i := len(damaged) / 4; i < len(damaged)*3/4; i++ {
		damaged[i] ^= 0x55
	}
	if err := store.NewerSchemaForTest(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	newer := backup(t, st)

	dir := t.TempDir()
	var before map[string][]string
	closed(t, dir, func(st *store.Store) { before = dump(t, st) })
	for _, c := range []struct {
		name   string
		text   []byte
		file   string
		force  bool
		reason string
	}{
		{name: "a database is there", file: good, reason: "DATABASE_THERE"},
		{name: "no file", file: "nowhere", force: true, reason: "NO_BACKUP"},
		{name: "an empty file", text: []byte{}, force: true, reason: "NO_BACKUP"},
		{name: "a text", text: []byte(strings.Repeat("no database\n", 1000)), force: true, reason: "NO_BACKUP"},
		{name: "half a file", text: text[:len(text)/2], force: true, reason: "BACKUP_DAMAGED"},
		{name: "a damaged file", text: damaged, force: true, reason: "BACKUP_DAMAGED"},
		{name: "of a newer version", file: newer, force: true, reason: "BACKUP_TOO_NEW"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text != nil {
				c.file = filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(c.file, c.text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := store.Restore(t.Context(), c.file, dir, c.force, store.Options{})
			wantReason(t, err, c.reason)
			closed(t, dir, func(st *store.Store) {
				if diff := cmp.Diff(before, dump(t, st)); diff != "" {
					t.Errorf("and yet something changed:\n%s", diff)
				}
				if _, err := store.Restore(t.Context(), good, dir, true, store.Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
					t.Errorf("a restore of what is in use: %v", err)
				}
			})
		})
	}
	if files, err := filepath.Glob(filepath.Join(dir, "restore-*")); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if _, err := store.Restore(t.Context(), good, dir, true, store.Options{}); err != nil {
		t.Fatal(err)
	}
	closed(t, dir, func(st *store.Store) {
		if n := len(dump(t, st)["projects"]); n != 200 {
			t.Errorf("%d projects came back", n)
		}
	})
}
