package main

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestCPUIn(t *testing.T) {
	stat := "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 100 1000 10"
	if got, err := cpuIn(stat); got != 1750*time.Millisecond || err != nil {
		t.Errorf("%s, %v; want 1.75s", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 25 0"} {
		if _, err := cpuIn(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestStatusIn(t *testing.T) {
	const status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	if got, err := statusIn(status, "VmHWM"); got != 2 || err != nil {
		t.Errorf("%v MiB, %v; want 2", got, err)
	}
	if _, err := statusIn(status, "VmSwap"); err == nil {
		t.Error("no error for what is not there")
	}
}

func TestProcessIsSeen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel of Linux counts for us")
	}
	pid := os.Getpid()
	if _, err := cpuOf(pid); err != nil {
		t.Error(err)
	}
	now, err := memoryOf(pid)
	if err != nil || now <= 0 {
		t.Errorf("%v MiB, %v", now, err)
	}
	if peak, err := peakOf(pid); err != nil || peak <= 0 {
		t.Errorf("peak %v MiB, %v", peak, err)
	}
}
