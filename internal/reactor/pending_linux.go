package reactor

import (
	"crypto/tls"
	"net"
	"syscall"

	"roost/internal/carry"
)

// What follows is being written in other files.

type session struct{}

func (s *session) recv(l *loop, c *conn, b []byte) (int, syscall.Errno) { return 0, errEnd }
func (s *session) send(l *loop, c *conn, a, b []byte) syscall.Errno     { return syscall.EPIPE }
func (s *session) shut(l *loop, c *conn)                                {}
func (s *session) end(l *loop, c *conn)                                 {}
func (s *session) identify(p *carry.Peer)                               {}
func (s *session) passOn(nc net.Conn) net.Conn                          { return nc }
func (l *loop) secure(c *conn, conf *tls.Config)                        { l.close(c) }
func (l *loop) shake(c *conn)                                           {}
func (l *loop) shakeLate(c *conn)                                       { l.close(c) }

func (l *loop) relayConnected(n *conn)               {}
func (l *loop) relayMissed(n *conn, e syscall.Errno) {}
func (l *loop) peek(c *conn)                         {}
func (l *loop) peekLate(c *conn)                     { l.close(c) }
