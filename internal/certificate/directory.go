package certificate

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The ends of the names of a pair's files.
const (
	certSuffix = ".crt"
	keySuffix  = ".key"
)

const (
	lookEvery = time.Second
	// lookShare bounds what looking costs where there are very many pairs: the pause is so many times what a look takes.
	lookShare = 100
	// goneAfter is how long a pair is shown whose files are both away: who replaces files may first remove the old ones.
	goneAfter = 10 * time.Second
)

// Directory shows the certificates of a directory: pairs NAME.crt (a PEM chain) and NAME.key. What name a client asks for
// is looked up among the host names in the certificates, first as it is, then as a wildcard one label up; NAME is for
// people. The directory is looked at every second, and certificates are shown, changed and forgotten as it says, while a
// pair that is not good leaves the one before in its place.
type Directory struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	index atomic.Pointer[index]

	mu    sync.Mutex // guards what is below: one look at a time
	pairs map[string]*directoryPair
	told  string // the trouble with the directory as a whole, as last told

	quit    context.CancelFunc
	looking sync.WaitGroup
}

// directoryPair is a pair as it was last seen. Without a certificate nothing of it has been good yet.
type directoryPair struct {
	files pairFiles
	seen  pairState // that was read last, good or not
	cert  *tls.Certificate
	gone  time.Time // since when both files are away; zero when they are not
}

// index is what a Directory shows. It never changes.
type index struct {
	byName map[string][]*tls.Certificate // the best of a name first
	shown  []Shown
}

// OpenDirectory reads a directory, which must be there, and follows it until Close. Pairs that are not good are told to
// log, and do not keep the others from being shown. A nil now means time.Now.
func OpenDirectory(path string, now func() time.Time, log *slog.Logger) (*Directory, error) {
	if now == nil {
		now = time.Now
	}
	d := &Directory{path: path, now: now, log: log, pairs: map[string]*directoryPair{}}
	if err := d.look(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	ctx, quit := context.WithCancel(context.Background())
	d.quit = quit
	d.looking.Go(func() { d.follow(ctx) })
	return d, nil
}

// Close ends looking at the directory. What was read goes on to be shown.
func (d *Directory) Close() {
	d.quit()
	d.looking.Wait()
}

func (d *Directory) follow(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		if err := d.look(); err != nil {
			d.tell(err)
		}
		timer.Reset(max(lookEvery, lookShare*time.Since(begun)))
	}
}

// tell logs trouble with the directory itself, once as long as it is the same.
func (d *Directory) tell(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if text := err.Error(); text != d.told {
		d.told = text
		d.log.Error("the directory of certificates cannot be read: those that were read still are shown", "err", err)
	}
}

// look reads what has changed. The error is one of reading the directory, which changes nothing.
func (d *Directory) look() error {
	names, err := d.names()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = ""
	changed := d.index.Load() == nil
	for _, name := range names {
		p := d.pairs[name]
		if p == nil {
			at := filepath.Join(d.path, name)
			p = &directoryPair{files: pairFiles{at + certSuffix, at + keySuffix}}
			d.pairs[name] = p
		}
		p.gone = time.Time{}
		if d.read(name, p) {
			changed = true
		}
	}
	for name, p := range d.pairs {
		if _, there := slices.BinarySearch(names, name); there {
			continue
		}
		if p.gone.IsZero() {
			p.gone = d.now()
		}
		if p.cert == nil || d.now().Sub(p.gone) >= goneAfter {
			delete(d.pairs, name)
			changed = true
			d.log.Info("a certificate was taken away", "certificate", name)
		}
	}
	if changed {
		d.index.Store(d.compile())
	}
	return nil
}

// names are those of the pairs of which a file is there, sorted.
func (d *Directory) names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, e := range entries {
		for _, suffix := range []string{certSuffix, keySuffix} {
			if name, ok := strings.CutSuffix(e.Name(), suffix); ok && name != "" && !strings.HasPrefix(name, ".") {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// read reads a pair that is another than before, and reports whether there is another certificate to show.
func (d *Directory) read(name string, p *directoryPair) (changed bool) {
	is, err := p.files.state()
	if is.same(p.seen) {
		return false
	}
	if errors.Is(err, fs.ErrNotExist) && p.cert != nil {
		return false // it is being replaced
	}
	p.seen = is
	cert, err := p.files.read()
	if err == nil && len(hostNames(cert.Leaf)) == 0 {
		err = errors.New("the certificate names no host (subject alternative names)")
	}
	switch {
	case err == nil:
		p.cert = cert
		d.log.Info("a certificate is shown", "certificate", name, "names", hostNames(cert.Leaf), "expires", cert.Leaf.NotAfter)
		return true
	case p.cert != nil:
		d.log.Error("a new certificate is not used, the old one still is", "certificate", name, "expires", p.cert.Leaf.NotAfter, "err", err)
	default:
		d.log.Error("a certificate is not used", "certificate", name, "err", err)
	}
	return false
}

// compile makes the index of what was read. Of several certificates with one name that comes first which lasts longest.
func (d *Directory) compile() *index {
	x := &index{byName: map[string][]*tls.Certificate{}}
	for _, name := range slices.Sorted(maps.Keys(d.pairs)) {
		cert := d.pairs[name].cert
		if cert == nil {
			continue
		}
		names := hostNames(cert.Leaf)
		x.shown = append(x.shown, Shown{Name: name, Names: names, Expires: cert.Leaf.NotAfter})
		for _, host := range names {
			x.byName[host] = append(x.byName[host], cert)
		}
	}
	for _, certs := range x.byName {
		slices.SortStableFunc(certs, func(a, b *tls.Certificate) int { return cmp.Compare(b.Leaf.NotAfter.Unix(), a.Leaf.NotAfter.Unix()) })
	}
	return x
}

// hostNames are the names that a certificate is good for, in lower case, each once.
func hostNames(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Certificate implements Source. Of several certificates with the name it is the first that the client can use.
func (d *Directory) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	x := d.index.Load()
	name := askedFor(hello)
	if name == "" {
		return nil, none(hello)
	}
	certs := x.byName[name]
	if len(certs) == 0 {
		certs = x.byName[wildcardOf(name)]
	}
	switch len(certs) {
	case 0:
		return nil, none(hello)
	case 1:
		return certs[0], nil
	}
	for _, c := range certs {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return certs[0], nil
}

// All implements Source.
func (d *Directory) All() []Shown { return d.index.Load().shown }
