package postern

import (
	"bytes"
	"errors"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mostLines is the length from which on a file holds more than one noun.
const mostLines = 600

func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || ast.IsGenerated(f.ast) {
			continue
		}
		if n := bytes.Count(f.text, []byte("\n")); n > mostLines {
			t.Errorf("%s has %d lines, more than %d: find the second noun in it", f.path, n, mostLines)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments, packages := map[string][]string{}, map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		packages[f.dir] = f.ast.Name.Name
		if f.ast.Doc != nil {
			comments[f.dir] = append(comments[f.dir], f.path)
			want := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name == "main" {
				want = filepath.Base(f.dir) + " "
			}
			if text := f.ast.Doc.Text(); !strings.HasPrefix(strings.ToLower(text), strings.ToLower(want)) && !strings.HasPrefix(text, "Command ") {
				t.Errorf("%s: the package comment begins with %q, not with %q", f.path, firstWords(text), want)
			}
		}
	}
	for dir := range packages {
		if len(comments[dir]) != 1 {
			t.Errorf("package %s has %d package comments %v: one says what it is for", dir, len(comments[dir]), comments[dir])
		}
	}
}

func firstWords(s string) string {
	words := strings.Fields(s)
	return strings.Join(words[:min(3, len(words))], " ")
}

// TestNamesSayWhat refuses names that say nothing about what is in them.
func TestNamesSayWhat(t *testing.T) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "stuff"}
	err := walk(func(path string) error {
		for part := range strings.SplitSeq(path, "/") {
			name, _, _ := strings.Cut(part, ".")
			for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '_' || r == '-' }) {
				if slices.Contains(empty, strings.ToLower(word)) {
					t.Errorf("%s: %q does not say what is in it", path, word)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingLeftToDo: what is not done is in the issue tracker, not in a comment.
func TestNothingLeftToDo(t *testing.T) {
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	for _, f := range sources(t) {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if later.MatchString(c.Text) {
					t.Errorf("%s: %s", f.at(c), c.Text)
				}
			}
		}
	}
}

// TestTestsDoNotSleep: a test that sleeps is slow where it passes and fails where the machine is slower. Inside a
// synctest bubble time is virtual, and sleeping costs and risks nothing.
func TestTestsDoNotSleep(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test || slices.Contains(f.imports(), "testing/synctest") {
			continue
		}
		for _, at := range f.uses("time", "Sleep") {
			t.Errorf("%s: wait for the condition instead", at)
		}
	}
}

func TestReadmeNamesEveryCommand(t *testing.T) {
	readme := read(t, "README.md")
	dirs, err := os.ReadDir("cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && !regexp.MustCompile(`\b`+regexp.QuoteMeta(d.Name())+`(\W|$)`).MatchString(readme) {
			t.Errorf("README.md does not mention cmd/%s", d.Name())
		}
	}
}

// TestFuzzTargetsHaveSeeds: without a seed corpus a fuzz target tests nothing in an ordinary run.
func TestFuzzTargetsHaveSeeds(t *testing.T) {
	for _, f := range sources(t) {
		for _, fn := range functions(f, "Fuzz") {
			seeded := false
			ast.Inspect(fn, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Add" {
					if id, ok := sel.X.(*ast.Ident); ok && id.Name == fn.Type.Params.List[0].Names[0].Name {
						seeded = true
					}
				}
				return true
			})
			_, err := os.Stat(filepath.Join(f.dir, "testdata", "fuzz", fn.Name.Name))
			if !seeded && errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s has no seed corpus", f.at(fn), fn.Name.Name)
			}
		}
	}
}

// functions returns the test functions of a file whose names begin with kind.
func functions(f source, kind string) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && f.test && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, kind) && len(fn.Type.Params.List) == 1 {
			out = append(out, fn)
		}
	}
	return out
}

// needsPackage is how a test says that it was skipped for want of a program, and how to get it. Where both are
// formatted in, .ci/run finds the skip when it happens.
var needsPackage = regexp.MustCompile(`needs (\S+) \(Debian package ([a-z0-9][a-z0-9+.-]*|%s)\)`)

// needsForeign is the same for a program that Debian does not have.
var needsForeign = regexp.MustCompile(`needs .+ \((not in Debian; |from )[^)]+\)`)

// skipLine is a skip in a script test.
var skipLine = regexp.MustCompile(`^(?:\[[^\]]*\] *)*skip\b`)

// TestSkipsSayWhy: a skip without a reason hides, and one for want of a program names the program and its package, so
// that .ci/run can install it and refuse the skip.
func TestSkipsSayWhy(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				return true
			}
			if reason := literal(call.Args); len(reason) < 10 {
				t.Errorf("%s: a skip without a reason", f.at(call))
			} else if strings.HasPrefix(reason, "needs ") && !needsPackage.MatchString(reason) && !needsForeign.MatchString(reason) {
				t.Errorf("%s: write %q or %q", f.at(call), "needs NAME (Debian package PACKAGE): …", "needs NAME (from WHERE): …")
			}
			return true
		})
	}
	for path, script := range scripts(t) {
		for i, line := range strings.Split(script, "\n") {
			line = strings.TrimSpace(line)
			if skipLine.MatchString(line) && !needsPackage.MatchString(line) && !needsForeign.MatchString(line) {
				t.Errorf("%s:%d: write %q", path, i+1, "skip 'needs NAME (Debian package PACKAGE)'")
			}
		}
	}
}

// literal returns the text of a call's first argument, "" when that is no literal.
func literal(args []ast.Expr) string {
	if len(args) == 0 {
		return ""
	}
	lit, ok := args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// scripts returns the script tests by path, without the files that they carry.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := walk(func(path string) error {
		if strings.HasSuffix(path, ".txtar") {
			script, _, _ := strings.Cut(read(t, path), "\n-- ")
			out[path] = script
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCIInstallsWhatTestsNeed: every program for want of which a test would skip is installed where the suite is run.
func TestCIInstallsWhatTestsNeed(t *testing.T) {
	installed := ciPackages(t)
	need := func(where, text string) {
		for _, m := range needsPackage.FindAllStringSubmatch(text, -1) {
			if m[2] != "%s" && !slices.Contains(installed, m[2]) {
				t.Errorf("%s needs %s: .ci/run does not install %s", where, m[1], m[2])
			}
		}
	}
	for _, f := range sources(t) {
		if f.test {
			need(f.path, string(f.text))
		}
	}
	for path, script := range scripts(t) {
		need(path, script)
	}
}

// ciPackages reads the list of Debian packages that .ci/run installs: its variable "packages".
func ciPackages(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?s)\npackages=\(([^)]*)\)`).FindStringSubmatch(read(t, ".ci/run"))
	if m == nil {
		t.Fatal(".ci/run has no list packages=(…)")
	}
	return strings.Fields(m[1])
}

// TestCIRunsEveryModule: the tests of a module of its own are not part of ./... and are run by name.
func TestCIRunsEveryModule(t *testing.T) {
	run := read(t, ".ci/run")
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "go.mod" || filepath.Dir(path) == "." {
			return err
		}
		if dir := filepath.ToSlash(filepath.Dir(path)); !strings.Contains(run, dir) {
			t.Errorf(".ci/run does not name the module %s", dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
