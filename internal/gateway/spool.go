package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/postern/postern/api"
)

// defaultSpoolSize bounds what waits on disk, in bytes, unless the configuration says otherwise.
const defaultSpoolSize = 64 << 20

// lane is one of the queues to the control plane. Those with lower numbers go first.
type lane int

// The lanes.
const (
	claimLane lane = iota // claims: never dropped for the sake of records
	recordLane
	lanes
)

func (l lane) String() string { return [lanes]string{"claims", "records"}[l] }

// spool keeps batches on disk that the control plane has not taken, and gives them back in their order, also after a
// crash. A batch is a line in a segment: a file that is written to its end once and then only read. Its owner is one
// process, which holds the owner's lock for as long as it lives; the segments of an owner without a process are taken
// over by whoever finds them. The zero value with dir, most and log set is empty. Its methods may not be called at the
// same time, except for size and lost.
type spool struct {
	dir  string
	most int64 // bytes on disk: beyond them the oldest records go
	log  *slog.Logger

	own   *spoolLock // nil until something was written
	queue [lanes][]*segment
	open  [lanes]*segment // the one that is written to; also in queue

	bytes   atomic.Int64
	dropped atomic.Uint64 // records
	serial  int           // of segments
}

// segment is a file of batches.
type segment struct {
	path    string
	lock    *spoolLock
	size    int64
	waiting []spooled // oldest first
}

// spooled is where a batch stands in its segment.
type spooled struct {
	at      int64
	length  int // with the line's end
	records int
	id      string // empty until it is known
}

// size returns the bytes on disk.
func (s *spool) size() int64 { return s.bytes.Load() }

// lost returns how many records were dropped.
func (s *spool) lost() uint64 { return s.dropped.Load() }

// A line is a state, a checksum over what follows it, the number of records, and the batch:
//
//	+1b2f3c4d 500 {"gateway_id":…}
//
// The state becomes a '-', in place, once the control plane has taken the batch.
const (
	lineWaits = '+'
	lineSent  = '-'
	lineHead  = 10 // state, checksum and the space behind it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends the line of a batch, which has no line break in it.
func appendLine(b []byte, records int, body []byte) []byte {
	at := len(b)
	b = append(b, "+00000000 "...)
	b = strconv.AppendInt(b, int64(records), 10)
	b = append(b, ' ')
	b = append(b, body...)
	copy(b[at+1:], fmt.Appendf(nil, "%08x", crc32.Checksum(b[at+lineHead:], castagnoli)))
	return append(b, '\n')
}

// parseLine reads a line without its end; ok is false for what appendLine did not write.
func parseLine(line []byte) (state byte, records int, body []byte, ok bool) {
	if len(line) < lineHead || line[0] != lineWaits && line[0] != lineSent || line[lineHead-1] != ' ' {
		return 0, 0, nil, false
	}
	if !bytes.Equal(fmt.Appendf(nil, "%08x", crc32.Checksum(line[lineHead:], castagnoli)), line[1:lineHead-1]) {
		return 0, 0, nil, false
	}
	count, body, found := bytes.Cut(line[lineHead:], []byte(" "))
	records, err := strconv.Atoi(string(count))
	if !found || err != nil || records < 0 {
		return 0, 0, nil, false
	}
	return line[0], records, body, true
}

// readSegment finds the batches in a segment's text that wait still, and how many lines are damaged. The end of the text
// may be torn: the process died while it wrote.
func readSegment(text []byte) (waiting []spooled, damaged int) {
	for at := 0; at < len(text); {
		n := bytes.IndexByte(text[at:], '\n') + 1
		if n == 0 {
			break
		}
		state, records, _, ok := parseLine(text[at : at+n-1])
		switch {
		case !ok:
			damaged++
		case state == lineWaits:
			waiting = append(waiting, spooled{at: int64(at), length: n, records: records})
		}
		at += n
	}
	return waiting, damaged
}

func recordsIn(rep api.GatewayReport) int {
	return len(rep.Flows) + len(rep.Refused) + len(rep.Backends) + len(rep.Claims)
}

// append writes batches behind those of their lane, and returns how many are on disk or were dropped for want of room. An
// error leaves the others to the caller, and the spool as good as it was.
func (s *spool) append(l lane, batches []api.GatewayReport) (written int, err error) {
	var f *os.File
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Sync(), f.Close())
		}
	}()
	for _, rep := range batches {
		line := appendLine(nil, recordsIn(rep), rep.AppendJSON(nil))
		if !s.makeRoom(l, int64(len(line))) {
			s.dropped.Add(uint64(recordsIn(rep)))
			written++
			continue
		}
		if f, err = s.writable(l, f, int64(len(line))); err != nil {
			return written, err
		}
		seg := s.open[l]
		if _, err := f.WriteAt(line, seg.size); err != nil {
			_ = f.Truncate(seg.size) // a torn line does no harm, it only takes room
			return written, err
		}
		seg.waiting = append(seg.waiting, spooled{at: seg.size, length: len(line), records: recordsIn(rep), id: rep.BatchID})
		seg.size += int64(len(line))
		s.bytes.Add(int64(len(line)))
		written++
	}
	return written, nil
}

// writable returns the file of a lane's open segment, in which there is room for n more bytes. f is the one that was
// written to before; nil when none was.
func (s *spool) writable(l lane, f *os.File, n int64) (*os.File, error) {
	switch seg := s.open[l]; {
	case seg != nil && seg.size+n <= s.most/16 && f != nil:
		return f, nil
	case seg != nil && seg.size+n <= s.most/16:
		f, err := os.OpenFile(seg.path, os.O_WRONLY, 0)
		if err != nil {
			s.open[l] = nil // the next try begins another
		}
		return f, err
	}
	s.open[l] = nil
	if f != nil {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return nil, err
		}
	}
	return s.create(l)
}

// create begins a segment.
func (s *spool) create(l lane) (*os.File, error) {
	if s.own == nil {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		own, err := newSpoolLock(s.dir)
		if err != nil {
			return nil, err
		}
		s.own = own
	}
	s.serial++
	path := filepath.Join(s.dir, fmt.Sprintf("%s.%08d.%s", s.own.owner, s.serial, l))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syncDir(s.dir); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	seg := &segment{path: path, lock: s.own}
	s.own.segments++
	s.open[l] = seg
	s.queue[l] = append(s.queue[l], seg)
	return f, nil
}

// makeRoom drops the oldest records until n more bytes fit, and reports whether they do. Claims never go: they have a
// small part of the room to themselves, beyond which the newest is not taken.
func (s *spool) makeRoom(l lane, n int64) bool {
	if l == claimLane {
		for _, seg := range s.queue[claimLane] {
			n += seg.size
		}
		return n <= s.most/8
	}
	if n > s.most/16 {
		return false
	}
	for s.bytes.Load()+n > s.most && len(s.queue[recordLane]) > 0 {
		old := s.queue[recordLane][0]
		lost := 0
		for _, w := range old.waiting {
			lost += w.records
		}
		s.dropped.Add(uint64(lost))
		s.remove(recordLane, old)
	}
	return true
}

// first returns the oldest batch of a lane; false when none waits that can be read now. Batches that are damaged or gone
// are dropped.
func (s *spool) first(l lane) (api.GatewayReport, bool) {
	for len(s.queue[l]) > 0 {
		seg := s.queue[l][0]
		for len(seg.waiting) > 0 {
			rep, err := seg.read(seg.waiting[0])
			if err == nil {
				seg.waiting[0].id = rep.BatchID
				return rep, true
			}
			if !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
				s.log.Warn("a spooled report cannot be read now", "file", seg.path, "error", err) // no descriptor is left, perhaps
				return api.GatewayReport{}, false
			}
			s.log.Error("a spooled report cannot be read and is dropped", "file", seg.path, "records", seg.waiting[0].records, "error", err)
			s.dropped.Add(uint64(seg.waiting[0].records))
			seg.waiting = seg.waiting[1:]
		}
		s.remove(l, seg)
	}
	return api.GatewayReport{}, false
}

// read returns a batch of the segment.
func (seg *segment) read(w spooled) (rep api.GatewayReport, err error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return rep, err
	}
	defer f.Close() //nolint:errcheck // only read from
	line := make([]byte, w.length)
	if _, err := f.ReadAt(line, w.at); errors.Is(err, io.EOF) {
		return rep, fmt.Errorf("%w: cut short", errDamaged)
	} else if err != nil {
		return rep, err
	}
	_, _, body, ok := parseLine(line[:len(line)-1])
	if !ok {
		return rep, fmt.Errorf("%w: its checksum does not fit", errDamaged)
	}
	if err := json.Unmarshal(body, &rep); err != nil {
		return rep, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return rep, nil
}

// errDamaged is in the chain of the errors that reading again does not heal.
var errDamaged = errors.New("damaged")

// done takes away a batch that first returned or append wrote, and reports whether it was there.
func (s *spool) done(l lane, id string) bool {
	for _, seg := range s.queue[l] {
		if len(seg.waiting) == 0 || seg.waiting[0].id != id {
			continue
		}
		at := seg.waiting[0].at
		if seg.waiting = seg.waiting[1:]; len(seg.waiting) == 0 {
			s.remove(l, seg)
		} else {
			seg.markSent(at)
		}
		return true
	}
	return false
}

// markSent notes in the file that a batch was taken. Were that to fail, the next process would send it once more under
// its id, which changes nothing at the control plane.
func (seg *segment) markSent(at int64) {
	f, err := os.OpenFile(seg.path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	_, _ = f.WriteAt([]byte{lineSent}, at)
	_ = f.Close()
}

// remove forgets a segment and its file.
func (s *spool) remove(l lane, seg *segment) {
	s.bytes.Add(-seg.size)
	if err := os.Remove(seg.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a file of the spool cannot be removed: the next start will send it again", "file", seg.path, "error", err)
	}
	s.queue[l] = slices.DeleteFunc(s.queue[l], func(other *segment) bool { return other == seg })
	if s.open[l] == seg {
		s.open[l] = nil
	}
	if seg.lock.segments--; seg.lock.segments == 0 && seg.lock != s.own {
		seg.lock.remove()
	}
}

// waits reports whether a lane has a batch on disk.
func (s *spool) waits(l lane) bool {
	return slices.ContainsFunc(s.queue[l], func(seg *segment) bool { return len(seg.waiting) > 0 })
}

// adopt takes over the segments of processes that have ended, and returns how many records wait in them.
func (s *spool) adopt() (records int, err error) {
	owners, err := spoolOwners(s.dir)
	if err != nil {
		return 0, err
	}
	for _, owner := range owners {
		if s.holds(owner) {
			continue
		}
		lock, err := lockSpool(s.dir, owner)
		if err != nil {
			return records, err
		}
		if lock == nil {
			continue // its process lives
		}
		n, err := s.load(lock)
		records += n
		if lock.segments == 0 {
			lock.remove()
		}
		if err != nil {
			return records, err
		}
	}
	s.makeRoom(recordLane, 0)
	return records, nil
}

func (s *spool) holds(owner string) bool {
	if s.own != nil && s.own.owner == owner {
		return true
	}
	for _, q := range s.queue {
		if slices.ContainsFunc(q, func(seg *segment) bool { return seg.lock.owner == owner }) {
			return true
		}
	}
	return false
}

// load reads the segments of an owner whose lock we hold.
func (s *spool) load(lock *spoolLock) (records int, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		owner, l, ok := segmentName(e.Name())
		if !ok || owner != lock.owner {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return records, err
		}
		seg := &segment{path: path, lock: lock, size: int64(len(text))}
		var damaged int
		seg.waiting, damaged = readSegment(text)
		if damaged > 0 {
			s.log.Error("a file of the spool is damaged: what could be read of it is sent", "file", path, "lines_lost", damaged)
		}
		for _, w := range seg.waiting {
			records += w.records
		}
		lock.segments++
		s.bytes.Add(seg.size)
		s.queue[l] = append(s.queue[l], seg)
	}
	for _, q := range s.queue {
		slices.SortStableFunc(q, func(a, b *segment) int { return strings.Compare(a.path, b.path) })
	}
	return records, nil
}

// close leaves what waits to the next process.
func (s *spool) close() {
	for l := range lanes {
		for _, seg := range slices.Clone(s.queue[l]) {
			if len(seg.waiting) == 0 {
				s.remove(l, seg)
			}
		}
	}
	locks := map[*spoolLock]bool{}
	for _, q := range s.queue {
		for _, seg := range q {
			locks[seg.lock] = true
		}
	}
	for lock := range locks {
		lock.release()
	}
	if s.own != nil && !locks[s.own] {
		s.own.remove()
	}
	s.own, s.queue, s.open = nil, [lanes][]*segment{}, [lanes]*segment{}
	s.bytes.Store(0)
}

// segmentName reads the name of a segment's file: owner, number, lane.
func segmentName(name string) (owner string, l lane, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return "", 0, false
	}
	for l := range lanes {
		if parts[2] == l.String() {
			return parts[0], l, true
		}
	}
	return "", 0, false
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
