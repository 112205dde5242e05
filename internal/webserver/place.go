package webserver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// place is a file's folder, held open so that nobody can put another one in its stead, and locked against other
// installations. It is closed by whoever opened it.
type place struct {
	root *os.Root
	dir  *os.File // the folder itself, for locks and syncs
	full string   // the folder's path, for people
	name string
}

// state is what a place holds.
type state struct {
	exists bool
	text   string
	info   fs.FileInfo // nil when the file does not exist
	mark   *mark       // nil: no installation is under way
	// unfinished says that an installation before this one did not go to its end: nobody knows what the server took.
	unfinished bool
	previous   bool // the text that the server took last is in the previous file; of use when the one in place is not proven
}

// mark is the note that an installation leaves while it is under way.
type mark struct {
	// Previous says whether there was a file before.
	Previous bool `json:"previous"`
	// Unproven are the SHA-256 digests of texts that were put in place and that no server is known to have taken.
	Unproven []string `json:"unproven"`
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (s state) has(text string) bool { return s.exists && s.text == text }

// proven reports whether what is in place, maybe nothing, is what the server took last, as far as installations know.
func (s state) proven() bool {
	return s.mark == nil || !s.exists || !slices.Contains(s.mark.Unproven, digest(s.text))
}

// mostText bounds what is read of a file, in bytes; a configuration is far smaller.
const mostText = 16 << 20

// openPlace opens the folder of a file, when it is safe to write there: nobody else than its owner can, and no symbolic
// link that somebody else made leads to it.
func openPlace(path string) (_ *place, err error) {
	refuse := func(hint, format string, args ...any) error {
		return &link.Error{Kind: link.Invalid, Reason: "UNSAFE_PATH", Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := &place{full: filepath.Dir(full), name: filepath.Base(full)}
	if p.name == string(filepath.Separator) || strings.HasSuffix(path, "/") {
		return nil, refuse("give the path of a file", "%s is no file", path)
	}
	if err := followable(p.full, refuse); err != nil {
		return nil, err
	}
	p.root, err = os.OpenRoot(p.full)
	if err != nil {
		return nil, &link.Error{Kind: link.Invalid, Reason: "NO_FOLDER", Message: "the folder cannot be opened", Hint: "make it first", Err: err}
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	p.dir, err = p.root.Open(".")
	if err != nil {
		return nil, err
	}
	info, err := p.dir.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, refuse(fmt.Sprintf("chmod o-w %s", p.full), "everybody can write to %s", p.full)
	}
	info, err = p.root.Lstat(p.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, refuse("give the path of the file that it leads to", "%s is a symbolic link", path)
	case !info.Mode().IsRegular():
		return nil, refuse("give the path of a file", "%s is no regular file", path)
	}
	if err := lock(p.dir); err != nil {
		return nil, err
	}
	return p, nil
}

// followable reports whether every symbolic link on the way to a folder is of this user's making or of root's.
func followable(dir string, refuse func(hint, format string, args ...any) error) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return &link.Error{Kind: link.Invalid, Reason: "NO_FOLDER", Message: "the folder cannot be opened", Hint: "make it first", Err: err}
		}
		if info.Mode()&fs.ModeSymlink != 0 && !trustedOwner(info) {
			return refuse("give the path that it leads to", "%s is a symbolic link that somebody else made", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func (p *place) close() {
	if p.dir != nil {
		_ = unlock(p.dir) // only read from
	}
	_ = p.root.Close()
}

func (p *place) path(name string) string { return filepath.Join(p.full, name) }

func (p *place) previousName() string { return "." + p.name + ".previous" }
func (p *place) newName() string      { return "." + p.name + ".new" }
func (p *place) markName() string     { return "." + p.name + ".pending" }

// look reads what the place holds.
func (p *place) look() (state, error) {
	var s state
	var err error
	s.text, s.info, err = p.read(p.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state{}, err
	}
	s.exists = err == nil
	note, _, err := p.read(p.markName())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return state{}, err
	}
	s.mark = &mark{}
	if err := json.Unmarshal([]byte(note), s.mark); err != nil {
		return state{}, &link.Error{
			Kind: link.Precondition, Reason: "BROKEN_NOTE", Message: fmt.Sprintf("%s cannot be read", p.path(p.markName())),
			Hint: "an installation did not end; see that the server runs well with the file, then remove the note", Err: err,
		}
	}
	s.previous, s.unfinished = s.mark.Previous, true
	return s, nil
}

// read reads a regular file.
func (p *place) read(name string) (text string, info fs.FileInfo, err error) {
	info, err = p.root.Lstat(name)
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%s is no regular file", p.path(name))
	}
	f, err := p.root.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(f, mostText+1))
	if err == nil && len(b) > mostText {
		err = fmt.Errorf("%s is longer than %d bytes", p.path(name), mostText)
	}
	return string(b), info, err
}

// write has a file hold a text, at once and as a whole, with the mode and the owner of another one; like may be nil.
func (p *place) write(name, text string, like fs.FileInfo) (err error) {
	if err := p.remove(p.newName()); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if like != nil {
		mode = like.Mode().Perm()
	}
	f, err := p.root.OpenFile(p.newName(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = p.remove(p.newName())
		}
	}()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if like != nil {
		if err := own(f, like); err != nil {
			return fmt.Errorf("keep the owner of %s: %w", p.path(name), err)
		}
	}
	// Only now: to change the owner can take bits of the mode away.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := p.root.Rename(p.newName(), name); err != nil {
		return err
	}
	return syncFolder(p.dir)
}

// remove removes a file, which may not be there.
func (p *place) remove(name string) error {
	err := p.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return syncFolder(p.dir)
}

// setMark notes that text is put in place and not proven.
func (p *place) setMark(s *state, text string) error {
	m := mark{Previous: s.previous}
	if s.mark != nil && !s.proven() {
		m.Unproven = append(m.Unproven, digest(s.text))
	}
	m.Unproven = append(m.Unproven, digest(text))
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.mark = &m
	return p.write(p.markName(), string(b), nil)
}

// unmark notes that the installation went to its end.
func (p *place) unmark() error { return p.remove(p.markName()) }
