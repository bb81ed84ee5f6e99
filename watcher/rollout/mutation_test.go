//go:build mutation

package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var mutants = flag.String("mutants", "", "of the conditions, negate only those whose file, function and text match this expression")

// survivors lists the conditions whose negation no test can catch, by file,
// function and condition, each with the reason.
var survivors = map[string]string{
	"content.go secretsPrint: capped": "the two kinds of print differ as well when they change places",
}

// TestMutation negates every condition of the package, one at a time, and
// expects its tests to notice. All mutants are compiled into one binary:
//
//	go test -tags mutation -run Mutation -timeout 2h ./watcher/rollout
//	go test -tags mutation -run Mutation ./watcher/rollout -mutants '^view.go ended:'
//
// Each one is given to the table tests first, and to the simulations if it
// survives those.
func TestMutation(t *testing.T) {
	if os.Getenv("MUTANT") != "" {
		t.Skip("this is a mutant")
	}
	dir := t.TempDir()
	conditions, overlay := instrument(t, dir)
	binary := filepath.Join(dir, "mutants.test")
	run(t, "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
	if caught(binary, -1) {
		t.Fatal("the tests fail without a mutation")
	}
	chosen := regexp.MustCompile(*mutants)
	conditions = slices.DeleteFunc(conditions, func(c condition) bool { return !chosen.MatchString(c.String()) })
	alive := survivorsAmong(t, binary, conditions)
	for _, c := range alive {
		if _, known := survivors[c.String()]; !known {
			t.Errorf("%s: nothing notices when this is negated: %s", c.at, c)
		}
	}
	for name := range survivors {
		if chosen.MatchString(name) && !slices.ContainsFunc(alive, func(c condition) bool { return c.String() == name }) {
			t.Errorf("listed as a survivor, but is caught or gone: %s", name)
		}
	}
	t.Logf("%d conditions negated, %d survive", len(conditions), len(alive))
}

// condition is one boolean expression that something depends on.
type condition struct {
	id             int
	file, function string
	text           string
	at             token.Position
}

func (c condition) String() string { return c.file + " " + c.function + ": " + c.text }

// instrument writes a copy of each file in which every condition can be
// negated, and returns the overlay that puts the copies in place.
func instrument(t *testing.T, dir string) ([]condition, string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	set := token.NewFileSet()
	var files []*ast.File
	var sources [][]byte
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(set, name, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		files, sources = append(files, file), append(sources, source)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", exported)}
	if _, err := config.Check("rollout", set, files, info); err != nil {
		t.Fatal(err)
	}
	var all []condition
	replace := map[string]string{}
	for i, name := range names {
		var mutated []byte
		all, mutated = instrumentFile(set, files[i], info, sources[i], all)
		replace[filepath.Join(here, name)] = write(t, dir, name, mutated)
	}
	replace[filepath.Join(here, "mutant.go")] = write(t, dir, "mutant.go", []byte(mutantSource))
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	return all, write(t, dir, "overlay.json", overlay)
}

// exported opens what the compiler has written of a package that is imported.
func exported(path string) (io.ReadCloser, error) {
	out, err := exec.Command("go", "list", "-export", "-f", "{{.Export}}", path).Output()
	if err != nil {
		return nil, err
	}
	return os.Open(strings.TrimSpace(string(out)))
}

const mutantSource = `package rollout

import (
	"os"
	"strconv"
)

var activeMutant, _ = strconv.Atoi(os.Getenv("MUTANT"))

func mutant[B ~bool](id int, b B) B { return b != (id == activeMutant) }
`

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// instrumentFile wraps the conditions of one file, the inner ones too.
func instrumentFile(set *token.FileSet, file *ast.File, info *types.Info, source []byte, all []condition) ([]condition, []byte) {
	type insertion struct {
		offset int
		text   string
	}
	name := set.Position(file.Package).Filename
	var insertions []insertion
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		for _, e := range conditionsOf(f, info) {
			from, to := set.Position(e.Pos()), set.Position(e.End())
			c := condition{len(all) + 1, name, f.Name.Name, string(source[from.Offset:to.Offset]), from}
			all = append(all, c)
			insertions = append(insertions, insertion{from.Offset, "mutant(" + strconv.Itoa(c.id) + ", "}, insertion{to.Offset, ")"})
		}
	}
	slices.SortStableFunc(insertions, func(a, b insertion) int { return a.offset - b.offset })
	var out bytes.Buffer
	last := 0
	for _, i := range insertions {
		out.Write(source[last:i.offset])
		out.WriteString(i.text)
		last = i.offset
	}
	out.Write(source[last:])
	return all, out.Bytes()
}

// conditionsOf finds every boolean that a function computes, wherever it goes,
// and every one that it returns; outer ones come first. Left out are constants
// that are not returned, a negation's operand, which is the same mutant again, and
// the cases of a switch over a value, which are compared one at a time by their code.
func conditionsOf(f *ast.FuncDecl, info *types.Info) []ast.Expr {
	var found []ast.Expr
	skip := map[ast.Expr]bool{}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				skip[e] = true
			}
		case *ast.RangeStmt:
			skip[n.Key], skip[n.Value] = true, true
		case *ast.KeyValueExpr:
			skip[n.Key] = true
		case *ast.UnaryExpr:
			skip[n.X] = n.Op == token.NOT
		case *ast.ReturnStmt:
			for _, e := range n.Results {
				if value := info.Types[e]; value.Value != nil && isBool(value.Type) {
					found = append(found, e)
				}
			}
		case *ast.SelectorExpr:
			skip[n.Sel] = true
		}
		if e, ok := n.(ast.Expr); ok && !skip[e] && isCondition(e, info) {
			found = append(found, e)
		}
		return true
	})
	return found
}

func isCondition(e ast.Expr, info *types.Info) bool {
	value, known := info.Types[e]
	if id, ok := e.(*ast.Ident); ok && !known {
		_, variable := info.Uses[id].(*types.Var)
		return variable && isBool(info.Uses[id].Type())
	}
	return known && value.IsValue() && value.Value == nil && isBool(value.Type)
}

func isBool(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0
}

// survivorsAmong runs the mutants on all processors.
func survivorsAmong(t *testing.T, binary string, all []condition) []condition {
	var mu sync.Mutex
	var alive []condition
	var group sync.WaitGroup
	next := make(chan condition)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for c := range next {
				if !caught(binary, c.id) {
					t.Logf("%s: survives: %s", c.at, c)
					mu.Lock()
					alive = append(alive, c)
					mu.Unlock()
				}
			}
		})
	}
	for _, c := range all {
		next <- c
	}
	close(next)
	group.Wait()
	slices.SortFunc(alive, func(a, b condition) int { return a.id - b.id })
	return alive
}

const simulations = "OneThingAtATime|RotationsAndFaults|AnythingGoes|SimulationNotices"

// processorTime is what the tests of a mutant may take: one that never ends is
// caught, one that waits for its turn on a busy machine is not.
const processorTime = "20" // seconds, several times what they need

// caught reports whether a test fails, or never ends, with the mutation.
func caught(binary string, id int) bool {
	for _, args := range [][]string{
		{"-test.skip", simulations, "-test.failfast", "-sequences", "100"},
		{"-test.run", simulations, "-test.failfast", "-sequences", "200"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", "ulimit -t " + processorTime + ` && exec "$@"`, "sh", binary}, args...)...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", id))
		err := cmd.Run()
		cancel()
		if err != nil {
			return true
		}
	}
	return false
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
