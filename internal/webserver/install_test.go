//go:build unix

package webserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
)

// site is a folder with a configuration and a server that knows two commands. The server refuses a text that holds
// "broken" at its test, and one that holds "late" only when it reloads.
type site struct {
	dir string
}

func (s site) path() string   { return filepath.Join(s.dir, "site.conf") }
func (s site) loaded() string { return filepath.Join(s.dir, "loaded") }

func (s site) installation(text string) Installation {
	return Installation{
		Path: s.path(), Text: text,
		Test:   []string{"sh", "-c", `! grep -s broken "$0"`, s.path()},
		Reload: []string{"sh", "-c", `! grep -s late "$0" || { echo "port is taken" >&2; exit 1; }; cat "$0" >"$1" 2>/dev/null || : >"$1"`, s.path(), s.loaded()},
	}
}

// content is what a file holds, "" also when it is not there.
func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// names are the files of the folder.
func (s site) names(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func reason(err error) string {
	if e, ok := errors.AsType[*link.Error](err); ok {
		return e.Reason
	}
	return fmt.Sprint(err)
}

func TestInstall(t *testing.T) {
	s := site{t.TempDir()}
	for _, step := range []struct {
		name, text string
		want       Installed
		reason     string // empty: none
		file       string // also what the server has loaded
		previous   string
	}{
		{"a first text that the server refuses leaves no file", "broken", Installed{}, "TEST_FAILED", "", ""},
		{"the first", "one", Installed{Changed: true, Reloaded: true}, "", "one", ""},
		{"the same", "one", Installed{}, "", "one", ""},
		{"another", "two", Installed{Changed: true, Reloaded: true, Previous: ".site.conf.previous"}, "", "two", "one"},
		{"one that the test refuses", "broken", Installed{Previous: ".site.conf.previous"}, "TEST_FAILED", "two", "two"},
		{"one that the reload refuses", "late", Installed{Previous: ".site.conf.previous"}, "RELOAD_FAILED", "two", "two"},
		{"and one that is well again", "three", Installed{Changed: true, Reloaded: true, Previous: ".site.conf.previous"}, "", "three", "two"},
	} {
		got, err := Install(t.Context(), s.installation(step.text))
		if step.want.Previous != "" {
			step.want.Previous = filepath.Join(s.dir, step.want.Previous)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		if (err == nil) != (step.reason == "") || err != nil && reason(err) != step.reason {
			t.Errorf("%s: %v, want %s", step.name, err, step.reason)
		}
		if got := content(t, s.path()); got != step.file {
			t.Errorf("%s: the file holds %q, want %q", step.name, got, step.file)
		}
		if got := content(t, s.loaded()); got != step.file {
			t.Errorf("%s: the server has %q, want %q", step.name, got, step.file)
		}
		if got := content(t, filepath.Join(s.dir, ".site.conf.previous")); got != step.previous {
			t.Errorf("%s: kept is %q, want %q", step.name, got, step.previous)
		}
		if step.reason == "RELOAD_FAILED" && !strings.Contains(err.Error(), "port is taken") {
			t.Errorf("%s: the error does not say what the server said: %v", step.name, err)
		}
	}
	if diff := cmp.Diff([]string{".site.conf.previous", "loaded", "site.conf"}, s.names(t)); diff != "" {
		t.Errorf("something is left: %s", diff)
	}
}

// TestReloadThatKeepsFailing: where the server does not take the previous text either, the error says so, and the next
// installation reloads though the text is in its place.
func TestReloadThatKeepsFailing(t *testing.T) {
	s := site{t.TempDir()}
	if _, err := Install(t.Context(), s.installation("one")); err != nil {
		t.Fatal(err)
	}
	in := s.installation("two")
	in.Reload = []string{"sh", "-c", "exit 7"}
	if _, err := Install(t.Context(), in); reason(err) != "RELOAD_FAILED" || !strings.Contains(err.Error(), "with the previous text it fails too") {
		t.Errorf("the error: %v", err)
	}
	got, err := Install(t.Context(), s.installation("one"))
	if err != nil || got.Changed || !got.Reloaded {
		t.Errorf("the next: %+v, %v", got, err)
	}
}

func TestInstallKeepsModeAndOwner(t *testing.T) {
	s := site{t.TempDir()}
	if err := os.WriteFile(s.path(), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.path(), 0o640); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65534, 65534
		if err := os.Chown(s.path(), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Install(t.Context(), s.installation("new")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.path(), filepath.Join(s.dir, ".site.conf.previous")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != 0o640 || int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("%s: mode %o of %d:%d, want 640 of %d:%d", path, info.Mode().Perm(), st.Uid, st.Gid, uid, gid)
		}
	}
}

func TestUnsafePaths(t *testing.T) {
	dir := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("victim"), []byte("precious"), 0o600))
	must(os.Symlink(at("victim"), at("link.conf")))
	must(os.Symlink(at("nowhere"), at("dangling.conf")))
	must(os.Mkdir(at("folder.conf"), 0o700))
	must(os.Mkdir(at("open"), 0o700))
	must(os.Chmod(at("open"), 0o777|os.ModeSticky))
	must(syscall.Mkfifo(at("pipe.conf"), 0o600))
	must(os.Mkdir(at("own"), 0o700))
	must(os.Symlink(at("own"), at("mine")))
	for _, c := range []struct{ name, path, reason string }{
		{"a symbolic link", at("link.conf"), "UNSAFE_PATH"},
		{"one that leads nowhere", at("dangling.conf"), "UNSAFE_PATH"},
		{"a folder", at("folder.conf"), "UNSAFE_PATH"},
		{"a pipe", at("pipe.conf"), "UNSAFE_PATH"},
		{"below a folder that everybody can write to", at("open", "site.conf"), "UNSAFE_PATH"},
		{"in a folder that is not there", at("none", "site.conf"), "NO_FOLDER"},
		{"below a file", at("victim", "site.conf"), "NO_FOLDER"},
		{"a path that ends in a slash", at("own") + "/", "UNSAFE_PATH"},
		{"the root", "/", "UNSAFE_PATH"},
	} {
		if _, err := Install(t.Context(), Installation{Path: c.path, Text: "new"}); reason(err) != c.reason || link.KindOf(err) != link.Invalid {
			t.Errorf("%s: %v, want %s", c.name, err, c.reason)
		}
	}
	if got := content(t, at("victim")); got != "precious" {
		t.Errorf("the file that a link led to was changed to %q", got)
	}
	// A link of one's own on the way is a habit of people, not an attack.
	if _, err := Install(t.Context(), Installation{Path: at("mine", "site.conf"), Text: "new"}); err != nil {
		t.Errorf("through a link of one's own: %v", err)
	}
	// Links where Install keeps its own files lead nowhere either.
	for _, name := range []string{".site.conf.new", ".site.conf.previous", ".site.conf.pending"} {
		must(os.Remove(at("own", "site.conf")))
		must(os.RemoveAll(at("own", name)))
		must(os.Symlink(at("victim"), at("own", name)))
		must(os.WriteFile(at("own", "site.conf"), []byte("old"), 0o600))
		_, err := Install(t.Context(), Installation{Path: at("own", "site.conf"), Text: "newer"})
		if got := content(t, at("victim")); got != "precious" {
			t.Fatalf("%s: the file that a link led to was changed to %q (%v)", name, got, err)
		}
		must(os.RemoveAll(at("own", name)))
	}
	if os.Getuid() != 0 {
		return
	}
	must(os.Lchown(at("mine"), 65534, 65534))
	if _, err := Install(t.Context(), Installation{Path: at("mine", "site.conf"), Text: "newest"}); reason(err) != "UNSAFE_PATH" {
		t.Errorf("through a link of somebody else: %v", err)
	}
}

// TestBrokenNote: where nobody can tell what an installation before left, a person has to look.
func TestBrokenNote(t *testing.T) {
	s := site{t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, ".site.conf.pending"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), s.installation("one")); reason(err) != "BROKEN_NOTE" {
		t.Errorf("the error: %v", err)
	}
	if got := content(t, s.path()); got != "" {
		t.Errorf("the file holds %q", got)
	}
}

func TestInstallationsExcludeEachOther(t *testing.T) {
	s := site{t.TempDir()}
	p, err := openPlace(s.path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), s.installation("one")); reason(err) != "INSTALLATION_UNDER_WAY" || link.KindOf(err) != link.Unavailable {
		t.Errorf("a second one meanwhile: %v", err)
	}
	p.close()
	if _, err := Install(t.Context(), s.installation("one")); err != nil {
		t.Errorf("and after it: %v", err)
	}
}

// TestCommandsAreBounded: a command that does not end counts as one that failed.
func TestCommandsAreBounded(t *testing.T) {
	s := site{t.TempDir()}
	in := s.installation("one")
	in.Test, in.Timeout = []string{"sh", "-c", "sleep 600 & sleep 600"}, 200_000_000
	if _, err := Install(t.Context(), in); reason(err) != "TEST_FAILED" || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("the error: %v", err)
	}
	if got := content(t, s.path()); got != "" {
		t.Errorf("the file holds %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in = s.installation("two")
	in.Reload = []string{"sh", "-c", `grep -q two "$0" && exec sleep 600; exit 0`, s.path()}
	in.cut = func(st step) bool {
		if st == stepTested {
			cancel()
		}
		return false
	}
	if _, err := Install(ctx, in); reason(err) != "RELOAD_FAILED" || strings.Contains(err.Error(), "fails too") {
		t.Errorf("interrupted: %v", err)
	}
	if got := content(t, s.path()); got != "" {
		t.Errorf("interrupted, the file holds %q", got)
	}
}

var steps = []step{stepKept, stepMarked, stepReplaced, stepTested, stepReloaded, stepRestored}

// TestCrashes: whatever installations come one after the other, and wherever they are cut, the file is always whole;
// the next that goes to its end has the server take its text, or brings both back to what the server took last.
func TestCrashes(t *testing.T) {
	checks(t, 40)
	texts := []string{"one", "two", "three", "broken", "late"}
	rapid.Check(t, func(rt *rapid.T) {
		s := site{t.TempDir()}
		took := ""            // what the server took last in an installation that went to its end
		may := []string{took} // what it may have: after cuts nobody knows
		for range rapid.IntRange(1, 8).Draw(rt, "installations") {
			in := s.installation(rapid.SampledFrom(texts).Draw(rt, "text"))
			at := rapid.SampledFrom(append([]step{""}, steps...)).Draw(rt, "cut")
			in.cut = func(st step) bool { return st == at }
			_, err := Install(context.Background(), in)
			file, loaded := content(t, s.path()), content(t, s.loaded())
			if file != "" && !slices.Contains(texts, file) {
				rt.Fatalf("after a cut at %q the file holds %q", at, file)
			}
			well := in.Text != "broken" && in.Text != "late"
			switch {
			case errors.Is(err, errCut):
				if at == stepReloaded {
					may = append(may, in.Text)
				}
				if !slices.Contains(may, loaded) {
					rt.Fatalf("%q cut at %q: the server has %q, not one of %q", in.Text, at, loaded, may)
				}
				continue
			case well:
				if err != nil || file != in.Text || loaded != in.Text {
					rt.Fatalf("%q: %v; the file holds %q, the server has %q", in.Text, err, file, loaded)
				}
				took = in.Text
			default:
				if err == nil || file != took || loaded != took {
					rt.Fatalf("%q: %v; the file holds %q, the server has %q, and took %q last", in.Text, err, file, loaded, took)
				}
			}
			may = []string{took}
			for _, name := range s.names(t) {
				if strings.HasSuffix(name, ".new") || strings.HasSuffix(name, ".pending") {
					rt.Fatalf("%s is left", name)
				}
			}
		}
	})
}

// TestKilled: the program is killed while the server reloads, for real.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("POSTERN_TEST_KILLED"); dir != "" {
		in := site{dir}.installation("two")
		in.Reload = []string{"sh", "-c", "kill -KILL $PPID"}
		_, err := Install(t.Context(), in)
		t.Fatalf("it goes on: %v", err)
	}
	s := site{t.TempDir()}
	if _, err := Install(t.Context(), s.installation("one")); err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	victim.Env = append(os.Environ(), "POSTERN_TEST_KILLED="+s.dir)
	out, err := victim.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := content(t, s.path()); got != "two" {
		t.Fatalf("the file holds %q", got)
	}
	// Nobody knows whether the server took "two". A text that it refuses brings back the one that it took for sure.
	if _, err := Install(t.Context(), s.installation("late")); reason(err) != "RELOAD_FAILED" {
		t.Fatal(err)
	}
	if file, loaded := content(t, s.path()), content(t, s.loaded()); file != "one" || loaded != "one" {
		t.Errorf("the file holds %q, the server has %q", file, loaded)
	}
}
