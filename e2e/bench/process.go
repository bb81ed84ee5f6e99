package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What the kernel counts of a process (proc(5)). Linux only.

// ticks is USER_HZ: what /proc counts CPU time in on every architecture of Go's.
const ticks = 100

// cpuOf is the CPU time that a process has used so far, in user and kernel mode.
func cpuOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return cpuIn(string(data))
}

// cpuIn reads utime and stime, fields 14 and 15. The second field is the
// command's name in parentheses, which may itself hold spaces and parentheses.
func cpuIn(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("stat of a process: %q", stat)
	}
	var sum int64
	for _, field := range []string{fields[utime], fields[stime]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat of a process: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// peakOf is the most memory that a process has had resident since its start or
// since forgetPeak, in MiB; memoryOf what it has now.
func peakOf(pid int) (float64, error)   { return statusOf(pid, "VmHWM") }
func memoryOf(pid int) (float64, error) { return statusOf(pid, "VmRSS") }

func statusOf(pid int, key string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return statusIn(string(data), key)
}

// statusIn reads a size, which the kernel gives in kB.
func statusIn(status, key string) (float64, error) {
	for line := range strings.Lines(status) {
		value, found := strings.CutPrefix(line, key+":")
		if !found {
			continue
		}
		kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		return kb / 1024, err
	}
	return 0, fmt.Errorf("status of a process has no %s", key)
}

// forgetPeak begins peakOf anew.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
