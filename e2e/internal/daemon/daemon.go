// Package daemon runs the processes of a test cluster so that none outlives
// the test: each has a log file of its own, a process group of its own (Ctrl-C
// at the terminal reaches us only, and we stop them in order), and on Linux the
// kernel kills it when we are gone, however we went.
package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string // for people: messages and the log file's name
	Path string // the executable
	Args []string
	Env  []string // the whole environment; nothing is inherited
	Dir  string   // working directory; empty: ours
	Logs string   // folder of the log file; must exist
}

// Process is one run of a Spec.
type Process struct {
	spec    Spec
	cmd     *exec.Cmd
	logPath string
	done    chan struct{}
	err     error // how it ended; set before done is closed
	asked   atomic.Bool
}

// Start runs spec. Output is appended to NAME.log, so that the log of a process
// that is started again holds all of its runs.
func Start(spec Spec) (*Process, error) {
	p := &Process{
		spec:    spec,
		logPath: filepath.Join(spec.Logs, spec.Name+".log"),
		done:    make(chan struct{}),
	}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", spec.Name, err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor

	//nolint:noctx // a process ends by Stop or Kill, in the order that its owner wants, not with a context
	p.cmd = exec.Command(spec.Path, spec.Args...)
	p.cmd.Env, p.cmd.Dir = spec.Env, spec.Dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = attributes()
	if err := onSpawner(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// Name is the name in its Spec.
func (p *Process) Name() string { return p.spec.Name }

// Pid is the process id; it may be reused once Done is closed.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Spec is what was run: start it again for another run of the same.
func (p *Process) Spec() Spec { return p.spec }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how a process ended that nobody asked to end, with the last lines
// of its log. It is nil while it runs, and nil after Stop and Kill.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if p.asked.Load() {
		return nil
	}
	how := p.err
	if how == nil {
		how = errors.New("exit status 0")
	}
	return fmt.Errorf("%s ended by itself: %w\n%s", p.spec.Name, how, p.Tail(tailLines))
}

// Stop asks the process to end (SIGTERM) and waits. After grace it kills it,
// and says so in its error. Stopping what has ended is no error.
func (p *Process) Stop(grace time.Duration) error {
	if p.ended() {
		return nil
	}
	p.asked.Store(true)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed\n%s", p.spec.Name, grace, p.Tail(tailLines))
	}
}

// Kill ends the process at once (SIGKILL) and waits.
func (p *Process) Kill() {
	if p.ended() {
		return
	}
	p.asked.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// Pause freezes the process (SIGSTOP), as a node that hangs would; Resume lets it go on.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal goes to the whole group, so that a process's own children end with it.
// A process that has ended in the meantime is not worth an error.
func (p *Process) signal(s syscall.Signal) { _ = syscall.Kill(-p.Pid(), s) }

// ExitCode is the exit status after Done, -1 if a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// LogPath is the file that the output goes to.
func (p *Process) LogPath() string { return p.logPath }

// Logs is all output so far.
func (p *Process) Logs() string {
	data, err := os.ReadFile(p.logPath)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(data)
}

const tailLines = 25

// Tail is the end of the output, under a line that says whose it is and where the rest stands.
func (p *Process) Tail(lines int) string {
	const longest = 600 // a flag dump or a stack of JSON must not hide the other lines
	all := bytes.Split(bytes.TrimRight([]byte(p.Logs()), "\n"), []byte("\n"))
	all = all[max(0, len(all)-lines):]
	var b strings.Builder
	fmt.Fprintf(&b, "--- last %d lines of %s (%s)\n", len(all), p.spec.Name, p.logPath)
	for _, line := range all {
		if len(line) > longest {
			line = append(line[:longest:longest], "..."...)
		}
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return b.String()
}
