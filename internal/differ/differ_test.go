package differ

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// careless passes on bytes as they come, and takes every end for an orderly one: what a proxy must not do.
func careless(t *testing.T, node string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { ln.Close(); all.Wait() })
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n, err := net.Dial("tcp", node)
			if err != nil {
				c.Close()
				return
			}
			all.Go(func() {
				defer c.Close()
				defer n.Close()
				all.Go(func() { pass(n, c) })
				pass(c, n)
			})
		}
	})
	return ln.Addr().String()
}

func TestWhatACarelessProxyDoesIsSeen(t *testing.T) {
	n, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	addr := careless(t, n.Addr)
	cases, err := Corpus(`
## nothing amiss
> GET /a HTTP/1.1
> Host: h
>

## two readings
> POST / HTTP/1.1
> Content-Length: 4
> Transfer-Encoding: chunked
>
> 0
>

## a cut answer
~ alone
> GET / HTTP/1.1
>
< HTTP/1.1 200 OK
< Node: \N
<
<| half
~ resets

## an answer too many
> GET / HTTP/1.1
>
< HTTP/1.1 200 OK
< Content-Length: 0
<
< HTTP/1.1 200 OK
< Content-Length: 0
<
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "ambiguous (a length beside a coding)", "took for whole", "3 answers to 2 requests"} {
		m, err := Run(addr, n, cases[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Amiss(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q\n%s", cases[i].Name, got, m.Brief())
		}
	}
}

func TestACorpusIsRewrittenWithItsMeanings(t *testing.T) {
	const text = "# All.\n\n## one\n> GET / HTTP/1.1\n= old\n= older\n\n# More.\n\n## two\n>| \\{2*a\\r}\\x00\n! because\n"
	const want = "# All.\n\n## one\n> GET / HTTP/1.1\n= new\n\n# More.\n\n## two\n>| \\{2*a\\r}\\x00\n! because\n= b\n= c\n"
	if got := Rewrite(text, map[string]string{"one": "new\n", "two": "b\nc\n"}); got != want {
		t.Errorf("%s", got)
	}
	cases, err := Corpus(want)
	if err != nil {
		t.Fatal(err)
	}
	if c := cases[1]; c.Sent() != "a\ra\r\x00"+after || c.Differs != "because" || c.Want != "b\nc\n" {
		t.Errorf("%q %q %q", c.Sent(), c.Differs, c.Want)
	}
	for _, wrong := range []string{"> before a case\n", "## a\n~ nonsense\n", "## a\n? b\n", "## a\n> \\{x*y}\n"} {
		if _, err := Corpus(wrong); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
