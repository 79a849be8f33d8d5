package reactor

import "syscall"

// What follows is being written in other files.

func (l *loop) relayConnected(n *conn)               {}
func (l *loop) relayMissed(n *conn, e syscall.Errno) {}
func (l *loop) peek(c *conn)                         {}
func (l *loop) peekLate(c *conn)                     { l.close(c) }
