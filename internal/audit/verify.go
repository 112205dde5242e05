package audit

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

// FaultReason says what is wrong at a place of an export. It is stable.
type FaultReason string

// The reasons.
const (
	FaultHeader     FaultReason = "HEADER"             // the first line is no header, or nobody whose key counts signed it
	FaultMalformed  FaultReason = "MALFORMED_LINE"     // not a line of an export, or not in the one form that it has
	FaultChanged    FaultReason = "CONTENT_CHANGED"    // what stands in the line does not give its hash
	FaultReplaced   FaultReason = "ENTRY_REPLACED"     // the entry fits its own hash, but the next one continues another
	FaultRemoved    FaultReason = "ENTRY_REMOVED"      // entries are missing
	FaultInserted   FaultReason = "ENTRY_INSERTED"     // a position is taken twice, or lies outside of the export
	FaultReordered  FaultReason = "ENTRY_REORDERED"    // an entry stands after one that it comes before
	FaultHidden     FaultReason = "ENTRY_HIDDEN"       // a stub in an export that is to show everything
	FaultSignature  FaultReason = "SIGNATURE_WRONG"    // a checkpoint that no key that counts signed as it is
	FaultCheckpoint FaultReason = "CHECKPOINT_DIFFERS" // a signed checkpoint says another hash than the log
	FaultMisplaced  FaultReason = "CHECKPOINT_MOVED"   // a checkpoint stands twice, at another place, or is missing
	FaultTruncated  FaultReason = "TRUNCATED"          // the end is missing
	FaultUnsigned   FaultReason = "END_NOT_SIGNED"     // no checkpoint covers the last entries
)

// Fault is one thing that is wrong, and where.
type Fault struct {
	Line     int   // of the export, from 1
	Position int64 // of the entry; 0 where it is none's
	Reason   FaultReason
	Message  string
}

// Options say what an export is held against.
type Options struct {
	Keys        []ed25519.PublicKey // that count; empty: those that the export itself names
	Checkpoints [][]byte            // signed notes that somebody kept: the log has to contain what they sign
}

// Report is what came of a verification. The export is as it was written when Faults is empty.
type Report struct {
	Header         Header
	Entries        int64 // all, stubs among them
	Stubs          int64
	FirstAt        time.Time // of the first and last entry that is no stub
	LastAt         time.Time
	Checkpoints    int64      // whose signatures hold
	LastCheckpoint Checkpoint // zero when there is none
	Kept           int        // how many of Options.Checkpoints the log contains
	Faults         []Fault    // in the order in which they were found, at most mostFaults
}

const (
	mostFaults = 100
	mostLine   = 4 << 20 // bytes
	mostGaps   = 1000
)

// Verify reads an export to its end, or to more faults than anybody reads. The error is that of the reader, or says that a
// kept checkpoint cannot be held against this export; what is wrong with the log is in the report.
func Verify(r io.Reader, o Options) (Report, error) {
	v := verifier{o: o, in: bufio.NewReaderSize(r, 64<<10), keys: o.Keys}
	err := v.run()
	return v.report, err
}

// verifier is a verification under way.
type verifier struct {
	o      Options
	in     *bufio.Reader
	keys   []ed25519.PublicKey
	kept   []Checkpoint
	report Report

	line     int
	lastLine int   // of the last entry
	next     int64 // the position that the next entry has to have
	hash     Hash  // of the last entry
	known    bool  // whether hash is what the next entry has to continue
	adrift   bool  // the last line could not be read: the next entry's position counts
	gaps     []gap
	signed   int64 // the position that the last checkpoint signs; 0 before the first
}

// gap is a row of positions that are missing so far.
type gap struct {
	from, to int64
	fault    int // where it was reported in the report
}

func (v *verifier) fault(line int, position int64, reason FaultReason, format string, args ...any) {
	if len(v.report.Faults) < mostFaults {
		v.report.Faults = append(v.report.Faults, Fault{line, position, reason, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) run() error {
	b, ended, err := v.read()
	if err != nil {
		return err
	}
	if !v.header(b, ended) {
		return nil
	}
	if err := v.keep(); err != nil {
		return err
	}
	v.next = v.report.Header.From
	v.known = v.next == 1 // nothing stands before the first; before any other, nothing that is known here
	for len(v.report.Faults) < mostFaults {
		b, ended, err := v.read()
		if errors.Is(err, io.EOF) {
			v.end()
			return nil
		}
		if err != nil {
			return err
		}
		v.one(b)
		if !ended {
			v.fault(v.line, v.next-1, FaultTruncated, "the last line does not end in a line break: the export was cut off")
		}
	}
	return nil
}

// read returns the next line without its break, and whether it had one. It is io.EOF after the last.
func (v *verifier) read() (line []byte, ended bool, err error) {
	for {
		part, err := v.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > mostLine:
			return nil, false, fmt.Errorf("line %d is longer than %d bytes: this is no export of an audit log", v.line+1, mostLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			v.line++
			return line, false, nil
		case err != nil:
			return nil, false, err
		}
		v.line++
		return line[:len(line)-1], true, nil
	}
}

func (v *verifier) header(b []byte, ended bool) bool {
	h, signedBy, err := parseHeader(b)
	v.report.Header = h
	if err != nil {
		v.fault(1, 0, FaultHeader, "the first line is not the header of an export: %v", err)
		return false
	}
	if len(v.keys) == 0 {
		v.keys = v.report.Header.Keys
	}
	if !signedBy(v.keys) {
		v.fault(1, 0, FaultHeader, "the header is not signed as it is by a key that counts: it was changed, or another installation wrote it")
		return false
	}
	if !ended {
		v.fault(1, 0, FaultTruncated, "nothing follows the header's line, not even its break")
	}
	return true
}

// keep reads the checkpoints that somebody kept.
func (v *verifier) keep() error {
	h := v.report.Header
	for _, note := range v.o.Checkpoints {
		c, err := ParseCheckpoint(note, v.keys)
		switch {
		case err != nil:
			return &link.Error{
				Kind: link.Invalid, Reason: "CHECKPOINT_UNREADABLE", Message: "the checkpoint to hold the log against does not count", Err: err,
				Hint: `give a file as "postern audit checkpoint" writes it, and the key of this installation`,
			}
		case c.InstallationID != h.InstallationID:
			return &link.Error{
				Kind: link.Invalid, Reason: "CHECKPOINT_OF_ANOTHER", Message: "the checkpoint is of installation " + link.Quote(c.InstallationID) + ", the export of " + link.Quote(h.InstallationID),
			}
		case c.Position < h.From:
			return &link.Error{
				Kind: link.Invalid, Reason: "CHECKPOINT_BEFORE_EXPORT", Message: fmt.Sprintf("the checkpoint signs entry %d, and the export begins with %d", c.Position, h.From),
				Hint: "export from an earlier position",
			}
		case c.Position > h.To:
			v.fault(1, h.To, FaultTruncated, "the log ends with entry %d, and a checkpoint of %s that was kept signs entry %d: the end of the log was removed",
				h.To, c.At.Format(time.RFC3339), c.Position)
		}
		v.kept = append(v.kept, c)
	}
	return nil
}

// one takes a line that is not the header.
func (v *verifier) one(b []byte) {
	var w wireLine
	err := read(b, &w)
	var s Sealed
	if err == nil && w.Checkpoint == "" {
		s, err = w.sealed()
	}
	switch {
	case err != nil:
		v.fault(v.line, v.next, FaultMalformed, "the line at which entry %d should stand cannot be read: %v", v.next, err)
		v.next++
		v.adrift, v.known = true, false
	case w.Checkpoint != "":
		v.checkpoint([]byte(w.Checkpoint))
	default:
		v.entry(s)
	}
}

// sealed reads the line of an entry or of a stub.
func (w wireLine) sealed() (s Sealed, err error) {
	s.Position = w.Position
	if s.Hash, err = ParseHash(w.Hash); err != nil {
		return s, err
	}
	if s.Previous, err = ParseHash(w.Previous); err != nil {
		return s, err
	}
	switch {
	case w.Position < 1:
		return s, fmt.Errorf("%d is no position", w.Position)
	case w.Entry != nil && w.Digest == "" && w.Damaged == "":
		s.Body, s.Digest = w.Entry, DigestOf(w.Entry)
	case w.Damaged != "" && w.Digest == "" && w.Entry == nil:
		s.Body, s.Digest = []byte(w.Damaged), DigestOf([]byte(w.Damaged))
	case w.Digest != "" && w.Entry == nil && w.Damaged == "":
		s.Digest, err = ParseHash(w.Digest)
	default:
		err = errors.New("neither an entry nor a stub nor a checkpoint")
	}
	return s, err
}

func (v *verifier) entry(s Sealed) {
	v.report.Entries++
	defer func() { v.lastLine = v.line }()
	if s.Body == nil {
		v.report.Stubs++
		if v.report.Header.OrganisationID == "" {
			v.fault(v.line, s.Position, FaultHidden, "entry %d stands there without what it says, in an export that is to show every entry", s.Position)
		}
	}
	if HashOf(s.Position, s.Previous, s.Digest) != s.Hash {
		at := v.next
		if v.adrift {
			at = s.Position
		}
		v.fault(v.line, at, FaultChanged, "what stands at entry %d does not give its hash: the entry was changed", at)
		v.next, v.hash, v.known, v.adrift = at+1, s.Hash, false, false
		return
	}
	if !v.inOrder(s) {
		return
	}
	if v.known && s.Previous != v.hash {
		v.replaced(s)
	}
	v.next, v.hash, v.known, v.adrift = s.Position+1, s.Hash, true, false
	v.tell(s)
	for _, c := range v.kept {
		if c.Position != s.Position {
			continue
		}
		if c.Hash != s.Hash {
			v.fault(v.line, s.Position, FaultCheckpoint, "a checkpoint of %s that was kept signs another entry %d than this one: the log was written anew", c.At.Format(time.RFC3339), s.Position)
			continue
		}
		v.report.Kept++
	}
}

// inOrder tells whether an entry stands where it has to, or after others that are missing.
func (v *verifier) inOrder(s Sealed) bool {
	if v.adrift && s.Position >= v.next-1 {
		return true
	}
	switch h := v.report.Header; {
	case s.Position == v.next:
		return true
	case s.Position < v.next:
		for i, g := range v.gaps {
			if s.Position >= g.from && s.Position <= g.to {
				v.report.Faults[g.fault].Reason = FaultReordered
				v.report.Faults[g.fault].Message = fmt.Sprintf("entry %d does not stand before entry %d but after it, in line %d", s.Position, g.to+1, v.line)
				v.gaps = slices.Delete(v.gaps, i, i+1)
				return false
			}
		}
		v.fault(v.line, s.Position, FaultInserted, "entry %d stands there a second time, or before the beginning of the export", s.Position)
		return false
	case s.Position > h.To:
		v.fault(v.line, s.Position, FaultInserted, "entry %d lies beyond the end of the export, which is entry %d", s.Position, h.To)
		return false
	default:
		missing := fmt.Sprintf("entry %d is missing", v.next)
		if s.Position-v.next > 1 {
			missing = fmt.Sprintf("entries %d to %d are missing", v.next, s.Position-1)
		}
		if len(v.report.Faults) < mostFaults && len(v.gaps) < mostGaps {
			v.gaps = append(v.gaps, gap{v.next, s.Position - 1, len(v.report.Faults)})
		}
		v.fault(v.line, v.next, FaultRemoved, "%s before entry %d", missing, s.Position)
		v.known = false
		return true
	}
}

// replaced reports two entries of which the second does not continue the first. The second is bound to the entry that was
// there when it was written.
func (v *verifier) replaced(s Sealed) {
	if s.Position == 1 {
		v.fault(v.line, 1, FaultReplaced, "entry 1 continues another log")
		return
	}
	v.fault(v.lastLine, s.Position-1, FaultReplaced, "entry %d in line %d continues another entry %d than the one here: entry %d was replaced, or both were written anew",
		s.Position, v.line, s.Position-1, s.Position-1)
}

func (v *verifier) tell(s Sealed) {
	if s.Body == nil {
		return
	}
	e, err := Open(s.Body)
	if err != nil {
		return // its hash holds: a later version wrote it
	}
	if v.report.FirstAt.IsZero() {
		v.report.FirstAt = e.At
	}
	v.report.LastAt = e.At
}

func (v *verifier) checkpoint(note []byte) {
	c, err := ParseCheckpoint(note, v.keys)
	if err != nil || c.InstallationID != v.report.Header.InstallationID {
		if err == nil {
			err = errors.New("the checkpoint is of another installation")
		}
		v.fault(v.line, v.next-1, FaultSignature, "the checkpoint after entry %d does not count: %v", v.next-1, err)
		v.signed = v.next - 1
		return
	}
	v.report.Checkpoints++
	switch {
	case c.Position != v.next-1:
		v.fault(v.line, c.Position, FaultMisplaced, "the checkpoint of entry %d does not stand after it", c.Position)
		return
	case c.Position == v.signed:
		v.fault(v.line, c.Position, FaultMisplaced, "the checkpoint of entry %d stands there twice", c.Position)
		return
	case v.known && c.Hash != v.hash:
		v.fault(v.lastLine, c.Position, FaultCheckpoint, "the checkpoint of %s in line %d signs another entry %d than the one here: the log was written anew",
			c.At.Format(time.RFC3339), v.line, c.Position)
	case v.signed != 0 && c.Previous != v.signed || v.signed == 0 && c.Previous >= v.report.Header.From:
		v.fault(v.line, c.Previous, FaultMisplaced, "the checkpoint of entry %d, which the one in this line names, is missing", c.Previous)
	}
	v.signed, v.report.LastCheckpoint = c.Position, c
}

// end looks at what should have come.
func (v *verifier) end() {
	to := v.report.Header.To
	switch {
	case v.next-1 < to:
		v.fault(v.line, v.next, FaultTruncated, "the export ends with entry %d, and its header says %d: the end is missing", v.next-1, to)
	case v.signed < to && to >= v.report.Header.From:
		v.fault(v.line, v.signed+1, FaultUnsigned, "no checkpoint signs entry %d, the last one: the server did not find that the log continues what it had signed before, or could not sign", to)
	}
}
