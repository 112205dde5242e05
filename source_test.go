package postern

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// source is one Go file of this module.
type source struct {
	path string // from the root, with slashes
	dir  string // its package's folder; "." is the root
	test bool
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

// sources parses every Go file of this module, once for all tests. Modules of their own (a go.mod deeper down), testdata
// and folders that begin with a dot or an underscore are not part of it. The files are read anew in every run: asking
// the go command instead would let the test cache hide a violation.
func sources(t *testing.T) []source {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found: these tests look at nothing", len(files))
	}
	return files
}

var parsed = sync.OnceValues(func() ([]source, error) {
	var out []source
	err := walk(func(path string) error {
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		out = append(out, source{
			path: path, dir: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"),
			text: text, ast: file, fset: fset,
		})
		return nil
	})
	return out, err
})

// walk calls visit for every file of this module, testdata included only for what is no Go file.
func walk(visit func(path string) error) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if !d.IsDir() {
			if strings.HasSuffix(path, ".go") && strings.Contains("/"+path, "/testdata/") {
				return nil
			}
			return visit(path)
		}
		if path == "." {
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
			return filepath.SkipDir
		}
		return nil
	})
}

func (s source) imports() []string {
	var out []string
	for _, spec := range s.ast.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// localName is the name by which the file knows an imported package of the standard library; "" when it does not.
func (s source) localName(path string) string {
	for _, spec := range s.ast.Imports {
		if spec.Path.Value != strconv.Quote(path) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

// uses returns where the file names one of the identifiers of an imported package, as path:line: pkg.Name.
func (s source) uses(path string, names ...string) []string {
	local := s.localName(path)
	if local == "" {
		return nil
	}
	var out []string
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains(names, sel.Sel.Name) {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
			out = append(out, s.at(n)+": "+local+"."+sel.Sel.Name)
		}
		return true
	})
	return out
}

func (s source) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return s.path + ":" + strconv.Itoa(p.Line)
}
