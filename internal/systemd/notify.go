// Package systemd tells the service manager how the service is (sd_notify(3)).
//
// Without NOTIFY_SOCKET in the environment, and so anywhere but under systemd and what speaks its protocol, everything
// here does nothing. No call takes longer than a second.
//
// Trap: after Reloading the manager waits for Ready, whatever became of the reload.
package systemd

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sendTimeout bounds a message: a manager whose queue is full must not hold up traffic.
const sendTimeout = time.Second

// Ready says that the service serves, at its start and after a reload.
func Ready() error { return Notify("READY=1") }

// Reloading says that a reload began. Type=notify-reload needs the time of it (systemd 253).
func Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("tell systemd of a reload: read the clock: %w", err)
	}
	return Notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping says that the service drains and ends.
func Stopping() error { return Notify("STOPPING=1") }

// MainPID says that another process is the service from now on. Only the present one is believed (NotifyAccess=main).
func MainPID(pid int) error { return Notify(fmt.Sprintf("MAINPID=%d", pid)) }

// Notify sends state as it is: lines of NAME=VALUE.
func Notify(state string) error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	if address[0] != '/' && address[0] != '@' {
		return fmt.Errorf("tell systemd: NOTIFY_SOCKET %q is neither a path nor an abstract name", address)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}
