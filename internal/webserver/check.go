package webserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// Outcome is what became of a check.
type Outcome string

// The outcomes. The zero value is not one.
const (
	Accepted   Outcome = "ACCEPTED"
	Refused    Outcome = "REFUSED"
	NotChecked Outcome = "NOT_CHECKED"
)

// Report is what an installed server said of a configuration.
type Report struct {
	Outcome Outcome

	// Version is the server's that checked or, of NotChecked, that is installed; the zero value when none is.
	Version proxyconf.Version
	// Started says that the server was also started with it, for servers whose check does not find everything.
	Started bool
	// Missing are modules of the server that this machine does not have, by name.
	Missing []string
	// Messages are what the server said, a line each, without what only names the trial's own files. Lines of its
	// configuration that they name are lines of the text.
	Messages []string
	Why      string // of NotChecked
}

// Check has the installed server look at what proxyconf renders of p for a target: its own test and, where that does not
// find everything, a start on loopback. Nothing outside a temporary folder is read or written but the server's own modules.
//
// The text is not checked where it stands: what it names may not be here. It is rendered once more for the trial, with
// throw-away certificates and keys in place of its files, loopback addresses in place of its nodes' names, and other ports
// where these are not to be had. Whether the true files are there and fit is for the test at the installation.
//
// Where the target is another version than the installed one, the check counts if what is rendered for both is the same,
// and is left out otherwise. The error says why a check could not be made, or is that of proxyconf.Render.
func Check(ctx context.Context, p link.ReverseProxy, t proxyconf.Target) (Report, error) {
	t.Server = cmp.Or(t.Server, p.Server)
	want, err := proxyconf.Render(p, t)
	if err != nil {
		return Report{}, err
	}
	program, err := Find(ctx, t.Server)
	if e, ok := errors.AsType[*link.Error](err); ok && e.Kind == link.Precondition {
		return Report{Outcome: NotChecked, Why: e.Message}, nil
	} else if err != nil {
		return Report{}, err
	}
	if !program.same(p, want) {
		return Report{
			Outcome: NotChecked, Version: program.Version,
			Why: fmt.Sprintf("the text is for %s; for %s, which is installed here, it is another one", t, program.Target()),
		}, nil
	}
	return program.check(ctx, p, t)
}

// same reports whether what is rendered for the installed program is what was rendered for the target.
func (p Program) same(proxy link.ReverseProxy, want proxyconf.Output) bool {
	here, err := proxyconf.Render(proxy, p.Target())
	return err == nil && body(here.Text) == body(want.Text)
}

// body is a text without its comments, which name the target.
func body(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (p Program) check(ctx context.Context, proxy link.ReverseProxy, t proxyconf.Target) (Report, error) {
	dir, err := os.MkdirTemp("", "postern-check-")
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	if strings.ContainsFunc(dir, func(r rune) bool { return r > unicode.MaxASCII || strings.ContainsRune(" ,;'\"{}()#$*\\", r) }) {
		return Report{}, &link.Error{
			Kind: link.Precondition, Reason: "TEMPORARY_FOLDER", Message: "no configuration can name files in " + link.Quote(dir),
			Hint: "set TMPDIR to a folder whose name has letters, digits, - and _ alone",
		}
	}
	tr := &trial{dir: dir, program: p, report: Report{Outcome: Accepted, Version: p.Version}}
	// Ports that were free a moment ago may be somebody's by the time that the server starts.
	for attempt := 1; ; attempt++ {
		if err := tr.prepare(proxy, t); err != nil {
			return Report{}, err
		}
		if err := trials[p.Server](ctx, tr); err != nil {
			return Report{}, err
		}
		if tr.report.Outcome == Accepted || !tr.portTaken || attempt == 3 {
			return tr.report, ctx.Err()
		}
		tr.report, tr.portTaken = Report{Outcome: Accepted, Version: p.Version}, false
	}
}

// trials are how each server is tried.
var trials = map[link.WebServer]func(context.Context, *trial) error{
	link.NGINX: tryNGINX, link.Apache: tryApache, link.HAProxy: tryHAProxy, link.Caddy: tryCaddy,
}

// trialTimeout bounds each run of a server; a check takes well below a second.
const trialTimeout = 30 * time.Second

// test runs the server's own test, takes its exit code as the outcome and keeps what it said.
func (tr *trial) test(ctx context.Context, argv ...string) {
	said, err := run(ctx, trialTimeout, tr.env(), argv...)
	tr.take(said, err)
}

// take makes a run's end the trial's outcome.
func (tr *trial) take(said string, err error) {
	for line := range strings.Lines(said) {
		if line = tr.clean(line); line != "" {
			tr.report.Messages = append(tr.report.Messages, line)
		}
	}
	if err != nil {
		tr.report.Outcome = Refused
		if len(tr.report.Messages) == 0 {
			tr.report.Messages = []string{err.Error()}
		}
	}
}
