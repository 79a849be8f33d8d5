package listen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Variable is the environment variable in which a process gives its sockets to the next ([Inherited.Give]): a JSON array of
// objects, one for each descriptor from 3 on. Versions of Roost meet in it: fields may be added to the objects, none
// may change.
const Variable = "ROOST_LISTENERS"

// firstFD is the first descriptor that is passed, after the standard three, by systemd (sd_listen_fds(3)) and by us.
const firstFD = 3

const (
	// maxInherited bounds what is believed of a number of descriptors: a typing error must not make us touch thousands.
	maxInherited = 1024
	// maxGiven bounds the sockets of the process before, of which each listener has one for each loop: more than a variable of
	// the environment holds.
	maxGiven = 8 << 10
)

// Inherited are the listening sockets that this process was started with, by systemd's socket activation or by the
// process that it replaces. A nil *Inherited has none. It is not for concurrent use.
type Inherited struct {
	sockets []*heir
	left    []string // paths of unix sockets that nobody asked for, and that are ours to remove
}

// heir is one inherited socket.
type heir struct {
	given
	name    string // for people
	ln      net.Listener
	claimed bool
}

// given is what the process before says of one socket.
type given struct {
	Address  string `json:"address"`            // as it was configured; "" from systemd
	Listener int    `json:"listener,omitempty"` // which one: two may have port 0, and one may have several sockets
	Foreign  bool   `json:"foreign,omitempty"`  // the path of a unix socket is its maker's to remove, never ours
}

// Inherit takes over the sockets that this process was started with, and clears the environment of them, so that no child
// believes they are its own. It is called once, early. The error says which descriptor cannot be listened on, and why.
func Inherit() (*Inherited, error) {
	gifts, names, err := announced(os.Getenv, os.Getpid())
	for _, v := range []string{Variable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(v)
	}
	if err != nil {
		return nil, fmt.Errorf("inherit sockets: %w", err)
	}
	in := &Inherited{}
	for i, g := range gifts {
		ln, err := adopt(firstFD + i)
		if err != nil {
			in.CloseRest()
			return nil, fmt.Errorf("inherit sockets: descriptor %d (%s): %w", firstFD+i, names[i], err)
		}
		in.sockets = append(in.sockets, &heir{given: g, name: names[i], ln: ln})
	}
	return in, nil
}

// announced says which sockets the environment announces, and what to call them.
func announced(getenv func(string) string, pid int) (gifts []given, names []string, err error) {
	if text := getenv(Variable); text != "" {
		if err := json.Unmarshal([]byte(text), &gifts); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", Variable, err)
		}
		if len(gifts) > maxGiven {
			return nil, nil, fmt.Errorf("%s: %d sockets; at most %d are taken", Variable, len(gifts), maxGiven)
		}
		for _, g := range gifts {
			names = append(names, g.Address)
		}
		return gifts, names, nil
	}
	if getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil, nil // none, or meant for a process above us (sd_listen_fds(3))
	}
	n, err := strconv.ParseUint(getenv("LISTEN_FDS"), 10, 32)
	if err != nil || n > maxInherited {
		return nil, nil, fmt.Errorf("LISTEN_FDS %q is not a number from 0 to %d", getenv("LISTEN_FDS"), maxInherited)
	}
	names = strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for i := range int(n) {
		gifts = append(gifts, given{Foreign: true})
		if i == len(names) {
			names = append(names, "")
		}
		if names[i] == "" {
			names[i] = "unknown" // systemd's own word
		}
	}
	return gifts, names, nil
}

// adopt makes a listener of a descriptor, which is closed, or says why it cannot be one. Then it is left alone: it may be
// anything.
func adopt(fd int) (net.Listener, error) {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	switch {
	case errors.Is(err, syscall.EBADF):
		return nil, errors.New("is not open; the environment speaks of more descriptors than there are")
	case errors.Is(err, syscall.ENOTSOCK):
		return nil, errors.New("is not a socket")
	case err != nil:
		return nil, err
	case kind != syscall.SOCK_STREAM:
		return nil, errors.New("is not a stream socket; with systemd, use ListenStream=")
	}
	if listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err == nil && listens == 0 {
		return nil, errors.New("is a socket that does not listen; with systemd, use Accept=no")
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "inherited")
	defer f.Close() // the listener has a duplicate
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, errors.New("is neither a TCP nor a unix socket")
	}
	return unwatched(ln)
}

// Open listens on address: with the inherited sockets that are meant for it, however many, or else with n as OpenShared does,
// and beside inherited sockets that overlap it. Meant for it are those that the process before had under the same text, or else
// those that are bound to it. systemd may give one socket for IPv4 and one for IPv6 where one address was asked for:
// then the listener accepts from both. Inherited sockets that address covers, and that nobody has asked for, are taken along
// as in [OpenBeside].
func (in *Inherited) Open(address string, n int) (net.Listener, error) {
	if in == nil {
		return OpenShared(address, n)
	}
	var lns []net.Listener
	for _, h := range in.meant(address) {
		h.claimed = true
		lns = append(lns, h.ln)
	}
	if len(lns) > 0 {
		return together(lns), nil
	}
	m := mean(address)
	var covered []net.Listener
	for _, h := range in.sockets {
		if !h.claimed && m.covers(h.ln.Addr()) {
			covered = append(covered, h.ln)
		}
	}
	ln, err := OpenBeside(address, n, in.listeners(), covered)
	if err == nil {
		closeAll(covered) // the listener has duplicates
		in.sockets = slices.DeleteFunc(in.sockets, func(h *heir) bool { return slices.Contains(covered, h.ln) })
	}
	return ln, err
}

// meant are the sockets that nobody has claimed and that are meant for address.
func (in *Inherited) meant(address string) (mine []*heir) {
	for _, h := range in.sockets {
		if !h.claimed && h.Address == address && (mine == nil || h.Listener == mine[0].Listener) {
			mine = append(mine, h)
		}
	}
	if mine != nil {
		return mine
	}
	m := mean(address)
	for _, h := range in.sockets {
		if !h.claimed && m.is(h.ln.Addr()) {
			mine = append(mine, h)
		}
	}
	return mine
}

func (in *Inherited) listeners() []net.Listener {
	var lns []net.Listener
	for _, h := range in.sockets {
		lns = append(lns, h.ln)
	}
	return lns
}

// CloseRest closes the sockets that no Open asked for, and says which they were.
func (in *Inherited) CloseRest() []string {
	if in == nil {
		return nil
	}
	var rest []string
	in.sockets = slices.DeleteFunc(in.sockets, func(h *heir) bool {
		if h.claimed {
			return false
		}
		h.ln.Close()
		name := h.ln.Addr().String()
		if h.ln.Addr().Network() == "unix" && !h.Foreign {
			in.left = append(in.left, name)
		}
		if h.name != name {
			name += " (" + h.name + ")"
		}
		rest = append(rest, name)
		return true
	})
	return rest
}

// Own is called once this process serves in place of the one before: from now on the paths of the unix sockets that it
// gave are removed by us: when we close them, and now those that nobody asked for. Until then they are its own, and a start
// that fails leaves them alone.
func (in *Inherited) Own() {
	if in == nil {
		return
	}
	for _, h := range in.sockets {
		if ln, ok := h.ln.(*net.UnixListener); ok && !h.Foreign {
			ln.SetUnlinkOnClose(true)
		}
	}
	for _, path := range in.left {
		os.Remove(path) // one that is gone already is no trouble
	}
	in.left = nil
}

// foreign tells whether the path of a unix socket is another's to remove.
func (in *Inherited) foreign(ln net.Listener) bool {
	return in != nil && slices.ContainsFunc(in.sockets, func(h *heir) bool { return h.ln == ln && h.Foreign })
}
