package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

var (
	epoch = time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)
	key   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	other = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return ed25519.PublicKey(k[32:]) }

// chain is a log of n entries, each of another kind of content.
func chain(t testing.TB, n int) []Sealed {
	t.Helper()
	var out []Sealed
	var last Sealed
	for i := range n {
		after, err := Value(ConnectionValue{Want: link.WantConnected, State: link.Available, OwnerID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		last, err = Seal(Entry{
			At: epoch.Add(time.Duration(i) * time.Second), Actor: Actor{Name: "alice ☕ <a@b>", Role: "operator"}, Action: "connection.connect",
			Object: link.ObjectRef{Kind: link.ObjectConnection, ID: "c/vpce-1"}, Place: link.Place{ClusterID: "c"}, Decision: Done,
			Rule: "OPERATOR", Why: "tabs\tand \"quotes\"", After: after, RequestID: "r1",
		}, last, [16]byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, last)
	}
	return out
}

// file is an export of some entries with a checkpoint after those at the positions given and after the last; stubs says
// which entries it does not show.
func file(t testing.TB, entries []Sealed, checkpoints []int64, stubs func(int64) bool) []byte {
	t.Helper()
	h := Header{InstallationID: "0a1b2c3d", Keys: []ed25519.PublicKey{public(key)}, From: entries[0].Position, To: entries[len(entries)-1].Position, ExportedAt: epoch}
	if stubs != nil {
		h.OrganisationID = "o"
	}
	var out []byte
	put := func(b []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	put(h.Line(key))
	var previous int64
	for i, s := range entries {
		if stubs != nil && stubs(s.Position) {
			put(s.Stub())
		} else {
			put(s.Line())
		}
		for _, at := range append(checkpoints, h.To) {
			if at == s.Position && previous != at {
				put(CheckpointLine(Checkpoint{"0a1b2c3d", at, s.Hash, previous, epoch.Add(time.Duration(i) * time.Minute)}.Sign(key)))
				previous = at
			}
		}
	}
	return out
}

func verify(t testing.TB, b []byte, o Options) Report {
	t.Helper()
	r, err := Verify(bytes.NewReader(b), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAWholeExportHolds(t *testing.T) {
	entries := chain(t, 9)
	for name, b := range map[string][]byte{
		"from the first":      file(t, entries, []int64{3, 6}, nil),
		"from the middle":     file(t, entries[4:], []int64{7}, nil),
		"of one organisation": file(t, entries, []int64{3}, func(p int64) bool { return p%2 == 0 }),
	} {
		r := verify(t, b, Options{Keys: []ed25519.PublicKey{public(key)}})
		if len(r.Faults) > 0 {
			t.Errorf("%s: %+v", name, r.Faults)
		}
		if r.LastCheckpoint.Position != 9 || r.Checkpoints < 2 || !r.LastAt.Equal(epoch.Add(8*time.Second)) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Whatever single byte of an export is another, it is found, and in the line in which it stands.
func TestOneByte(t *testing.T) {
	entries := chain(t, 3)
	for name, b := range map[string][]byte{
		"all":              file(t, entries, []int64{2}, nil),
		"one organisation": file(t, entries, []int64{2}, func(p int64) bool { return p != 3 }),
	} {
		for i := range b {
			to := [...]byte{b[i] ^ 1, b[i] ^ 0x20, '\n'}[i%3] // every byte, one way each: what it becomes matters less than where it stands
			if to == b[i] {
				to ^= 1
			}
			changed := bytes.Clone(b)
			changed[i] = to
			line := bytes.Count(b[:i], []byte("\n")) + 1
			r := verify(t, changed, Options{})
			if len(r.Faults) == 0 {
				t.Fatalf("%s: byte %d in line %d from %q to %q was not noticed", name, i, line, b[i], to)
			}
			if f := r.Faults[0]; f.Line != line && !(b[i] == '\n' && f.Line == line+1) {
				t.Fatalf("%s: byte %d in line %d from %q to %q was found in line %d: %+v", name, i, line, b[i], to, f.Line, r.Faults)
			}
		}
	}
}

func TestTampering(t *testing.T) {
	entries := chain(t, 9)
	whole := bytes.SplitAfter(file(t, entries, []int64{3, 6}, nil), []byte("\n")) // header, 1 2 3 c 4 5 6 c 7 8 9 c
	whole = whole[:len(whole)-1]
	resealed := func(i int, as Sealed) []byte {
		s, err := Seal(Entry{At: epoch, Action: "made.up", Decision: Done}, as, [16]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Line()
		if err != nil || s.Position != int64(i) {
			t.Fatal(err, s.Position)
		}
		return b
	}
	edit := func(f func(lines [][]byte) [][]byte) []byte {
		return bytes.Join(f(append([][]byte(nil), whole...)), nil)
	}
	for _, tc := range []struct {
		name     string
		b        []byte
		reason   FaultReason
		line     int
		position int64
	}{
		{"an entry is gone", edit(func(l [][]byte) [][]byte { return append(l[:5], l[6:]...) }), FaultRemoved, 6, 4},
		{"three entries are gone", edit(func(l [][]byte) [][]byte { return append(l[:5], l[8:]...) }), FaultMisplaced, 6, 6},
		{"the first entry is gone", edit(func(l [][]byte) [][]byte { return append(l[:1], l[2:]...) }), FaultRemoved, 2, 1},
		{"an entry stands twice", edit(func(l [][]byte) [][]byte { return append(append(append([][]byte{}, l[:6]...), l[5]), l[6:]...) }), FaultInserted, 7, 4},
		{"two entries changed places", edit(func(l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l }), FaultReordered, 6, 4},
		{"an entry was made up", edit(func(l [][]byte) [][]byte { l[2] = resealed(2, entries[0]); return l }), FaultReplaced, 3, 2},
		{"the entry that a checkpoint signs was made up", edit(func(l [][]byte) [][]byte { l[3] = resealed(3, entries[1]); return l }), FaultCheckpoint, 4, 3},
		{"the last line is gone", edit(func(l [][]byte) [][]byte { return l[:len(l)-1] }), FaultUnsigned, 12, 7},
		{"the end is gone up to a checkpoint", edit(func(l [][]byte) [][]byte { return l[:9] }), FaultTruncated, 9, 7},
		{"the last line break is gone", edit(func(l [][]byte) [][]byte {
			l[12] = bytes.TrimSpace(l[12])
			return l
		}), FaultTruncated, 13, 9},
		{"a checkpoint is gone", edit(func(l [][]byte) [][]byte { return append(l[:8], l[9:]...) }), FaultMisplaced, 12, 6},
		{"a checkpoint stands twice", edit(func(l [][]byte) [][]byte { return append(append(append([][]byte{}, l[:5]...), l[4]), l[5:]...) }), FaultMisplaced, 6, 3},
		{"a checkpoint is signed by somebody else", edit(func(l [][]byte) [][]byte {
			l[4], _ = CheckpointLine(Checkpoint{"0a1b2c3d", 3, entries[2].Hash, 0, epoch}.Sign(other))
			return l
		}), FaultSignature, 5, 3},
		{"a checkpoint is of another installation", edit(func(l [][]byte) [][]byte {
			l[4], _ = CheckpointLine(Checkpoint{"ffffffff", 3, entries[2].Hash, 0, epoch}.Sign(key))
			return l
		}), FaultSignature, 5, 3},
		{"an entry is hidden", edit(func(l [][]byte) [][]byte { l[2], _ = entries[1].Stub(); return l }), FaultHidden, 3, 2},
		{"the header is gone", edit(func(l [][]byte) [][]byte { return l[1:] }), FaultHeader, 1, 0},
		{"the file is empty but for a line break", []byte("\n"), FaultHeader, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := verify(t, tc.b, Options{})
			if len(r.Faults) == 0 {
				t.Fatal("not noticed")
			}
			if f := r.Faults[0]; f.Reason != tc.reason || f.Line != tc.line || f.Position != tc.position {
				t.Errorf("found %+v, want %s in line %d at entry %d", r.Faults, tc.reason, tc.line, tc.position)
			}
		})
	}
}

// Who rewrites the whole log and signs it with a key of their own is found out by whoever holds the key, or a checkpoint.
func TestWhatSomebodyKept(t *testing.T) {
	entries := chain(t, 9)
	b := file(t, entries, nil, nil)
	kept := func(position int64, hash Hash) []byte {
		return Checkpoint{InstallationID: "0a1b2c3d", Position: position, Hash: hash, At: epoch}.Sign(key)
	}
	if r := verify(t, b, Options{Checkpoints: [][]byte{kept(4, entries[3].Hash)}}); len(r.Faults) != 0 || r.Kept != 1 {
		t.Errorf("a checkpoint of this log: %+v", r)
	}
	if r := verify(t, b, Options{Keys: []ed25519.PublicKey{public(other)}}); len(r.Faults) != 1 || r.Faults[0].Reason != FaultHeader {
		t.Errorf("another key: %+v", r.Faults)
	}
	if r := verify(t, b, Options{Checkpoints: [][]byte{kept(4, entries[4].Hash)}}); len(r.Faults) != 1 || r.Faults[0].Reason != FaultCheckpoint || r.Faults[0].Position != 4 {
		t.Errorf("a checkpoint of a log that was rewritten: %+v", r.Faults)
	}
	if r := verify(t, b, Options{Checkpoints: [][]byte{kept(12, entries[4].Hash)}}); len(r.Faults) != 1 || r.Faults[0].Reason != FaultTruncated || r.Faults[0].Position != 9 {
		t.Errorf("a checkpoint of a log that was longer: %+v", r.Faults)
	}
	for name, note := range map[string][]byte{
		"not a note":           []byte("hello"),
		"another key's":        Checkpoint{InstallationID: "0a1b2c3d", Position: 4, At: epoch}.Sign(other),
		"another installation": Checkpoint{InstallationID: "1a1b2c3d", Position: 4, At: epoch}.Sign(key),
	} {
		if _, err := Verify(bytes.NewReader(b), Options{Checkpoints: [][]byte{note}}); link.KindOf(err) != link.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Verify(bytes.NewReader(file(t, entries[5:], nil, nil)), Options{Checkpoints: [][]byte{kept(4, entries[3].Hash)}}); link.KindOf(err) != link.Invalid {
		t.Errorf("a checkpoint before the export: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[true,null,-7]}`:             `{"a":[true,null,-7],"b":1}`,
		`"\u003c\u0000\u001f\u007f\b\f\n\r\t\/"`: "\"<\\u0000\\u001f\u007f\\b\\f\\n\\r\\t/\"",
		// RFC 8785, section 3.2.3: U+1F600 is written as surrogates and stands before U+FB33.
		`{"\ufb33":1,"\ud83d\ude00":2,"\u20ac":3}`: "{\"€\":3,\"😀\":2,\"\ufb33\":1}",
		`9223372036854775807`:                      `9223372036854775807`,
	} {
		v, err := decode([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendCanonical(nil, v); err != nil || string(got) != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
		if err := checkCanonical([]byte(want)); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, bad := range []string{``, ` 1`, `1 `, `1.0`, `1e3`, `-0`, `01`, `{"a":1,"a":2}`, `{"b":1,"a":2}`, `"\u0041"`, `[1, 2]`, `1 2`, "\"\xff\"", `"\ud800"`, `99999999999999999999`} {
		if checkCanonical([]byte(bad)) == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestValue(t *testing.T) {
	type inner struct{ SubnetIDs []string }
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, ""},
		{link.TrustedOwner{ID: "i", ClusterID: "c", Type: link.AWSAccountID, ExternalOwnerID: "1"}, `{"cluster_id":"c","external_owner_id":"1","id":"i","project_id":"","type":"AWS_ACCOUNT_ID"}`},
		{link.AllowEntry{Prefix: netip.MustParsePrefix("10.0.0.0/8"), UI: true}, `{"name":"","prefix":"10.0.0.0/8","sql":false,"ui":true}`},
		{map[string]any{"APIKey": 1, "lower Case": inner{[]string{"a"}}}, `{"api_key":1,"lower Case":{"subnet_ids":["a"]}}`},
		{(*inner)(nil), ""},
	} {
		got, err := Value(c.v)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v: %s %v, want %s", c.v, got, err, c.want)
		}
	}
	if _, err := Value(map[string]any{"a": 1.5}); err == nil {
		t.Error("a fraction passed")
	}
}

func TestAnEntryComesBack(t *testing.T) {
	want := Entry{
		At: epoch, Actor: Actor{ID: "p", Name: "n", Role: "member"}, Action: "a.b", Object: link.ObjectRef{Kind: "k", ID: "i"},
		Place:    link.Place{OrganisationID: "o", ProjectID: "p", ClusterID: "c"},
		Decision: Refused, Rule: "R", Reason: "X", Why: "because", Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`2`), RequestID: "q", Source: "192.0.2.1", Count: 3,
	}
	s, err := Seal(want, Sealed{}, [16]byte{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(s.Body)
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v %v\nwant %+v", got, err, want)
	}
	want.After = json.RawMessage(`"` + strings.Repeat("x", MostBody) + `"`)
	if s, err = Seal(want, s, [16]byte{}); err != nil || len(s.Body) > MostBody || s.Position != 2 {
		t.Fatalf("%d bytes, %v", len(s.Body), err)
	}
	if got, err = Open(s.Body); err != nil || got.After != nil || !strings.Contains(got.Why, "left out") {
		t.Errorf("%+v %v", got, err)
	}
}

func TestKeys(t *testing.T) {
	k := public(key)
	for _, s := range []string{base64.StdEncoding.EncodeToString(k), VerifierKey("0a1b2c3d", k), " " + VerifierKey("0a1b2c3d", k) + "\n"} {
		got, err := ParseKey(s)
		if err != nil || !bytes.Equal(got, k) {
			t.Errorf("%s: %x %v", s, got, err)
		}
	}
	for _, s := range []string{"", "AAAA", "postern/x/audit+00000000+AAAA"} {
		if _, err := ParseKey(s); link.KindOf(err) != link.Invalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	entries := chain(f, 4)
	whole := file(f, entries, []int64{2}, nil)
	f.Add(whole)
	f.Add(file(f, entries, nil, func(p int64) bool { return p == 2 }))
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Verify(bytes.NewReader(b), Options{Keys: []ed25519.PublicKey{public(key)}})
		if err != nil || len(r.Faults) > 0 {
			return
		}
		// Only what was signed holds; a fuzzer does not sign.
		if stubs := r.Stubs; stubs == 0 && !bytes.Equal(b, whole) {
			t.Errorf("an export that nobody wrote holds:\n%s", b)
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(Checkpoint{InstallationID: "0a1b2c3d", Position: 3, Previous: 2, At: epoch}.Sign(key))
	f.Add([]byte("postern//audit\n1\n\nprevious 0\ntime \n\n— x\n"))
	f.Fuzz(func(t *testing.T, note []byte) {
		c, err := ParseCheckpoint(note, []ed25519.PublicKey{public(key)})
		if err == nil && !bytes.Equal(c.Sign(key), note) {
			t.Errorf("%q is not what its checkpoint is written as", note)
		}
		if err != nil && !errors.Is(err, errNote) && !errors.Is(err, errSignature) && !errors.Is(err, errUnknownKey) {
			t.Errorf("error %v", err)
		}
	})
}
