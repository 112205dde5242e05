package certificate

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how long a Pair counts before its files are looked at again.
const recheck = time.Second

// Pair is a certificate and its key in two PEM files, which are read again when one of them changes. A new pair that is not
// good leaves the old one in its place: a mistake in a renewal must not close the door before the old certificate ends.
type Pair struct {
	files pairFiles
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	seen    pairState // of the pair that was read last, good or not
	checked time.Time
}

// OpenPair reads a pair of files. A nil now means time.Now.
func OpenPair(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*Pair, error) {
	if now == nil {
		now = time.Now
	}
	p := &Pair{files: pairFiles{certFile, keyFile}, now: now, log: log}
	if err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// read reads the pair, and notes what it read.
func (p *Pair) read() error {
	p.seen, _ = p.files.state() // before the content: a change in between is then noticed at the next look
	p.checked = p.now()
	cert, err := p.files.read()
	if err == nil {
		p.cert = cert
	}
	return err
}

// Certificate is tls.Config's GetCertificate, whatever name is asked for. Once a second it looks at the files.
func (p *Pair) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.checked) < recheck {
		return p.cert, nil
	}
	p.checked = p.now()
	if is, err := p.files.state(); err != nil || is.same(p.seen) {
		return p.cert, nil // a file that is not there is one that is being replaced
	}
	if err := p.read(); err != nil {
		p.log.Error("the new certificate is not used, the old one still is", "file", p.files.cert, "err", err)
	} else {
		p.log.Info("the certificate was read again", "file", p.files.cert, "expires", p.cert.Leaf.NotAfter)
	}
	return p.cert, nil
}

// pairFiles are the paths of a certificate's chain and of its key.
type pairFiles struct{ cert, key string }

// pairState tells whether a pair of files is another than before. Nil is a file that is not there.
type pairState struct{ cert, key os.FileInfo }

// same reports whether nothing has changed. The time alone does not tell: what is renamed into place was often written in the same
// tick of the system's clock as what it replaces, and has its size.
func (s pairState) same(as pairState) bool {
	file := func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == b
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	}
	return file(s.cert, as.cert) && file(s.key, as.key)
}

// state looks at the files. The error is one of os.Stat; what there is of the state is there all the same.
func (f pairFiles) state() (s pairState, err error) {
	for _, of := range []struct {
		path string
		into *os.FileInfo
	}{{f.cert, &s.cert}, {f.key, &s.key}} {
		info, statErr := os.Stat(of.path)
		if statErr != nil {
			err = errors.Join(err, statErr)
			continue
		}
		*of.into = info
	}
	return s, err
}

// read reads the pair. No error tells what is in the key's file.
func (f pairFiles) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}
