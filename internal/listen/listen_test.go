package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// socketDir is a directory with a path short enough for sockets on every system.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := Open(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// reachable fails unless a connection to ln arrives there.
func reachable(t *testing.T, ln net.Listener) {
	t.Helper()
	conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
}

func TestAddressesOfEveryFormAreListenedOn(t *testing.T) {
	addresses := []string{"127.0.0.1:0", ":0", "localhost:0", "unix:" + filepath.Join(socketDir(t), "s")}
	if ln, err := net.Listen("tcp", "[::1]:0"); err == nil {
		ln.Close()
		addresses = append(addresses, "[::1]:0")
	}
	for _, address := range addresses {
		t.Run(address, func(t *testing.T) { reachable(t, open(t, address)) })
	}
}

func TestErrorsSayWhatStandsInTheWay(t *testing.T) {
	dir := socketDir(t)
	write(t, filepath.Join(dir, "file"), nil)
	taken := open(t, "127.0.0.1:0").Addr().String()
	socket := "unix:" + filepath.Join(dir, "s")
	open(t, socket)
	long := "unix:/" + strings.Repeat("x", maxUnixPath)
	for address, want := range map[string]string{
		taken:                     ": address already in use by another process",
		socket:                    ": address already in use by another process",
		"203.0.113.1:0":           "; no interface of this machine has it", // TEST-NET-3
		"8080":                    ": missing port in address; want host:port, :port, [v6]:port or unix:/path",
		"::1:80":                  ": too many colons in address; want ",
		":http":                   `: port "http" is not a number from 0 to 65535`,
		":65536":                  `: port "65536" is not a number from 0 to 65535`,
		"":                        ": missing port in address",
		"unix:":                   ": the path of a unix socket must be absolute",
		"unix:@abstract":          ": the path of a unix socket must be absolute",
		long:                      " bytes; a unix socket's can have ",
		"unix:" + dir + "/file":   ": a file that is not a socket is in the way",
		"unix:" + dir + "/none/s": ": no such file or directory",
	} {
		ln, err := Open(address)
		if err == nil {
			ln.Close()
			t.Errorf("%s: no error", address)
			continue
		}
		if !strings.HasPrefix(err.Error(), "listen on "+address+":") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %q does not say %q", address, err, want)
		}
	}
}

func TestAPrivilegedPortIsExplained(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	for port, want := range map[uint64]string{
		80:   "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE",
		8080: "permission denied",
	} {
		if err := explain(denied, port); err.Error() != want || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("port %d: %q, want %q", port, err, want)
		}
	}
}

func TestAUnixSocketIsForOwnerAndGroupAndGoesWithItsListener(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	ln := open(t, "unix:"+path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != socketMode {
		t.Errorf("mode %v, want %v", info.Mode().Perm(), socketMode)
	}
	ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
}

func TestTheSocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	dead.Close()
	reachable(t, open(t, "unix:"+path))
}

func TestTheSocketOfALivingProcessIsLeftAlone(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	open(t, "unix:"+path)
	if _, err := Open("unix:" + path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("error %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
