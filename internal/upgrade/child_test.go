package upgrade

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"roost/internal/listen"
)

// role is the environment variable that makes this test's binary a child that plays a role.
const role = "ROOST_TEST_ROLE"

// addresses are what a serving child listens on, separated by spaces.
const addresses = "ROOST_TEST_ADDRESSES"

func TestMain(m *testing.M) {
	play, ok := roles[os.Getenv(role)]
	if !ok {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // children of a race-detecting binary would take a second to end
		os.Exit(m.Run())
	}
	if err := play(FromParent()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var roles = map[string]func(*Parent) error{
	"serves": serve,
	"says why": func(p *Parent) error {
		p.Fail(errors.New("roost.yaml:3:5: unknown setting"))
		return errors.New("not this")
	},
	"exits": func(*Parent) error { return errors.New("first line\nno room on the device") },
	"is loud": func(*Parent) error {
		for i := range 2_000 {
			fmt.Fprintf(os.Stderr, "line %d\n", i)
		}
		return errors.New("the end of it")
	},
	"panics": func(*Parent) error { panic("a broken invariant") },
	"hangs": func(*Parent) error {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		select {}
	},
	"babbles": func(p *Parent) error {
		p.report.WriteString("ready to go\n")
		select {}
	},
	"is ready and dies": func(p *Parent) error {
		p.answer.Close() // before it can be answered
		p.say(report{Version: "1", PID: os.Getpid()})
		return errors.New("too soon")
	},
	"serves and crashes": func(p *Parent) error {
		if err := p.Ready("2"); err != nil {
			return err
		}
		return errors.New("after all")
	},
	"writes on": func(p *Parent) error { // to standard error, after its parent has ended
		if err := p.Ready("2"); err != nil {
			return err
		}
		io.Copy(io.Discard, os.Stdin) // until the test closes it
		fmt.Fprintln(os.Stderr, "still here")
		return nil
	},
	"has its orphan write": func(*Parent) error {
		_, err := Start(context.Background(), Options{Env: []string{role + "=writes on"}})
		return err
	},
	"looks around": func(p *Parent) error {
		p.Fail(fmt.Errorf("%s=%q %v", Variable, os.Getenv(Variable), os.Args))
		return nil
	},
}

// serve is a little server: it answers each connection with its process id, and each command on one. "upgrade" makes it
// start another and serve only what is open.
func serve(p *Parent) error {
	err := func() error {
		in, err := listen.Inherit()
		if err != nil {
			return err
		}
		var s server
		for _, a := range strings.Fields(os.Getenv(addresses)) {
			ln, err := in.Open(a, 1)
			if err != nil {
				return err
			}
			s.sockets = append(s.sockets, listen.Socket{Address: a, Listener: ln})
		}
		if rest := in.CloseRest(); len(rest) > 0 {
			return fmt.Errorf("sockets %q are not asked for", rest)
		}
		if err := p.Ready("2"); err != nil {
			return err
		}
		in.Own()
		s.in = in
		s.run()
		return nil
	}()
	if err != nil {
		p.Fail(err)
	}
	return err
}

type server struct {
	in      *listen.Inherited
	sockets []listen.Socket
	once    sync.Once
	wg      sync.WaitGroup
}

func (s *server) run() {
	for _, l := range s.sockets {
		s.wg.Go(func() {
			for {
				conn, err := l.Listener.Accept()
				if err != nil {
					return
				}
				s.wg.Go(func() { s.talk(conn) })
			}
		})
	}
	s.wg.Wait()
}

func (s *server) talk(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintln(conn, os.Getpid())
	for in := bufio.NewScanner(conn); in.Scan(); {
		switch command, args, _ := strings.Cut(in.Text(), " "); command {
		case "upgrade":
			if pid, err := s.upgrade(strings.Split(args, ",")...); err != nil {
				fmt.Fprintln(conn, strings.ReplaceAll(err.Error(), "\n", " | "))
			} else {
				fmt.Fprintln(conn, pid)
			}
		case "end":
			s.close()
		default:
			fmt.Fprintln(conn, command)
		}
	}
}

func (s *server) close() {
	s.once.Do(func() {
		for _, l := range s.sockets {
			l.Listener.Close()
		}
	})
}

// upgrade starts another with env on top of the environment, and returns its process id.
func (s *server) upgrade(env ...string) (int, error) {
	gift, err := s.in.Give(s.sockets)
	if err != nil {
		return 0, err
	}
	defer gift.Close()
	timeout := limit
	if slices.Contains(env, role+"=hangs") {
		timeout = 500 * time.Millisecond
	}
	c, err := Start(context.Background(), Options{Files: gift.Files, Env: append(env, gift.Env), Timeout: timeout})
	if err != nil {
		return 0, err
	}
	gift.Taken()
	s.close()
	return c.PID, nil
}
