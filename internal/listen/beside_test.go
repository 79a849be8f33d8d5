package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// port is that of an open listener.
func port(t *testing.T, ln net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// reaches fails unless a connection to address arrives at ln.
func reaches(t *testing.T, ln net.Listener, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ln.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(10 * time.Second))
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatalf("%s reaches another socket than %s: %v", address, ln.Addr(), err)
	}
	defer accepted.Close()
	if accepted.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Errorf("%s: another connection, from %v", address, accepted.RemoteAddr())
	}
}

// talking keeps a connection open to ln, as those that a reload finds.
func talking(t *testing.T, ln net.Listener) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+port(t, ln))
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); accepted.Close() })
}

func TestAnAddressThatOverlapsOneOfOursIsOpenedBesideIt(t *testing.T) {
	for _, x := range []struct{ old, fresh string }{
		{":", "127.0.0.1:"},
		{"127.0.0.1:", ":"},
		{"127.0.0.1:", "[::]:"},
		{"0.0.0.0:", "localhost:"},
		{"[::]:", "127.0.0.1:"},
		{"[::1]:", ":"},
		{":", "[::1]:"},
	} {
		t.Run(fmt.Sprintf("%s and then %s", x.old, x.fresh), func(t *testing.T) {
			old := open(t, x.old+"0")
			n := port(t, old)
			if x.old != "[::1]:" {
				talking(t, old) // connections of the old one must not be in the way
			}
			if _, err := Open(x.fresh + n); !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("they do not overlap: %v", err)
			}
			fresh, err := OpenBeside(x.fresh+n, 1, []net.Listener{open(t, ":0"), old}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer fresh.Close()
			precise, other := fresh, old
			if strings.Contains(x.old, "1") {
				precise, other = old, fresh
			}
			reaches(t, precise, precise.Addr().String())
			reaches(t, other, "127.0.0.2:"+n)
			// A balancer that is started a second time does not get in.
			for _, a := range []string{":", "127.0.0.1:"} {
				if ln, err := Open(a + n); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%s is open a third time: %v, %v", a, ln, err)
				}
			}
			// Once the old one is closed, the new one has it all.
			old.Close()
			if other == fresh {
				reaches(t, fresh, "127.0.0.1:"+n)
			}
			reaches(t, fresh, fresh.Addr().String())
		})
	}
}

func TestWhatCannotBeOpenedBesideOursSaysSo(t *testing.T) {
	one, ours := open(t, "127.0.0.1:0"), open(t, ":0")
	shared := openShared(t, "127.0.0.1:0", 2) // another balancer's, that lets sockets of the same user share
	near := open(t, "127.0.0.2:"+port(t, shared))
	unix := "unix:" + socketDir(t) + "/s"
	open(t, unix)
	for _, x := range []struct {
		address string
		old     []net.Listener
		want    string
	}{
		{":" + port(t, one), []net.Listener{ours}, "address already in use by another process"}, // nothing of ours overlaps it
		{"127.0.0.1:" + port(t, one), nil, "address already in use by another process"},
		{shared.Addr().String(), []net.Listener{near}, "address already in use by another process"}, // of ours, nothing overlaps it
		{unix, []net.Listener{ours}, "address already in use by another process"},
		{"203.0.113.1:" + port(t, ours), []net.Listener{ours}, "no interface of this machine has it"},
	} {
		ln, err := OpenBeside(x.address, 1, x.old, nil)
		if err == nil {
			ln.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "listen on "+x.address) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %q does not say %q", x.address, err, x.want)
		}
	}
}

// Whoever changes an address that overlaps the new one loses no connection: here clients knock without a pause.
func TestNoConnectionIsLostFromOneAddressToAnotherThatOverlaps(t *testing.T) {
	for _, sockets := range []int{1, 4} {
		t.Run(fmt.Sprint(sockets, " sockets"), func(t *testing.T) { moveAround(t, sockets) })
	}
}

func moveAround(t *testing.T, each int) {
	ln := openShared(t, "127.0.0.1:0", each)
	n := port(t, ln)
	stop := make(chan struct{})
	made, faults := make(chan struct{}), make(chan error, 4)
	for range cap(faults) {
		go func() { faults <- knock("127.0.0.1:"+n, stop, made) }()
	}
	var servers sync.WaitGroup
	answer(&servers, ln)
	for _, address := range []string{":", "127.0.0.1:", "localhost:", "0.0.0.0:", "[::]:", "127.0.0.1:", ":"} {
		for range 4 { // to the same address, too
			leaving := []net.Listener{ln}
			fresh, err := OpenBeside(address+n, each, leaving, leaving)
			if err != nil {
				t.Fatal(err)
			}
			answer(&servers, fresh)
			// It leaves as engines make it leave: what waits is accepted, and then it is closed.
			ln.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(time.Millisecond))
			ln = fresh
			for range 100 {
				select {
				case <-made:
				case err := <-faults:
					t.Fatal(err)
				}
			}
		}
	}
	close(stop)
	for range cap(faults) {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
	ln.Close()
	servers.Wait()
	if conn, err := net.Dial("tcp", "127.0.0.1:"+n); err == nil {
		conn.Close()
		t.Error("something of it is still open")
	}
}

// answer accepts until ln ends, and then closes it.
func answer(wg *sync.WaitGroup, ln net.Listener) {
	wg.Go(func() {
		defer ln.Close()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "x")
			conn.Close()
		}
	})
}

// knock connects again and again until stop, and waits for an answer each time.
func knock(address string, stop <-chan struct{}, made chan<- struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = io.ReadFull(conn, make([]byte, 1))
		conn.Close()
		if err != nil {
			return err
		}
		select {
		case made <- struct{}{}:
		case <-stop:
		}
	}
}
