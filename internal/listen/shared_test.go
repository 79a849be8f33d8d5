package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

func openShared(t *testing.T, address string, n int) net.Listener {
	t.Helper()
	ln, err := OpenShared(address, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// count is how many sockets ln consists of.
func count(ln net.Listener) int { return len(sockets([]net.Listener{ln})) }

func needSharing(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the system does not spread connections over sockets")
	}
}

func TestConnectionsAreSpreadOverTheSocketsOfOneAddress(t *testing.T) {
	needSharing(t)
	for _, address := range []string{"127.0.0.1:0", ":0", "localhost:0"} {
		ln := openShared(t, address, 4)
		if count(ln) != 4 {
			t.Fatalf("%s: %d sockets", address, count(ln))
		}
		var wg sync.WaitGroup
		arrived := make([]int, 4)
		for i, one := range ln.(interface{ Sockets() []net.Listener }).Sockets() {
			if port(t, one) != port(t, ln) {
				t.Errorf("%s: sockets at %s and %s", address, one.Addr(), ln.Addr())
			}
			wg.Go(func() {
				for conn, err := one.Accept(); err == nil; conn, err = one.Accept() {
					arrived[i]++
					io.WriteString(conn, "x")
					conn.Close()
				}
			})
		}
		for range 200 {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port(t, ln))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		ln.Close()
		wg.Wait()
		for _, n := range arrived {
			if n < 10 { // 50 on average
				t.Errorf("%s: of 200 connections there arrived %v", address, arrived)
				break
			}
		}
	}
}

// A balancer that is started a second time must not take half of the first one's traffic.
func TestASharedAddressIsExclusivelyOurs(t *testing.T) {
	ln := openShared(t, ":0", 3)
	for _, address := range []string{":", "127.0.0.1:"} {
		for n := 1; n < 3; n++ {
			again, err := OpenShared(address+port(t, ln), n)
			if err == nil {
				again.Close()
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s with %d sockets: error %v", address, n, err)
			}
		}
	}
}

func TestWhatCannotBeSharedIsOneSocket(t *testing.T) {
	for address, n := range map[string]int{"127.0.0.1:0": 1, "localhost:0": 0, "unix:" + filepath.Join(socketDir(t), "s"): 4} {
		ln := openShared(t, address, n)
		if count(ln) != 1 {
			t.Errorf("%s for %d: %d sockets", address, n, count(ln))
		}
		reachable(t, ln)
	}
}

// The single sockets are another's to accept from: nothing may be taken from them before somebody calls Accept.
func TestNothingIsAcceptedUnasked(t *testing.T) {
	needSharing(t)
	ln := openShared(t, "127.0.0.1:0", 2).(*several)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	found := make(chan net.Conn, 2)
	for _, one := range ln.Sockets() {
		go func() {
			conn, _ := one.Accept()
			found <- conn
		}()
	}
	first := <-found
	if first == nil || first.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Fatalf("found %v", first)
	}
	first.Close()
	ln.Close()
	<-found
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

// giving is the environment variable that makes this test's binary a process that serves what it inherits at its value,
// with as many sockets as it would not have asked for, until its input ends.
const giving = "ROOST_TEST_SERVE"

func serves(address string) error {
	in, err := Inherit()
	if err != nil {
		return err
	}
	ln, err := in.Open(address, 7)
	if err != nil {
		return err
	}
	if n := count(ln); n != 4 {
		return errors.New("not the 4 sockets that were given")
	}
	var server sync.WaitGroup
	answer(&server, ln)
	os.Stdout.WriteString("serves")
	io.Copy(io.Discard, os.Stdin)
	ln.Close()
	server.Wait()
	return nil
}

// An upgrade passes on all sockets of an address, and nobody who connects meanwhile is refused or reset.
func TestTheSocketsOfAnAddressGoToAnotherProcessUnderLoad(t *testing.T) {
	needSharing(t)
	ln := openShared(t, "127.0.0.1:0", 4)
	address := ln.Addr().String()
	var server sync.WaitGroup
	answer(&server, ln)
	stop := make(chan struct{})
	made, faults := make(chan struct{}), make(chan error, 4)
	for range cap(faults) {
		go func() { faults <- knock(address, stop, made) }()
	}
	some := func() {
		t.Helper()
		for range 300 {
			select {
			case <-made:
			case err := <-faults:
				t.Fatal(err)
			}
		}
	}
	some()
	gift, err := (*Inherited)(nil).Give([]Socket{{address, ln}})
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = append(os.Environ(), giving+"="+address, gift.Env), gift.Files, os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(said, make([]byte, len("serves"))); err != nil {
		t.Fatal(err)
	}
	gift.Close()
	some()     // both serve
	ln.Close() // as in a hand-over: what the kernel has queued is the other's
	server.Wait()
	some()
	close(stop)
	for range cap(faults) {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
	hold.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Whoever takes an address over in the same process takes what waits in its sockets too.
func TestAReloadKeepsEverySocketOfAnAddress(t *testing.T) {
	needSharing(t)
	ln := openShared(t, "127.0.0.1:0", 4)
	var waiting []net.Conn
	for range 40 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		waiting = append(waiting, conn)
	}
	leaving := []net.Listener{ln}
	fresh, err := OpenBeside(ln.Addr().String(), 2, leaving, leaving)
	if err != nil {
		t.Fatal(err)
	}
	if count(fresh) != 4 {
		t.Errorf("%d sockets", count(fresh))
	}
	ln.Close()
	var server sync.WaitGroup
	answer(&server, fresh)
	for _, conn := range waiting {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	fresh.Close()
	server.Wait()
}
