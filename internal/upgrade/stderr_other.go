//go:build !linux

package upgrade

import (
	"os"

	"golang.org/x/sys/unix"
)

// become makes f our standard error.
func become(f *os.File) error {
	return os.NewSyscallError("dup2", unix.Dup2(int(f.Fd()), 2))
}
