package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// orphanVariable makes the test binary boot a cluster, print its run folder and
// pids, and wait to be killed.
const orphanVariable = "KEYROLL_TEST_ORPHAN"

func beOrphaned() {
	c, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.run.dir, strings.Trim(fmt.Sprint(c.pids()), "[]"))
	select {}
}

func (c *Cluster) pids() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pids []int
	for _, p := range c.running {
		pids = append(pids, p.Pid())
	}
	return pids
}

func TestStopLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logs := t.TempDir()
	c, err := Start(ctx, Options{LogDir: logs})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	c.AtStop(func() { order = append(order, "first") })
	c.AtStop(func() {
		if _, err := c.APIServerMetrics(context.Background()); err != nil {
			t.Errorf("no API server for those that stop before it: %v", err)
		}
		order = append(order, "second")
	})
	pids := c.pids()
	if len(pids) != 5 {
		t.Fatalf("pids %v", pids)
	}

	cancel() // the context's end and Stop at the same time
	c.Stop()
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is alive", pid)
		}
	}
	if !slices.Equal(order, []string{"second", "first"}) {
		t.Errorf("called at stop: %v", order)
	}
	if _, err := os.Stat(c.run.dir); !os.IsNotExist(err) {
		t.Errorf("files are left: %v", err)
	}
	if kept, _ := filepath.Glob(filepath.Join(logs, "*.log")); len(kept) < 5 {
		t.Errorf("logs kept: %v", kept)
	}
	if err := c.StartAPIServer(t.Context()); err == nil {
		t.Error("a stopped cluster started a process")
	}
}

func TestNothingIsLeftOfAKilledRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells processes that their parent is gone")
	}
	run := exec.CommandContext(t.Context(), os.Args[0])
	run.Env = append(os.Environ(), orphanVariable+"=1")
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	if len(words) != 6 {
		t.Fatalf("it said %q", line)
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()

	for _, word := range words[1:] {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("process %d gone", pid), func() (bool, string) {
			state := processState(pid)
			return state == "" || state == "Z", "state " + state // nobody may be there to reap an orphan
		})
	}
	if _, err := os.Stat(words[0]); err != nil {
		t.Fatalf("the killed run's folder: %v", err)
	}
	sweepRuns(filepath.Dir(words[0]))
	if _, err := os.Stat(words[0]); !os.IsNotExist(err) {
		t.Errorf("the next start leaves its folder: %v", err)
	}
	if _, err := os.Stat(shared.run.dir); err != nil {
		t.Errorf("the folder of a living cluster was swept: %v", err)
	}
}

// processState is the state letter of a process, empty when there is none.
func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}
