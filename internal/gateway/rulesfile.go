package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The rules on disk are two files. The base is a full set as it came over the wire; the journal, beside it, is the
// changes since, each on disk before it is acknowledged. Both begin with a line that says what they are; then each line
// is a document of the rules stream after a checksum, which covers also all lines before it and, in the journal, the base:
// half a set, a line that is missing, and the journal of another base are told from what belongs together.
const (
	baseMagic    = "postern rules v2"
	journalMagic = "postern rules journal v1 of "
	journalName  = ".journal" // after the base's name
	lockName     = ".lock"
)

// checksum is the SHA-256 of a line's document after the checksum of the line before. Before the first line of a base it
// is zero, before that of a journal the base's last.
type checksum [sha256.Size]byte

func (c checksum) after(doc []byte) (next checksum) {
	h := sha256.New()
	_, _ = h.Write(c[:])
	_, _ = h.Write(doc)
	h.Sum(next[:0])
	return next
}

// writeDocument writes a line and returns its checksum.
func writeDocument(w io.Writer, before checksum, doc []byte) (checksum, error) {
	sum := before.after(doc)
	line := make([]byte, 0, 2*len(sum)+1+len(doc)+1)
	line = hex.AppendEncode(line, sum[:])
	line = append(append(append(line, ' '), doc...), '\n')
	_, err := w.Write(line)
	return sum, err
}

// mostLine bounds a line of the files, in bytes: a document of the stream is shorter.
const mostLine = 20 << 20

var errTorn = errors.New("a line is damaged or cut short")

// readDocument reads a line and returns its document, which is the caller's, its checksum and its length on disk. The
// error is io.EOF at the end of the file and errTorn for what writeDocument did not write whole.
func readDocument(r *bufio.Reader, before checksum) (doc []byte, sum checksum, length int64, err error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil, sum, 0, io.EOF
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > mostLine {
			return nil, sum, 0, errTorn
		}
	}
	text, doc, found := bytes.Cut(line[:len(line)-1], []byte{' '})
	if !found || len(text) != 2*len(sum) {
		return nil, sum, 0, errTorn
	}
	if _, err := hex.Decode(sum[:], text); err != nil || sum != before.after(doc) {
		return nil, sum, 0, errTorn
	}
	return doc, sum, int64(len(line)), nil
}

// rulesOnDisk is how far the files are whole.
type rulesOnDisk struct {
	base    checksum // of the base's last line
	size    int64    // of the base, in bytes
	last    checksum // of the journal's last whole change; base when there is none
	end     int64    // where in the journal that change ends; 0: there is no journal of this base
	dropped error    // why the journal is not read beyond end; nil when there is nothing beyond
}

// scanRules reads base and journal and gives each document to take, which tells whether it ends a set or a change. The
// error is that of the base: fs.ErrNotExist when there is none. What is wrong with the journal ends it there.
func scanRules(path string, take func(doc []byte) (whole bool, err error)) (d rulesOnDisk, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close() //nolint:errcheck // only read from
	in := bufio.NewReaderSize(f, 256<<10)
	if head, err := in.ReadString('\n'); err != nil || head != baseMagic+"\n" {
		return d, errors.New("not a rules file")
	}
	d.size = int64(len(baseMagic) + 1)
	for whole := false; ; {
		doc, sum, n, err := readDocument(in, d.base)
		switch {
		case errors.Is(err, io.EOF) && whole:
			d.last = d.base
			d.scanJournal(path+journalName, take)
			return d, nil
		case errors.Is(err, io.EOF):
			return d, errors.New("the rules file is cut short")
		case err != nil:
			return d, err
		case whole:
			return d, errors.New("the rules file goes on after its end")
		}
		d.base, d.size = sum, d.size+n
		if whole, err = take(doc); err != nil {
			return d, err
		}
	}
}

func (d *rulesOnDisk) scanJournal(path string, take func(doc []byte) (whole bool, err error)) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		d.dropped = err
		return
	}
	defer f.Close() //nolint:errcheck // only read from
	in := bufio.NewReaderSize(f, 64<<10)
	head := journalHead(d.base)
	if got, err := in.ReadString('\n'); err != nil || got != head {
		return // of a base that was replaced, or never begun: nothing in it was ever acknowledged beside this base
	}
	at, sum := int64(len(head)), d.base
	d.end = at
	for {
		doc, next, n, err := readDocument(in, sum)
		if errors.Is(err, io.EOF) {
			if at > d.end {
				d.dropped = errTorn // a change whose last parts are missing
			}
			return
		}
		if err != nil {
			d.dropped = err
			return
		}
		at, sum = at+n, next
		whole, err := take(doc)
		if err != nil {
			d.dropped = err
			return
		}
		if whole {
			d.end, d.last = at, sum
		}
	}
}

func journalHead(base checksum) string { return fmt.Sprintf("%s%x\n", journalMagic, base) }

// writeBase puts a full set in the place of the base, so that the file holds either the old one or this, also when the
// machine dies. put gets what writes the documents. The old base's journal is none of the new one, whether it is still
// there or not.
func writeBase(path string, put func(write func(doc []byte) error) error) (d rulesOnDisk, err error) {
	err = replaceFile(path, func(f *os.File) error {
		w := bufio.NewWriterSize(f, 256<<10)
		if _, err := w.WriteString(baseMagic + "\n"); err != nil {
			return err
		}
		err := put(func(doc []byte) (err error) {
			d.base, err = writeDocument(w, d.base, doc)
			return err
		})
		if err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		d.size, err = f.Seek(0, io.SeekCurrent)
		return err
	})
	if err != nil {
		return rulesOnDisk{}, err
	}
	if err := os.Remove(path + journalName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rulesOnDisk{}, err
	}
	d.last = d.base
	return d, nil
}

// writeFile is replaceFile with a content that is at hand.
func writeFile(path string, content []byte) error {
	return replaceFile(path, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// replaceFile replaces the file at path, readable by its owner alone, in one step that survives a crash of the machine.
func replaceFile(path string, write func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := write(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDirOf(path)
}

// syncDirOf makes what became of the names in a file's directory last.
func syncDirOf(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
