package webserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// Installation is a configuration, where it goes, and what makes the server take it.
type Installation struct {
	Path string // of a regular file, there or not; its folder is there
	Text string

	// Test is a command that looks at the file in its place, Reload one that has the server read it. Their exit codes
	// count. Without them nothing is run.
	Test, Reload []string

	Timeout time.Duration // of each command; 0 means DefaultTimeout

	// cut ends the installation at a step, as a crash would; for tests.
	cut func(step) bool
}

// Installed is what an installation did.
type Installed struct {
	Changed  bool   // the file has another text than before
	Reloaded bool   // the server was made to read it
	Previous string // the file that holds the text before, empty when there was none
}

// step is a point of an installation after which a crash leaves another state than before it.
type step string

// The steps, in their order.
const (
	stepKept     step = "kept"     // the text that was there is kept beside
	stepMarked   step = "marked"   // a note beside says that the new text is not proven yet
	stepReplaced step = "replaced" // the new text is in its place
	stepTested   step = "tested"
	stepReloaded step = "reloaded"
	stepRestored step = "restored" // the text before is back
)

// errCut is what a test's crash looks like.
var errCut = errors.New("cut")

// Install puts a configuration in its place and has the server take it. Where the test or the reload fails, the file is
// again what it was and the server is made to read that; the error, a *link.Error, says what the command said. The file is
// replaced at once and as a whole, keeps its mode and owner, and the text that it had before stays beside it, in a file
// whose name begins with a dot so that no pattern of a server's includes reads it.
//
// A crash at any point leaves either text whole. The next Install knows which of them the server took last, and makes good
// what was left undone, also when it comes with the same text. Installations into one folder exclude each other.
func Install(ctx context.Context, in Installation) (Installed, error) {
	p, err := openPlace(in.Path)
	if err != nil {
		return Installed{}, err
	}
	defer p.close()
	if err := p.remove(p.newName()); err != nil { // of an installation that did not end
		return Installed{}, err
	}
	now, err := p.look()
	if err != nil {
		return Installed{}, err
	}
	var out Installed
	if !now.has(in.Text) {
		if err := in.replace(p, &now); err != nil {
			return out, err
		}
		out.Changed = true
	} else if !now.unfinished {
		return out, nil
	}
	if now.previous {
		out.Previous = p.path(p.previousName())
	}
	if err := in.prove(ctx, p, now); err != nil {
		out.Changed = false
		return out, err
	}
	out.Reloaded = len(in.Reload) > 0
	return out, p.unmark()
}

func (in Installation) at(s step) error {
	if in.cut != nil && in.cut(s) {
		return errCut
	}
	return nil
}

// replace puts the new text in the old one's place, and brings now up to date.
func (in Installation) replace(p *place, now *state) error {
	if now.proven() {
		if now.exists {
			if err := p.write(p.previousName(), now.text, now.info); err != nil {
				return err
			}
		}
		now.previous = now.exists
	}
	if err := in.at(stepKept); err != nil {
		return err
	}
	if err := p.setMark(now, in.Text); err != nil {
		return err
	}
	if err := in.at(stepMarked); err != nil {
		return err
	}
	if err := p.write(p.name, in.Text, now.info); err != nil {
		return err
	}
	return in.at(stepReplaced)
}

// prove runs the test and the reload, and has the file be what it was when one fails.
func (in Installation) prove(ctx context.Context, p *place, now state) error {
	command, reason, err := "test", "TEST_FAILED", in.run(ctx, in.Test)
	if err == nil {
		if err := in.at(stepTested); err != nil {
			return err
		}
		command, reason, err = "reload", "RELOAD_FAILED", in.run(ctx, in.Reload)
	}
	if err == nil {
		return in.at(stepReloaded)
	}
	failed := &link.Error{
		Kind: link.Precondition, Reason: reason, Message: fmt.Sprintf("the %s command failed: %v", command, err),
		Hint: fmt.Sprintf("%s is what it was; the server goes on with that", in.Path),
	}
	// Whoever asked may have gone meanwhile: what was begun is undone all the same.
	ctx = context.WithoutCancel(ctx)
	if err := in.restore(p, now); err != nil {
		if errors.Is(err, errCut) {
			return err
		}
		failed.Message += fmt.Sprintf("; and the previous text could not be put back: %v", err)
		failed.Hint = fmt.Sprintf("put %s back as %s by hand, and reload the server", p.path(p.previousName()), in.Path)
		return failed
	}
	if err := in.at(stepRestored); err != nil {
		return err
	}
	if reason == "RELOAD_FAILED" || now.unfinished {
		if err := in.run(ctx, in.Reload); err != nil {
			failed.Message += fmt.Sprintf("; and with the previous text it fails too: %v", err)
			failed.Hint = fmt.Sprintf("%s is what it was; see why the server does not reload", in.Path)
			return failed // the note stays: the next installation reloads in any case
		}
	}
	if err := p.unmark(); err != nil {
		return err
	}
	return failed
}

// restore has the file be what the server took last: the previous text, or no file. A text that is proven stays: nothing
// else is known to be better.
func (in Installation) restore(p *place, now state) error {
	current, err := p.look()
	switch {
	case err != nil:
		return err
	case current.proven():
		return nil
	case !now.previous:
		return p.remove(p.name)
	}
	text, info, err := p.read(p.previousName())
	if err != nil {
		return err
	}
	return p.write(p.name, text, info)
}

// run runs one of the commands; an empty one succeeds.
func (in Installation) run(ctx context.Context, argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	said, err := run(ctx, in.Timeout, nil, argv...)
	if err != nil && said != "" {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return err
}
