package listen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// heiress is the environment variable that makes this test's binary a process that inherits: the addresses to open, as a
// JSON array.
const heiress = "ROOST_TEST_HEIRESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(heiress); text != "" {
		inherits(text)
		os.Exit(0)
	}
	if address := os.Getenv(giving); address != "" {
		if err := serves(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // children of a race-detecting binary would take a second to end
	os.Exit(m.Run())
}

// inherits opens addresses, says what it got, and ends.
func inherits(text string) {
	var addresses []string
	json.Unmarshal([]byte(text), &addresses)
	in, err := Inherit()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range addresses {
		ln, err := in.Open(a, 1)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s is %s\n", a, bound(ln))
		defer ln.Close()
	}
	for _, name := range in.CloseRest() {
		fmt.Println("nobody wants", name)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") || strings.HasPrefix(v, Variable) {
			fmt.Println("still in the environment:", v)
		}
	}
	if exec.Command("/bin/sh", "-c", "test ! -e /dev/fd/3").Run() != nil {
		fmt.Println("a child gets the sockets")
	}
}

// bound is what a listener is bound to, all of it.
func bound(ln net.Listener) string {
	var all []string
	for _, s := range sockets([]net.Listener{ln}) {
		all = append(all, s.Addr().String())
	}
	slices.Sort(all)
	return strings.Join(all, " and ")
}

// bequeath runs a process that inherits files as systemd gives them, opens addresses, and returns what it says.
func bequeath(t *testing.T, names string, files []*os.File, addresses ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(addresses)
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, self)
	cmd.Env = append(os.Environ(), heiress+"="+string(text), fmt.Sprint("LISTEN_FDS=", len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// dup is a duplicate of a socket, for a process to inherit.
func dup(t *testing.T, of any) *os.File {
	t.Helper()
	f, err := duplicate(of, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// only6 is a socket for every IPv6 address and no IPv4 one, as systemd makes them with BindIPv6Only=ipv6-only.
func only6(t *testing.T, port string) net.Listener {
	t.Helper()
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
	}}
	ln, err := conf.Listen(t.Context(), "tcp6", "[::]:"+port)
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func listen4(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestSocketsOfSystemdAreFoundByWhatTheyAreBoundTo(t *testing.T) {
	all, local, family4 := open(t, ":0"), open(t, "127.0.0.1:0"), listen4(t, "0.0.0.0:0")
	family6 := only6(t, port(t, family4))
	path := filepath.Join(socketDir(t), "s")
	link := filepath.Join(socketDir(t), "link")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	socket := open(t, "unix:"+path)
	spare := open(t, "127.0.0.1:0")
	files := []*os.File{dup(t, socket), dup(t, all), dup(t, local), dup(t, family4), dup(t, family6), dup(t, spare)}
	a, l, f := port(t, all), port(t, local), port(t, family4)
	for _, x := range []struct{ address, is string }{
		{":" + a, "[::]:" + a},
		{"0.0.0.0:" + a, "[::]:" + a},
		{"[::]:" + a, "[::]:" + a},
		{"127.0.0.1:" + l, "127.0.0.1:" + l},
		{"localhost:" + l, "127.0.0.1:" + l},
		{"[::ffff:127.0.0.1]:" + l, "127.0.0.1:" + l},
		{":" + f, "0.0.0.0:" + f + " and [::]:" + f}, // one socket for each family
		{"unix:" + path, path},
		{"unix:" + filepath.Join(link, "s"), path},
	} {
		got := bequeath(t, "unix:all:local:family:family:spare", files, x.address)
		if want := x.address + " is " + x.is + "\n"; !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		if !strings.Contains(got, "\nnobody wants "+spare.Addr().String()+" (spare)") {
			t.Errorf("the rest is not named: %s", got)
		}
		if strings.Contains(got, "still") || strings.Contains(got, "child") {
			t.Error(got)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's path was removed by its heir: %v", err)
	}
}

func TestAnAddressIsOpenedAnewWhenNoInheritedSocketIsMeantForIt(t *testing.T) {
	local := open(t, "127.0.0.1:0")
	files := []*os.File{dup(t, local)}
	for _, address := range []string{
		"127.0.0.1:0",                 // 0 is a port of its own each time
		"127.0.0.2:" + port(t, local), // the port alone is no likeness
	} {
		got := bequeath(t, "x", files, address)
		if strings.Contains(got, "is "+local.Addr().String()) || strings.Contains(got, "listen") {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// Whoever gave the socket may keep it open: what is queued in it, and comes to it, must find somebody.
func TestAnInheritedSocketThatAnAddressCoversIsTakenAlong(t *testing.T) {
	local := open(t, "127.0.0.1:0")
	address := ":" + port(t, local)
	if got, want := bequeath(t, "x", []*os.File{dup(t, local)}, address), fmt.Sprintf("%s is %s and [::]%s", address, local.Addr(), address); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhatCannotBeListenedOnIsRefused(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ln := open(t, "127.0.0.1:0")
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	good := dup(t, ln)
	for want, files := range map[string][]*os.File{
		"inherit sockets: descriptor 4 (second): is not a stream socket; with systemd, use ListenStream=":      {good, dup(t, udp)},
		"inherit sockets: descriptor 3 (first): is not a socket":                                               {file, good},
		"inherit sockets: descriptor 3 (first): is a socket that does not listen; with systemd, use Accept=no": {dup(t, conn)},
		"inherit sockets: descriptor 5 (unknown): is not a socket":                                             {good, good, file},
	} {
		if got := bequeath(t, "first:second", files); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if _, err := adopt(1 << 20); err == nil || !strings.Contains(err.Error(), "more descriptors than there are") {
		t.Errorf("a descriptor that is not open: %v", err)
	}
}

func TestTheEnvironmentIsReadAsItIsMeant(t *testing.T) {
	for _, x := range []struct {
		env   map[string]string
		names []string
		err   string
	}{
		{nil, nil, ""},
		{map[string]string{"LISTEN_FDS": "3"}, nil, ""},
		{map[string]string{"LISTEN_PID": "8", "LISTEN_FDS": "3"}, nil, ""}, // another's
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "0"}, nil, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "2"}, []string{"unknown", "unknown"}, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, []string{"a", "unknown"}, ""},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, nil, `LISTEN_FDS "-1" is not a number from 0 to 1024`},
		{map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "99999999999"}, nil, `LISTEN_FDS "99999999999" is not a number`},
		{map[string]string{"LISTEN_PID": "7"}, nil, `LISTEN_FDS "" is not a number`},
		{map[string]string{Variable: `[{"address":":80"},{"address":"unix:/a b","foreign":true,"later":1}]`}, []string{":80", "unix:/a b"}, ""},
		{map[string]string{Variable: `[]`, "LISTEN_PID": "7", "LISTEN_FDS": "2"}, nil, ""},
		{map[string]string{Variable: `[`}, nil, Variable + ": unexpected end"},
		{map[string]string{Variable: "[" + strings.Repeat("{},", maxGiven) + "{}]"}, nil, "at most 8192"},
		{map[string]string{Variable: "[" + strings.Repeat("{},", 2000) + "{}]"}, make([]string, 2001), ""}, // 9 listeners on 223 loops
	} {
		gifts, names, err := announced(func(v string) string { return x.env[v] }, 7)
		if !slices.Equal(names[:min(len(names), len(gifts))], x.names) || len(gifts) != len(x.names) {
			t.Errorf("%v: %d sockets %q, want %q", x.env, len(gifts), names, x.names)
		}
		if x.err == "" && err != nil || x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err)) {
			t.Errorf("%v: error %v, want %q", x.env, err, x.err)
		}
	}
}

func TestWithoutAnInheritanceAddressesAreOpened(t *testing.T) {
	var none *Inherited
	ln, err := none.Open("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	none.Own()
	if rest := none.CloseRest(); rest != nil {
		t.Errorf("rest %q", rest)
	}
}

func TestASocketIsKnownByTheTextItWasGivenWith(t *testing.T) {
	one, two, three, four := open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0")
	both := newSeveral([]net.Listener{three, four})
	defer both.Close()
	gift, err := (*Inherited)(nil).Give([]Socket{{"localhost:0", one}, {":0", two}, {":0", both}})
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), heiress+`=[":0","localhost:0",":0"]`, gift.Env)
	cmd.ExtraFiles = gift.Files
	out, err := cmd.CombinedOutput()
	if want := ":0 is " + bound(two) + "\nlocalhost:0 is " + bound(one) + "\n:0 is " + bound(both) + "\n"; err != nil || string(out) != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	// All duplicates of a socket are blocking together, and ours would hang in accept.
	for _, ln := range []net.Listener{one, two} {
		f := dup(t, ln)
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("our socket blocks now: %x, %v", flags, err)
		}
		reachable(t, ln)
	}
}

func TestThePathOfAUnixSocketIsRemovedByItsLastOwner(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	exists := func() bool { _, err := os.Lstat(path); return err == nil }
	first, err := Open("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	// take is what another process does, in this one.
	take := func(in *Inherited, ln net.Listener) (*Gift, *Inherited, net.Listener) {
		gift, err := in.Give([]Socket{{"unix:" + path, ln}})
		if err != nil {
			t.Fatal(err)
		}
		var what []given
		if err := json.Unmarshal([]byte(strings.TrimPrefix(gift.Env, Variable+"=")), &what); err != nil {
			t.Fatal(err)
		}
		theirs, err := net.FileListener(gift.Files[0])
		if err != nil {
			t.Fatal(err)
		}
		heirs := &Inherited{sockets: []*heir{{given: what[0], ln: theirs}}}
		got, err := heirs.Open("unix:"+path, 1)
		if err != nil {
			t.Fatal(err)
		}
		gift.Close()
		return gift, heirs, got
	}
	_, _, failed := take(nil, first)
	if failed.Close(); !exists() {
		t.Fatal("a child that failed removed the path")
	}
	gift, heirs, second := take(nil, first)
	heirs.Own()
	gift.Taken()
	if first.Close(); !exists() {
		t.Fatal("the process before removed the path")
	}
	gift, heirs, third := take(heirs, second)
	heirs.Own()
	gift.Taken()
	second.Close()
	reachable(t, third)
	if third.Close(); exists() {
		t.Error("the last owner left the path")
	}

	fourth := open(t, "unix:"+path)
	if gift, err = (*Inherited)(nil).Give([]Socket{{"unix:" + path, fourth}}); err != nil {
		t.Fatal(err)
	}
	defer gift.Close()
	unwanted, err := net.FileListener(gift.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	heirs = &Inherited{sockets: []*heir{{given: given{Address: "unix:" + path}, ln: unwanted}}}
	if heirs.CloseRest(); !exists() {
		t.Error("a child that does not serve yet removed the path")
	}
	if heirs.Own(); exists() {
		t.Error("the path of a socket that nobody wants any more is left")
	}
}

// A path that systemd made is systemd's, however many processes have served it since.
func TestThePathOfASocketOfSystemdIsNeverRemoved(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	systemd := open(t, "unix:"+path)
	theirs, err := net.FileListener(dup(t, systemd))
	if err != nil {
		t.Fatal(err)
	}
	in := &Inherited{sockets: []*heir{{given: given{Foreign: true}, ln: theirs}}}
	ln, err := in.Open("unix:"+path, 1)
	if err != nil {
		t.Fatal(err)
	}
	in.Own()
	gift, err := in.Give([]Socket{{"unix:" + path, ln}})
	if err != nil {
		t.Fatal(err)
	}
	gift.Close()
	if !strings.Contains(gift.Env, `"foreign":true`) {
		t.Errorf("the next process is not told: %s", gift.Env)
	}
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestOneListenerAcceptsFromBothFamilies(t *testing.T) {
	four := listen4(t, "0.0.0.0:0")
	six := only6(t, port(t, four))
	ln := newSeveral([]net.Listener{four, six})
	for _, address := range []string{"127.0.0.1:", "[::1]:", "127.0.0.1:"} {
		conn, err := net.Dial("tcp", address+port(t, four))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
	}
	gift, err := (*Inherited)(nil).Give([]Socket{{":80", ln}})
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Close()
	if len(gift.Files) != 2 || strings.Count(gift.Env, `":80"`) != 2 {
		t.Errorf("given as %d sockets, %s", len(gift.Files), gift.Env)
	}
	// A deadline ends Accept when what is queued has been accepted, and a close ends it for good.
	queued, err := net.Dial("tcp", "[::1]:"+port(t, four))
	if err != nil {
		t.Fatal(err)
	}
	defer queued.Close()
	if err := ln.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	if _, err := ln.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	ln.Close()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestAConnectionThatNobodyAskedForIsClosed(t *testing.T) {
	ln := newSeveral([]net.Listener{open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0")})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ln.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
}

func TestAListenerIsKnownByWhatItIsBoundTo(t *testing.T) {
	all, local := open(t, ":0"), open(t, "127.0.0.1:0")
	path := filepath.Join(socketDir(t), "s")
	socket := open(t, "unix:"+path)
	a, l := port(t, all), port(t, local)
	for _, x := range []struct {
		ln      net.Listener
		address string
		want    bool
	}{
		{all, ":" + a, true},
		{all, "0.0.0.0:" + a, true},
		{all, "[::]:" + a, true},
		{all, ":" + l, false},
		{all, "127.0.0.1:" + a, false},
		{all, ":0", false},
		{local, "127.0.0.1:" + l, true},
		{local, "localhost:" + l, true},
		{local, ":" + l, false},
		{local, "127.0.0.1:0", false},
		{local, "no.such.host.invalid:" + l, false},
		{local, "127.0.0.1", false},
		{local, "127.0.0.1:http", false},
		{local, "unix:" + path, false},
		{socket, "unix:" + path, true},
		{socket, "unix:" + filepath.Dir(path) + "/./s", true},
		{socket, "unix:" + path + "2", false},
		{socket, ":" + a, false},
	} {
		m := mean(x.address)
		if got := m.is(x.ln.Addr()); got != x.want {
			t.Errorf("%s is %s: %v", x.ln.Addr(), x.address, got)
		}
		if covered := x.want || x.ln != socket && x.address == ":"+port(t, x.ln); m.covers(x.ln.Addr()) != covered {
			t.Errorf("%s is covered by %s: %v", x.ln.Addr(), x.address, !covered)
		}
	}
}
