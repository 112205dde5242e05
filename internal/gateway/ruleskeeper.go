package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/postern/postern/internal/flock"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Bounds of what is kept, in bytes. The journal becomes part of the base when it has outgrown it; a short one may.
const (
	journalLeast = 1 << 20
	journalMost  = 64 << 20
	waitingMost  = 64 << 20 // of changes that wait for a disk which does not take them
)

// rulesKeeper keeps the rules that are in force on disk, for the next start. It holds what the control plane told only
// until the disk has it. Of processes that share the files, as at a handover, one at a time writes: whoever holds the lock
// beside them, which ends with its process. Reading needs no lock.
type rulesKeeper struct {
	path string // of the base; empty: nothing is kept
	log  *slog.Logger

	mu      sync.Mutex
	at      link.RulesVersion // the newest that was loaded or put; zero when none
	waiting []*rulesNews      // put and not on disk yet, each continuing the one before
	size    int               // of the changes among waiting, in bytes
	lost    bool              // waiting does not lead to at: only a full set does
	stopped bool

	disk    sync.Mutex // guards what is below and the writing of the files; taken before mu
	lock    *os.File   // nil while another process may write
	files   rulesOnDisk
	held    link.RulesVersion // the version that the files lead to
	journal *os.File          // nil before the first change, and after trouble: the files are looked at anew
}

// Why rules are in force and not kept. What else can go wrong is the disk's.
var (
	errRulesHeld    = errors.New("another process keeps its rules in the same files")
	errRulesStopped = errors.New("the rules are no longer kept")
	errRulesLost    = errors.New("what is on disk is not what the changes continue: the full rules are needed")
)

func newRulesKeeper(path string, log *slog.Logger) *rulesKeeper {
	return &rulesKeeper{path: path, log: log}
}

// load reads the rules from disk, nil when there are none. It does not matter if another process writes meanwhile.
func (k *rulesKeeper) load() (rules *policy.Rules, err error) {
	if k.path == "" {
		return nil, nil
	}
	for range 3 {
		var again bool
		if rules, again, err = k.loadOnce(); !again {
			break
		}
	}
	return rules, err
}

// loadOnce is load. again tells that the files changed in between.
func (k *rulesKeeper) loadOnce() (rules *policy.Rules, again bool, err error) {
	before, err := os.Stat(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var at link.RulesVersion
	news := &rulesNews{onDisk: true}
	files, err := scanRules(k.path, func(doc []byte) (bool, error) {
		whole, err := news.add(doc)
		if err != nil || !whole {
			return false, err
		}
		next, err := news.applyTo(rules, at)
		if err != nil {
			return false, err
		}
		rules, at = next, news.to
		news = &rulesNews{onDisk: true}
		return true, nil
	})
	if after, serr := os.Stat(k.path); serr == nil && !os.SameFile(before, after) {
		return nil, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if files.dropped != nil {
		k.log.Warn("the last changes of the rules on disk cannot be used: decides by those before",
			"file", k.path+journalName, "revision", at.Revision, "error", files.dropped)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = at
	return rules, false, nil
}

// version is that of the newest rules that were loaded or put.
func (k *rulesKeeper) version() link.RulesVersion {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at
}

// put takes what is in force now, to be kept.
func (k *rulesKeeper) put(news *rulesNews) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = news.to
	switch {
	case k.path == "" || k.stopped || news.delta.From == news.to.Revision: // nothing to write
		return
	case news.full():
		k.waiting, k.size, k.lost = nil, 0, false
	case k.lost:
		return
	default:
		if k.size += news.size; k.size > waitingMost {
			k.waiting, k.size, k.lost = nil, 0, true
			return
		}
	}
	news.delta = link.RuleDelta{From: news.delta.From, Revision: news.to.Revision} // the documents are what is kept
	k.waiting = append(k.waiting, news)
}

// keep writes what waits, and returns the version that a next start would begin with, or a newer one of it.
func (k *rulesKeeper) keep() (link.RulesVersion, error) {
	k.disk.Lock()
	defer k.disk.Unlock()
	k.mu.Lock()
	at, waiting, lost, stopped := k.at, k.waiting, k.lost, k.stopped
	k.mu.Unlock()
	switch {
	case stopped:
		return at, errRulesStopped
	case lost:
		return at, errRulesLost
	case len(waiting) == 0:
		return at, nil
	}
	if err := k.write(waiting); err != nil {
		if k.journal != nil {
			_ = k.journal.Close()
			k.journal = nil
		}
		if errors.Is(err, errRulesLost) {
			k.mu.Lock()
			k.lost, k.waiting, k.size = true, nil, 0
			k.mu.Unlock()
		}
		return at, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.waiting) >= len(waiting) && k.waiting[0] == waiting[0] { // or else a full set took their place
		k.waiting = k.waiting[len(waiting):]
		k.size = 0
		for _, n := range k.waiting {
			if !n.full() {
				k.size += n.size
			}
		}
	}
	return at, nil
}

// write puts news on disk, and leaves a journal open that is whole unless it fails.
func (k *rulesKeeper) write(news []*rulesNews) error {
	if err := k.take(); err != nil {
		return err
	}
	if first := news[0]; first.full() {
		files, err := writeBase(k.path, func(write func(doc []byte) error) error {
			for _, doc := range first.docs {
				if err := write(doc); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if k.journal != nil {
			_ = k.journal.Close()
			k.journal = nil
		}
		k.files, k.held = files, first.to
		news = news[1:]
	} else if k.journal == nil {
		if err := k.lookAnew(); err != nil {
			return err
		}
	}
	if len(news) == 0 {
		return nil
	}
	return k.append(news)
}

// tidy makes the journal part of the base when it has become long. It takes seconds when the base is large.
func (k *rulesKeeper) tidy() {
	k.disk.Lock()
	defer k.disk.Unlock()
	if k.journal == nil || k.files.end <= max(journalLeast, min(k.files.size, journalMost)) {
		return
	}
	_ = k.journal.Close()
	k.journal = nil // whatever comes of it, the next write looks at the files
	files, err := compactRules(k.path)
	if err != nil { // they are kept all the same
		k.log.Warn("the journal of the rules could not be made part of their base", "file", k.path, "error", err)
		return
	}
	k.log.Info("the journal of the rules became part of their base", "file", k.path, "bytes", files.size)
}

// take takes the lock.
func (k *rulesKeeper) take() error {
	if k.lock != nil {
		return nil
	}
	f, err := os.OpenFile(k.path+lockName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := flock.Take(f); err != nil {
		_ = f.Close()
		if errors.Is(err, flock.ErrHeld) {
			return errRulesHeld
		}
		return fmt.Errorf("lock %s: %w", k.path+lockName, err)
	}
	k.lock = f
	return nil
}

// lookAnew finds out what is on disk, drops what is not whole there and opens the journal.
func (k *rulesKeeper) lookAnew() error {
	var head ruleHead
	var held link.RulesVersion
	files, err := scanRules(k.path, func(doc []byte) (bool, error) {
		if err := head.read(doc); err != nil || head.More {
			return false, err
		}
		held = link.RulesVersion{Revision: head.Revision, Tag: head.Tag}
		return true, nil
	})
	for _, err := range []error{err, files.dropped} {
		if _, is := errors.AsType[*fs.PathError](err); is && !errors.Is(err, fs.ErrNotExist) {
			return err // it may be whole, and cannot be read now
		}
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", errRulesLost, err)
	}
	k.files, k.held = files, held
	return k.openJournal()
}

// openJournal opens the journal at its end, and begins it when it is not the base's.
func (k *rulesKeeper) openJournal() error {
	f, err := os.OpenFile(k.path+journalName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	k.journal = f
	if err := f.Truncate(k.files.end); err != nil {
		return err
	}
	if k.files.end > 0 {
		return nil
	}
	head := journalHead(k.files.base)
	if _, err := f.WriteAt([]byte(head), 0); err != nil {
		return err
	}
	k.files.end, k.files.last = int64(len(head)), k.files.base
	return syncDirOf(k.path)
}

// append writes changes to the journal and waits until they are on disk.
func (k *rulesKeeper) append(news []*rulesNews) error {
	if k.journal == nil {
		if err := k.openJournal(); err != nil {
			return err
		}
	}
	var lines bytes.Buffer
	sum, held := k.files.last, k.held
	for _, n := range news {
		if n.from != held {
			return errRulesLost
		}
		for _, doc := range n.docs {
			var err error
			if sum, err = writeDocument(&lines, sum, doc); err != nil {
				return err
			}
		}
		held = n.to
	}
	if _, err := k.journal.WriteAt(lines.Bytes(), k.files.end); err != nil {
		return err
	}
	if err := k.journal.Sync(); err != nil {
		return err
	}
	k.files.end, k.files.last, k.held = k.files.end+int64(lines.Len()), sum, held
	return nil
}

// stop has this process write no more, so that another may: at once when keep is not at work, or else after it.
func (k *rulesKeeper) stop() {
	k.disk.Lock()
	defer k.disk.Unlock()
	k.mu.Lock()
	k.stopped, k.waiting = true, nil
	k.mu.Unlock()
	if k.journal != nil {
		_ = k.journal.Close()
	}
	if k.lock != nil {
		_ = flock.Close(k.lock)
	}
	k.journal, k.lock = nil, nil
}
