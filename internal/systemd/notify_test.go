package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager receives what services tell at address.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	return conn
}

func path(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	text := make([]byte, 1000)
	n, err := conn.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:n])
}

func TestTheManagerHearsWhatItIsTold(t *testing.T) {
	conn := manager(t, path(t))
	for want, tell := range map[string]func() error{
		"READY=1":    Ready,
		"STOPPING=1": Stopping,
		"MAINPID=42": func() error { return MainPID(42) },
		"X=1\nY=2":   func() error { return Notify("X=1\nY=2") },
	} {
		if err := tell(); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, conn); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
}

func TestAReloadIsToldWithTheTimeOfIt(t *testing.T) {
	conn := manager(t, path(t))
	now := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano() / 1000
	}
	before := now()
	if err := Reloading(); err != nil {
		t.Fatal(err)
	}
	got := heard(t, conn)
	text, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	at, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || at < before || at > now() {
		t.Errorf("heard %q, want a time from %d to %d", got, before, now())
	}
}

func TestAnAbstractSocketIsAManagerToo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("abstract sockets are Linux's")
	}
	conn := manager(t, fmt.Sprintf("@roost-test-%d", os.Getpid()))
	if err := Ready(); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, conn); got != "READY=1" {
		t.Errorf("heard %q", got)
	}
}

func TestWithoutAManagerNothingIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	for _, tell := range []func() error{Ready, Reloading, Stopping, func() error { return MainPID(1) }} {
		if err := tell(); err != nil {
			t.Error(err)
		}
	}
}

func TestAManagerThatCannotBeToldIsAnError(t *testing.T) {
	gone := path(t)
	for address, want := range map[string]string{
		gone:                           "tell systemd: dial unixgram",
		"vsock:2:1234":                 `NOTIFY_SOCKET "vsock:2:1234" is neither a path nor an abstract name`,
		"relative/path":                "is neither a path",
		"/" + strings.Repeat("x", 200): "tell systemd: ",
	} {
		t.Setenv("NOTIFY_SOCKET", address)
		if err := Ready(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", address, err, want)
		}
	}
}

func TestAManagerThatDoesNotListenHoldsUpNobody(t *testing.T) {
	conn := manager(t, path(t))
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) })
	start := time.Now()
	for range 10_000 { // until its queue is full
		if err = Ready(); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 10*sendTimeout {
		t.Errorf("took %v", took)
	}
}
