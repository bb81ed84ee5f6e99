//go:build !linux

package daemon

import "syscall"

// attributes without Linux's Pdeathsig: processes end with Stop, Kill and
// Ctrl-C, but outlive us if we are killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func onSpawner(start func() error) error { return start() }
