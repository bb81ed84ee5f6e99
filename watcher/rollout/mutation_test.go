//go:build mutation

package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// survivors lists the conditions whose negation no test can catch, by file,
// function and condition, each with the reason.
var survivors = map[string]string{}

// TestMutation negates every condition of the package, one at a time, and
// expects its tests to notice. All mutants are compiled into one binary:
//
//	go test -tags mutation -run Mutation -timeout 2h ./watcher/rollout
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
	alive := survivorsAmong(binary, conditions)
	for _, c := range alive {
		if _, known := survivors[c.String()]; !known {
			t.Errorf("%s: nothing notices when this is negated: %s", c.at, c)
		}
	}
	for name := range survivors {
		if !slices.ContainsFunc(alive, func(c condition) bool { return c.String() == name }) {
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
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var all []condition
	replace := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var mutated []byte
		all, mutated = instrumentFile(t, name, source, all)
		replace[filepath.Join(here, name)] = write(t, dir, name, mutated)
	}
	replace[filepath.Join(here, "mutant.go")] = write(t, dir, "mutant.go", []byte(mutantSource))
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	return all, write(t, dir, "overlay.json", overlay)
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
func instrumentFile(t *testing.T, name string, source []byte, all []condition) ([]condition, []byte) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	type insertion struct {
		offset int
		text   string
	}
	var insertions []insertion
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		for _, e := range conditionsOf(f) {
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

// conditionsOf finds what a function branches on: conditions of if and for,
// cases of a switch without a tag, results of functions that return a boolean
// alone, and the operands of && and || everywhere. Outer ones come first.
func conditionsOf(f *ast.FuncDecl) []ast.Expr {
	var found []ast.Expr
	add := func(e ast.Expr) {
		if e != nil && !slices.Contains(found, e) {
			found = append(found, e)
		}
	}
	var boolean []bool // of the functions around
	var visit func(n ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			boolean = append(boolean, returnsBool(n.Type))
			ast.Inspect(n.Body, visit)
			boolean = boolean[:len(boolean)-1]
			return false
		case *ast.IfStmt:
			add(n.Cond)
		case *ast.ForStmt:
			add(n.Cond)
		case *ast.SwitchStmt:
			if n.Tag == nil {
				for _, c := range n.Body.List {
					for _, e := range c.(*ast.CaseClause).List {
						add(e)
					}
				}
			}
		case *ast.ReturnStmt:
			if boolean[len(boolean)-1] && len(n.Results) == 1 {
				add(n.Results[0])
			}
		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				add(n.X)
				add(n.Y)
			}
		}
		return true
	}
	boolean = []bool{returnsBool(f.Type)}
	ast.Inspect(f.Body, visit)
	return found
}

func returnsBool(t *ast.FuncType) bool {
	if t.Results == nil || len(t.Results.List) != 1 {
		return false
	}
	name, ok := t.Results.List[0].Type.(*ast.Ident)
	return ok && name.Name == "bool"
}

// survivorsAmong runs the mutants on all processors.
func survivorsAmong(binary string, all []condition) []condition {
	var mu sync.Mutex
	var alive []condition
	var group sync.WaitGroup
	next := make(chan condition)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for c := range next {
				if !caught(binary, c.id) {
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

// caught reports whether a test fails, or never ends, with the mutation.
func caught(binary string, id int) bool {
	for _, args := range [][]string{
		{"-test.skip", "OneThingAtATime|RotationsAndFaults|AnythingGoes", "-sequences", "100"},
		{"-test.run", "OneThingAtATime|RotationsAndFaults|AnythingGoes", "-sequences", "300"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, binary, args...)
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
