package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentVariable makes the test binary a parent that starts a process, prints
// its pid, and then ends in the way that the value names.
const parentVariable = "KEYROLL_TEST_PARENT_ENDS_BY"

func TestMain(m *testing.M) {
	if how := os.Getenv(parentVariable); how != "" {
		beParent(how)
	}
	os.Exit(m.Run())
}

func beParent(how string) {
	dir, err := os.MkdirTemp("", "daemon")
	if err != nil {
		panic(err)
	}
	p, err := Start(Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", "sleep 600"}, Logs: dir})
	if err != nil {
		panic(err)
	}
	_ = os.RemoveAll(dir)
	fmt.Println(p.Pid())
	if how == "panic" {
		panic("as a test might")
	}
	select {}
}

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}, Logs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// waitLog returns once the process has printed want: its traps are set by then.
func waitLog(t *testing.T, p *Process, want string) {
	t.Helper()
	eventually(t, "log holds "+want, func() bool { return strings.Contains(p.Logs(), want) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen in 20s: %s", what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopLetsAProcessEndByItself(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`)
	waitLog(t, p, "ready")
	if err := p.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(p.Logs(), "bye\n") || p.ExitCode() != 0 || p.Err() != nil {
		t.Fatalf("log %q, exit %d, err %v", p.Logs(), p.ExitCode(), p.Err())
	}
	if err := p.Stop(time.Second); err != nil {
		t.Fatalf("second stop: %v", err)
	}
}

func TestStopKillsWhatDoesNotListenAndSaysSo(t *testing.T) {
	p := shell(t, `trap '' TERM; echo deaf; while :; do sleep 0.05; done`)
	waitLog(t, p, "deaf")
	err := p.Stop(100 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "deaf") {
		t.Fatalf("error without the log: %v", err)
	}
	if alive(p.Pid()) {
		t.Fatal("still alive")
	}
}

func TestKillReachesTheWholeGroup(t *testing.T) {
	p := shell(t, `sleep 600 & echo $!; wait`)
	eventually(t, "the grandchild's pid", func() bool { return strings.HasSuffix(p.Logs(), "\n") })
	grandchild, err := strconv.Atoi(strings.TrimSpace(p.Logs()))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	eventually(t, "grandchild gone", func() bool { return gone(grandchild) })
}

func TestAProcessThatEndsByItselfIsToldWithItsLog(t *testing.T) {
	p := shell(t, `echo the reason; exit 3`)
	<-p.Done()
	err := p.Err()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "the reason") {
		t.Fatalf("err %v", err)
	}
}

func TestTailCutsLongLogsAndLongLines(t *testing.T) {
	p := shell(t, `seq 1 100; head -c 5000 /dev/zero | tr '\0' x; echo; echo last`)
	<-p.Done()
	tail := p.Tail(3)
	if strings.Contains(tail, "99\n") || !strings.Contains(tail, "100\n") || !strings.Contains(tail, "x...\n    last\n") || len(tail) > 1000 {
		t.Fatalf("tail is\n%s", tail)
	}
}

func TestNoProcessOutlivesItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent is gone")
	}
	ends := map[string]func(parent *os.Process) error{
		"panic":   func(*os.Process) error { return nil },
		"SIGKILL": func(p *os.Process) error { return p.Signal(syscall.SIGKILL) },
		"SIGINT":  func(p *os.Process) error { return p.Signal(syscall.SIGINT) },
	}
	for how, end := range ends {
		t.Run(how, func(t *testing.T) {
			parent := exec.CommandContext(t.Context(), os.Args[0])
			parent.Env = append(os.Environ(), parentVariable+"="+how)
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			if err := end(parent.Process); err != nil {
				t.Fatal(err)
			}
			if err := parent.Wait(); err == nil {
				t.Fatal("the parent ended well")
			}
			eventually(t, "child gone", func() bool { return gone(pid) })
		})
	}
}

// gone also counts a zombie that nobody reaps: in a container without an init
// an orphan stays one for ever.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !alive(pid)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}
