package std

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// gone tells whether the client broke the connection: by a reset, or on a unix socket by closing it. One that only ended
// its side is not gone, because it may wait for its answer; so an event of the end of input does not say it. The connections
// of HTTP/2 streams are in memory: they are cut when the stream is reset.
func (c *conn) gone() (yes bool) {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, _ := unix.Poll(p, 0)
		yes = n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return yes
}
