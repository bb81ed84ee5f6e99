package cluster

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"keyroll.dev/e2e/internal/repo"
)

// BinariesVariable names the environment variable that points to a folder with
// ready-made etcd, kube-apiserver and so on. Nothing is built then.
const BinariesVariable = "KEYROLL_CONTROL_PLANE"

type tool struct{ name, pkg string }

// tools are the commands of the control plane by the names of their binaries.
// Their versions stand in controlplane/go.mod.
var tools = []tool{
	{"etcd", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok"},
}

// Binaries returns the folder of the control plane's binaries, and builds them
// first if that is still to be done: minutes the first time, nothing
// afterwards. Processes that ask at the same time wait for one build. Each
// binary appears complete or not at all, so an interrupted build goes on where
// it was.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	if dir := os.Getenv(BinariesVariable); dir != "" {
		if lacking := missing(dir, tools); len(lacking) > 0 {
			return "", fmt.Errorf("%s=%s lacks %s", BinariesVariable, dir, names(lacking))
		}
		return dir, nil
	}
	root, err := repo.Root()
	if err != nil {
		return "", err
	}
	cache, err := repo.Cache()
	if err != nil {
		return "", err
	}
	b := builder{
		tools:    tools,
		module:   filepath.Join(root, "e2e", "cluster", "controlplane"),
		parent:   filepath.Join(cache, "controlplane"),
		progress: progress,
	}
	return b.run(ctx)
}

func missing(dir string, wanted []tool) []tool {
	var lacking []tool
	for _, t := range wanted {
		if _, err := os.Stat(filepath.Join(dir, t.name)); err != nil {
			lacking = append(lacking, t)
		}
	}
	return lacking
}

func names(tools []tool) string {
	var all []string
	for _, t := range tools {
		all = append(all, t.name)
	}
	return strings.Join(all, ", ")
}

type builder struct {
	tools    []tool
	module   string // folder of the go.mod that names the tools
	parent   string // holds one folder of binaries per key
	progress io.Writer
}

func (b *builder) run(ctx context.Context) (string, error) {
	mod, err := os.ReadFile(filepath.Join(b.module, "go.mod"))
	if err != nil {
		return "", err
	}
	sum, err := os.ReadFile(filepath.Join(b.module, "go.sum"))
	if err != nil {
		return "", err
	}
	flags, err := linkerFlags(mod)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.parent, key(mod, sum, flags))
	if len(missing(dir, b.tools)) == 0 {
		return dir, touch(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := repo.WaitLock(ctx, filepath.Join(b.parent, "lock"), func() {
		fmt.Fprintln(b.progress, "control plane: waiting for the build of another process")
	})
	if err != nil {
		return "", err
	}
	defer lock.Release() //nolint:errcheck // closing it is all that matters
	if err := b.build(ctx, dir, flags); err != nil {
		return "", err
	}
	return dir, b.sweep(dir)
}

// key changes with whatever changes the binaries.
func key(mod, sum []byte, flags string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s\n%d\n%s%s", runtime.Version(), runtime.GOOS, runtime.GOARCH, flags, len(mod), mod, sum)
	const length = 16
	return hex.EncodeToString(h.Sum(nil))[:length]
}

// linkerFlags stamp Kubernetes' own version, which a build from modules would
// not know: charts and clients look at what the server says it is.
func linkerFlags(mod []byte) (string, error) {
	version := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)`).FindSubmatch(mod)
	if version == nil {
		return "", errors.New("controlplane/go.mod names no version of k8s.io/kubernetes")
	}
	const set = " -X k8s.io/component-base/version."
	return fmt.Sprintf("-s -w%[1]sgitVersion=%[2]s%[1]sgitMajor=%[3]s%[1]sgitMinor=%[4]s%[1]sgitTreeState=clean",
		set, version[1], version[2], version[3]), nil
}

func (b *builder) build(ctx context.Context, dir, flags string) error {
	started := time.Now()
	lacking := missing(dir, b.tools) // looked at again: another process may have built them while we waited
	for i, t := range lacking {
		if i == 0 {
			fmt.Fprintf(b.progress, "control plane: building %s with Go (takes minutes, once)\n", names(lacking))
		}
		label := fmt.Sprintf("[%d/%d] %s", i+1, len(lacking), t.name)
		if err := b.buildOne(ctx, t, dir, flags, label); err != nil {
			return err
		}
	}
	if len(lacking) > 0 {
		fmt.Fprintf(b.progress, "control plane: built in %s, kept in %s\n", time.Since(started).Round(time.Second), dir)
	}
	return nil
}

func (b *builder) buildOne(ctx context.Context, t tool, dir, flags, label string) error {
	temporary := filepath.Join(dir, "."+t.name+".tmp")
	defer os.Remove(temporary) //nolint:errcheck // gone when all went well
	build := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-ldflags", flags, "-o", temporary, t.pkg)
	build.Dir = b.module
	build.Env = append(os.Environ(), "GOWORK=off")
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) } // go stops its compilers
	const patience = 10 * time.Second
	build.WaitDelay = patience
	if err := watchBuild(build, b.progress, label); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	return os.Rename(temporary, filepath.Join(dir, t.name))
}

// watchBuild runs go build -v, which prints a package per line as it compiles,
// and reports how far it is.
func watchBuild(build *exec.Cmd, out io.Writer, label string) error {
	pipe, err := build.StderrPipe()
	if err != nil {
		return err
	}
	if err := build.Start(); err != nil {
		return err
	}
	progress := newProgress(out, label)
	defer progress.end()
	var tail lastLines
	for lines := bufio.NewScanner(pipe); lines.Scan(); progress.compiled() {
		tail.add(lines.Text())
	}
	if err := build.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail.String())
	}
	return nil
}

// progress is one line that moves on a terminal, and a line now and then in a log.
type progress struct {
	out     io.Writer
	label   string
	lineEnd string // a carriage return lets the next line take this one's place
	started time.Time
	stop    chan struct{}
	stopped sync.WaitGroup

	mu       sync.Mutex
	packages int
}

func newProgress(out io.Writer, label string) *progress {
	p := &progress{out: out, label: label, lineEnd: "\n", started: time.Now(), stop: make(chan struct{})}
	interval := 30 * time.Second
	if isTerminal(out) {
		p.lineEnd, interval = "\r", time.Second
	}
	p.stopped.Go(func() { p.tick(interval) })
	return p
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) tick(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.print(p.lineEnd)
		}
	}
}

func (p *progress) compiled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packages++
}

func (p *progress) print(end string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "  %-36s %6s  %d packages compiled%s", p.label, time.Since(p.started).Round(time.Second), p.packages, end)
}

func (p *progress) end() {
	close(p.stop)
	p.stopped.Wait()
	p.print("\n")
}

// lastLines keeps the end of a build's output: where its errors stand.
type lastLines struct{ lines []string }

func (l *lastLines) add(line string) {
	const most = 40
	l.lines = append(l.lines, line)
	l.lines = l.lines[max(0, len(l.lines)-most):]
}

func (l *lastLines) String() string { return strings.Join(l.lines, "\n") }

func touch(dir string) error {
	now := time.Now()
	return os.Chtimes(dir, now, now)
}

// sweep removes binaries of other versions that nobody has used for long: half a gigabyte each.
func (b *builder) sweep(current string) error {
	const unused = 14 * 24 * time.Hour
	entries, err := os.ReadDir(b.parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		dir := filepath.Join(b.parent, e.Name())
		if err != nil || !e.IsDir() || dir == current || time.Since(info.ModTime()) < unused {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}
