package e2e

import (
	"os/exec"
	"syscall"
)

// tie makes a program die with the test binary, and gives it a process group of its own, so that what it starts can be
// ended with it.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
