//go:build !linux

package e2e

import (
	"os/exec"
	"syscall"
)

// tie gives a program a process group of its own, so that what it starts can be ended with it. Only Linux can also make
// it die with the test binary.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
