//go:build unix

package std

import "syscall"

// quiet tells whether a connection may carry a request: still open, and without a byte to read. Bytes that came after
// an answer would be taken for the next one's, so this is asked each time, not only where a repeat is unsafe. Under TLS
// they are the node's goodbye, or something that is cheaper to dial anew for than to look into.
func (n *nodeConn) quiet() bool {
	if n.socket == nil {
		return true // not a socket: memory, whose end is seen at once
	}
	n.bad = true
	if n.socket.Control(n.stale) != nil {
		return false
	}
	return !n.bad
}

// peek is called with the descriptor; it sets bad unless a read would have to wait.
func (n *nodeConn) peek(fd uintptr) {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	n.bad = err != syscall.EAGAIN
}
