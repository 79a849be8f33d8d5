//go:build linux

package reactor

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"roost"
)

// Many clients come and go, in order and not, some in the middle of what they say; nothing of them is left.
func TestTenThousandClientsLeaveNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 handshakes take seconds")
	}
	for name, secure := range map[string]bool{"clear text": false, "TLS": true} {
		echoes(t, "") // the runtime has its own descriptors now
		before := descriptors(t)
		t.Run(name, func(t *testing.T) {
			d := openTLS(t, echo, func(d *tlsDoor, _ *roost.Snapshot) {
				d.loops = loopsOfTests
				if !secure {
					d.conf = nil
				}
			})
			throng(t, d, func(i int) error {
				c, err := net.Dial("tcp", d.addr)
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				if i%4 == 0 {
					c.(*net.TCPConn).SetLinger(0)
				}
				s := c
				if secure {
					s = tls.Client(c, d.client())
				}
				if i%4 == 1 {
					_, err = io.WriteString(s, get[:len(get)/2])
					return err
				}
				if _, err = io.WriteString(s, get); err != nil || i%4 == 2 {
					return err
				}
				res, err := http.ReadResponse(bufio.NewReader(s), nil)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
				}
				return err
			})
		})
		if n := descriptors(t); n > before {
			t.Errorf("%s: %d descriptors, and %d before", name, n, before)
		}
	}
}

// throng has 10,000 clients come, 16 at a time, and fails if the heap is larger with those behind the first ones.
func throng(t *testing.T, d *tlsDoor, visit func(i int) error) {
	const waves, each, atOnce = 10, 1000, 16
	var sizes [waves]int
	for wave := range waves {
		var all sync.WaitGroup
		for k := range atOnce {
			all.Go(func() {
				for i := k; i < each; i += atOnce {
					if err := visit(i / atOnce); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		for until := time.Now().Add(20 * time.Second); d.e.Connections(0) > 0; runtime.Gosched() {
			if time.Now().After(until) {
				t.Fatalf("%d connections are left", d.e.Connections(0))
			}
		}
		sizes[wave] = heap()
	}
	t.Logf("bytes of heap after each thousand: %d", sizes)
	if first, last := sizes[1], sizes[waves-1]; last > first+1<<20 {
		t.Errorf("memory grows: %d", sizes)
	}
}

// A relay that is silent costs two records and what they share; a connection between two requests, one record. What clients
// and the node hold is none of the heap: they are bare descriptors.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	b := &bare{t: t}
	t.Cleanup(b.close)
	relays := start(t, raw, b.listen())
	b.small("a relay", 614+places, func() {
		c, n := b.dial(relays.addr), b.accept()
		b.say(c, "x")
		b.hear(n, "x")
		b.say(n, "x")
		b.hear(c, "x")
	})

	const ok = "HTTP/1.1 200 OK\r\n"
	requests := start(t, nil, node(t, func(c *net.TCPConn, _ int) {
		for br := bufio.NewReader(c); ; {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(c, ok+"Content-Length: 0\r\n\r\n")
		}
	}))
	b.small("a connection between requests", 307+places, func() {
		c := b.dial(requests.addr)
		b.say(c, get)
		b.hear(c, ok)
		requests.wait(1)
		requests.mu.Lock()
		requests.records = requests.records[:0] // they are the test's own
		requests.mu.Unlock()
	})
}

const (
	idlers = 2000 // of a relay each has four descriptors
	// places is what empty places of the slab add to each at most: a chunk of each loop.
	places = loopsOfTests * slabChunk * int(unsafe.Sizeof(conn{})) / idlers
)

// bare is clients, and a node, that are descriptors and nothing else.
type bare struct {
	t    *testing.T
	door int
	fds  []int
}

// small fails if each connection that open leaves behind costs more than most bytes of heap.
func (b *bare) small(what string, most int, open func()) {
	b.t.Helper()
	open() // what is there once is not counted
	b.fds = slices.Grow(b.fds, 2*idlers)
	before := heap()
	for range idlers {
		open()
	}
	each := (heap() - before) / idlers
	b.t.Logf("%s: %d bytes", what, each)
	if each > most {
		b.t.Errorf("%s has %d bytes, and %d at most would do", what, each, most)
	}
}

// socket is one whose calls do not wait for ever.
func (b *bare) socket() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.fds = append(b.fds, fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		b.t.Fatal(err)
	}
	return fd
}

func (b *bare) listen() (addr string) {
	b.door = b.socket()
	if err := errors.Join(unix.Bind(b.door, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(b.door, 64)); err != nil {
		b.t.Fatal(err)
	}
	name, err := unix.Getsockname(b.door)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

func (b *bare) accept() int {
	fd, err := again(func() (fd int, err error) {
		fd, _, err = unix.Accept4(b.door, unix.SOCK_CLOEXEC)
		return fd, err
	})
	if err != nil {
		b.t.Fatalf("accept: %v", err)
	}
	b.fds = append(b.fds, fd)
	return fd
}

func (b *bare) dial(addr string) int {
	to := netip.MustParseAddrPort(addr)
	fd := b.socket()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		b.t.Fatal(err)
	}
	return fd
}

func (b *bare) say(fd int, s string) {
	if _, err := unix.Write(fd, []byte(s)); err != nil {
		b.t.Fatal(err)
	}
}

// hear fails unless what comes begins with s.
func (b *bare) hear(fd int, s string) {
	var got [1024]byte
	n, err := again(func() (int, error) { return unix.Read(fd, got[:]) })
	if err != nil || !strings.HasPrefix(string(got[:n]), s) {
		b.t.Fatalf("%q, %v", got[:max(n, 0)], err)
	}
}

// again repeats a call that a signal of Go's scheduler interrupts: the system does not, where a call has a timeout.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

func (b *bare) close() {
	for _, fd := range b.fds {
		unix.Close(fd)
	}
}
