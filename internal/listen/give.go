package listen

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket is an open listener and the address that it was asked for with.
type Socket struct {
	Address  string
	Listener net.Listener
}

// Gift is what another process needs to serve our sockets beside us, or in our place.
type Gift struct {
	Files []*os.File // its descriptors from 3 on, in this order
	Env   string     // to be in its environment: NAME=VALUE
	ours  []net.Listener
}

// Give makes duplicates of sockets for a process that will [Inherit] them. Nothing about our own changes; the receiver says
// what this process itself inherited. Close the gift when the other process has started.
func (in *Inherited) Give(open []Socket) (*Gift, error) {
	g := &Gift{}
	var what []given
	for i, s := range open {
		for _, ln := range sockets([]net.Listener{s.Listener}) {
			f, err := duplicate(ln, s.Address)
			if err != nil {
				g.Close()
				return nil, fmt.Errorf("duplicate the socket of %s: %w", s.Address, err)
			}
			g.Files = append(g.Files, f)
			g.ours = append(g.ours, ln)
			what = append(what, given{Address: s.Address, Listener: i, Foreign: in.foreign(ln)})
		}
	}
	text, err := json.Marshal(what)
	if err != nil {
		panic(err) // strings and booleans always have a form
	}
	g.Env = Variable + "=" + string(text)
	return g, nil
}

// Taken says that the other process serves: the paths of unix sockets are now its own to remove, and closing our
// listeners leaves them.
func (g *Gift) Taken() {
	for _, ln := range g.ours {
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
	}
}

// Close closes the duplicates. Our listeners and the other process's stay.
func (g *Gift) Close() {
	for _, f := range g.Files {
		f.Close()
	}
}

// duplicate is not the listener's own File: of that one, os/exec makes a blocking descriptor, and all duplicates of a
// socket are blocking together. A listener of ours would then hang in accept, beyond the reach of Close, whenever the
// other process is faster.
func duplicate(socket any, name string) (*os.File, error) {
	fd, err := duplicateFD(socket)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func duplicateFD(socket any) (fd int, err error) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T is not a socket", socket)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var derr error
	if err := raw.Control(func(s uintptr) { fd, derr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	return fd, derr
}
