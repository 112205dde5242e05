package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postern/postern/api"
)

func aBatch(i int) api.GatewayReport {
	return api.GatewayReport{
		GatewayID: "gw-1", BatchID: fmt.Sprintf("batch-%04d", i), SentAt: recordTime,
		Flows: []api.GatewayFlow{{ID: fmt.Sprint("flow", i), ClusterID: acmeID, Listener: "private", StartedAt: recordTime}},
	}
}

func batches(from, to int) (out []api.GatewayReport) {
	for i := from; i < to; i++ {
		out = append(out, aBatch(i))
	}
	return out
}

func testSpool(t testing.TB, dir string) *spool {
	s := &spool{dir: dir, most: defaultSpoolSize, log: testLog(t)}
	t.Cleanup(s.close)
	return s
}

func (s *spool) mustAppend(t testing.TB, l lane, b []api.GatewayReport) {
	t.Helper()
	if n, err := s.append(l, b); n != len(b) || err != nil {
		t.Fatalf("%d of %d batches written: %v", n, len(b), err)
	}
}

// crash ends a spool as the death of its process does: the kernel closes its lock.
func (s *spool) crash(t testing.TB) {
	t.Helper()
	for _, q := range s.queue {
		for _, seg := range q {
			_ = seg.lock.f.Close()
		}
	}
	s.own, s.queue, s.open = nil, [lanes][]*segment{}, [lanes]*segment{}
}

// ids takes everything from a lane, and returns the ids of the batches.
func (s *spool) ids(t testing.TB, l lane) (ids []string) {
	t.Helper()
	for {
		rep, some := s.first(l)
		if !some {
			return ids
		}
		ids = append(ids, rep.BatchID)
		if !s.done(l, rep.BatchID) {
			t.Fatalf("batch %s is not there", rep.BatchID)
		}
	}
}

func idsOf(b []api.GatewayReport) (ids []string) {
	for _, rep := range b {
		ids = append(ids, rep.BatchID)
	}
	return ids
}

func wantIDs(t testing.TB, what string, got []string, want []api.GatewayReport) {
	t.Helper()
	if !slices.Equal(got, idsOf(want)) {
		t.Errorf("%s: %v, want %v", what, got, idsOf(want))
	}
}

func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSpoolGivesBackInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := testSpool(t, dir)
	if names := filesIn(t, dir); len(names) != 0 {
		t.Fatalf("files before anything was spooled: %v", names)
	}
	s.most = 16 << 10 // so that there are many segments
	s.mustAppend(t, recordLane, batches(0, 20))
	s.mustAppend(t, claimLane, batches(100, 102))
	if got, some := s.first(recordLane); !some || got.Flows[0] != aBatch(0).Flows[0] || got.BatchID != "batch-0000" || !got.SentAt.Equal(recordTime) {
		t.Errorf("read back %+v", got)
	}
	s.mustAppend(t, recordLane, batches(20, 30))
	if len(s.queue[recordLane]) < 3 {
		t.Errorf("%d segments", len(s.queue[recordLane]))
	}
	if s.done(recordLane, "batch-0001") {
		t.Error("a batch was done before the one in front of it")
	}
	for i := range lanes {
		for _, seg := range s.queue[i] {
			if info, err := os.Stat(seg.path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != seg.size {
				t.Errorf("%s: %v, %v", seg.path, info, err)
			}
		}
	}
	wantIDs(t, "claims", s.ids(t, claimLane), batches(100, 102))
	wantIDs(t, "records", s.ids(t, recordLane), batches(0, 30))
	if s.size() != 0 || s.lost() != 0 {
		t.Errorf("%d bytes, %d lost", s.size(), s.lost())
	}
	s.close()
	if names := filesIn(t, dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestSpoolOutlivesItsProcess(t *testing.T) {
	for name, end := range map[string]func(*spool){
		"in order":   (*spool).close,
		"by a crash": func(s *spool) { s.crash(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := testSpool(t, dir)
			first.mustAppend(t, recordLane, batches(0, 5))
			first.mustAppend(t, claimLane, batches(100, 101))
			for range 2 {
				rep, _ := first.first(recordLane)
				first.done(recordLane, rep.BatchID)
			}
			end(first)
			second := testSpool(t, dir)
			second.mustAppend(t, recordLane, batches(5, 7))
			if n, err := second.adopt(); n != 4 || err != nil {
				t.Fatalf("adopted %d records, %v", n, err)
			}
			if n, err := second.adopt(); n != 0 || err != nil {
				t.Errorf("adopted %d records once more, %v", n, err)
			}
			wantIDs(t, "claims", second.ids(t, claimLane), batches(100, 101))
			wantIDs(t, "records, those taken before left out", second.ids(t, recordLane), batches(2, 7))
			second.close()
			if names := filesIn(t, dir); len(names) != 0 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

// Two processes share a directory while one hands over to the other: neither touches what is the other's until that has
// ended.
func TestSpoolsShareADirectory(t *testing.T) {
	dir := t.TempDir()
	older, newer := testSpool(t, dir), testSpool(t, dir)
	older.mustAppend(t, recordLane, batches(0, 2))
	newer.mustAppend(t, recordLane, batches(10, 12))
	for _, s := range []*spool{older, newer} {
		if n, err := s.adopt(); n != 0 || err != nil {
			t.Fatalf("adopted %d records of a process that lives, %v", n, err)
		}
	}
	older.mustAppend(t, recordLane, batches(2, 4))
	rep, _ := newer.first(recordLane) // is being sent
	older.crash(t)
	if n, err := newer.adopt(); n != 4 || err != nil {
		t.Fatalf("adopted %d records, %v", n, err)
	}
	if !newer.done(recordLane, rep.BatchID) {
		t.Error("a batch that was being sent is lost from sight when older ones are adopted")
	}
	wantIDs(t, "records", newer.ids(t, recordLane), append(batches(0, 4), batches(11, 12)...))
}

// A process that dies while it writes leaves a segment that ends anywhere.
func TestSpoolCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := testSpool(t, dir)
	s.mustAppend(t, recordLane, batches(0, 3))
	seg := s.queue[recordLane][0]
	text, err := os.ReadFile(seg.path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int // of the lines
	for i, c := range text {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	name := filepath.Base(seg.path)
	cutDir := t.TempDir()
	for cut := range len(text) + 1 {
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		if err := os.WriteFile(filepath.Join(cutDir, name), text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		after := testSpool(t, cutDir)
		if n, err := after.adopt(); n != whole || err != nil {
			t.Fatalf("cut at byte %d: adopted %d records, %v", cut, n, err)
		}
		wantIDs(t, fmt.Sprintf("cut at byte %d", cut), after.ids(t, recordLane), batches(0, whole))
		after.close()
		if names := filesIn(t, cutDir); len(names) != 0 {
			t.Fatalf("cut at byte %d: left behind: %v", cut, names)
		}
	}
}

// One byte of a segment is wrong: at most the line that it is in is lost, or two when it was the break between them.
func TestSpoolDamagedAtEveryByte(t *testing.T) {
	var text []byte
	for i := range 3 {
		text = appendLine(text, 1, fmt.Appendf(nil, `{"batch_id":"b%d"}`, i))
	}
	for at := range text {
		broken := bytes.Clone(text)
		broken[at] ^= 0x04
		waiting, _ := readSegment(broken)
		if len(waiting) < 1 || len(waiting) > 2 {
			t.Errorf("byte %d: %d of 3 batches are read", at, len(waiting))
		}
		for _, w := range waiting {
			if !bytes.Contains(text, broken[w.at:w.at+int64(w.length)]) {
				t.Errorf("byte %d: a line that was never written: %q", at, broken[w.at:w.at+int64(w.length)])
			}
		}
	}
}

func TestSpoolIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := testSpool(t, dir)
	s.most = 32 << 10
	s.mustAppend(t, claimLane, batches(1000, 1003))
	s.mustAppend(t, recordLane, batches(0, 500))
	if s.size() > s.most {
		t.Errorf("%d bytes on disk, bound %d", s.size(), s.most)
	}
	kept := s.ids(t, recordLane)
	if len(kept) == 0 || len(kept)+int(s.lost()) != 500 {
		t.Fatalf("%d kept and %d lost of 500", len(kept), s.lost())
	}
	wantIDs(t, "the newest are kept", kept, batches(500-len(kept), 500))
	wantIDs(t, "claims do not go for records", s.ids(t, claimLane), batches(1000, 1003))

	s.mustAppend(t, claimLane, batches(0, 200)) // claims have bounds too: the first to come stay
	kept = s.ids(t, claimLane)
	wantIDs(t, "claims", kept, batches(0, len(kept)))
	if len(kept) == 0 || len(kept) == 200 {
		t.Errorf("%d claims kept", len(kept))
	}
	huge := aBatch(1)
	huge.Flows[0].Name = string(make([]byte, s.most))
	if n, err := s.append(recordLane, []api.GatewayReport{huge}); n != 1 || err != nil || s.size() != 0 {
		t.Errorf("a batch for which there never is room: %d, %v, %d bytes", n, err, s.size())
	}
}

func TestSpoolThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a file in its place")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := testSpool(t, filepath.Join(file, "spool"))
	if n, err := s.append(recordLane, batches(0, 2)); n != 0 || err == nil {
		t.Errorf("%d written, %v", n, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.mustAppend(t, recordLane, batches(0, 2))
	if err := os.RemoveAll(s.dir); err != nil { // somebody tidied up
		t.Fatal(err)
	}
	if n, err := s.append(recordLane, batches(2, 3)); n != 0 || err == nil {
		t.Errorf("%d written, %v", n, err)
	}
	if rep, some := s.first(recordLane); some || s.lost() != 2 {
		t.Errorf("read %v from a file that is gone; lost %d", rep, s.lost())
	}
}

func TestSpoolThatCannotBeReadForAWhile(t *testing.T) {
	s := testSpool(t, t.TempDir())
	s.mustAppend(t, recordLane, batches(0, 2))
	path := s.queue[recordLane][0].path
	if err := errors.Join(os.Rename(path, path+"~"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if rep, some := s.first(recordLane); some || s.lost() != 0 || !s.waits(recordLane) {
		t.Errorf("read %v; lost %d", rep, s.lost())
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "once it can be read", s.ids(t, recordLane), batches(0, 2))
}

func TestSpoolKeepsToItsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testSpool(t, dir)
	if n, err := s.adopt(); n != 0 || err != nil {
		t.Errorf("adopted %d, %v", n, err)
	}
	if names := filesIn(t, dir); !slices.Equal(names, []string{"notes.txt"}) {
		t.Errorf("in the directory: %v", names)
	}
}

func FuzzReadSegment(f *testing.F) {
	two := appendLine(appendLine(nil, 3, []byte(`{"batch_id":"a"}`)), 0, []byte(`{}`))
	sent := bytes.Clone(two)
	sent[0] = lineSent
	f.Add(two)
	f.Add(sent)
	f.Add(two[:len(two)-4])
	f.Add([]byte("+00000000 1 {}\n"))
	f.Add([]byte("\n\n+\n-12345678 \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		waiting, damaged := readSegment(text)
		end := int64(0)
		for _, w := range waiting {
			if w.at < end || w.length <= lineHead || w.at+int64(w.length) > int64(len(text)) {
				t.Fatalf("%+v in %d bytes, behind %d", w, len(text), end)
			}
			end = w.at + int64(w.length)
			state, records, _, ok := parseLine(text[w.at : end-1])
			if !ok || state != lineWaits || records != w.records || text[end-1] != '\n' {
				t.Fatalf("%+v: %t, %c, %d", w, ok, state, records)
			}
		}
		if lines := bytes.Count(text, []byte{'\n'}); len(waiting)+damaged > lines {
			t.Fatalf("%d waiting and %d damaged of %d lines", len(waiting), damaged, lines)
		}
		// Whatever stands before it, what is appended behind a line's end is read.
		behind := appendLine(append(bytes.Clone(text), '\n'), 7, []byte(`{"b":1}`))
		if all, _ := readSegment(behind); len(all) < 1 || all[len(all)-1].records != 7 {
			t.Fatalf("not read behind %q", text)
		}
	})
}

func BenchmarkSpool(b *testing.B) {
	s := &spool{dir: b.TempDir(), most: defaultSpoolSize, log: slog.New(slog.DiscardHandler)}
	defer s.close()
	rep := aBatch(0)
	for range mostInBatch - 1 {
		f := rep.Flows[0]
		f.ID = fmt.Sprintf("%032x", rand.Uint64())
		rep.Flows = append(rep.Flows, f)
	}
	for b.Loop() {
		s.mustAppend(b, recordLane, []api.GatewayReport{rep})
		if got, some := s.first(recordLane); !some || !s.done(recordLane, got.BatchID) {
			b.Fatal("not there")
		}
	}
}
