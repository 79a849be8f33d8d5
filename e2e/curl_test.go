package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// curled is what curl got.
type curled struct {
	version string // of the answer: 1.1 or 2
	status  string
	sent    string // bytes of the request's body
	head    string // all heads and trailers, lower case
	body    string
	verbose string
	code    int // exit code
}

// curl runs curl -v with args.
func curl(t *testing.T, args ...string) curled {
	t.Helper()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	out, errs, code := command(t, time.Minute, dir, program(t, "curl"), append([]string{"-sSv", "--noproxy", "*", "-D", head, "-o", body,
		"-w", "%{http_version} %{response_code} %{size_upload}"}, args...)...)
	c := curled{verbose: errs, code: code}
	fmt.Sscan(out, &c.version, &c.status, &c.sent)
	text, _ := os.ReadFile(head)
	c.head = strings.ToLower(string(text))
	text, _ = os.ReadFile(body) // absent: there was none
	c.body = string(text)
	return c
}

// seen is the node's answer.
func (c *curled) seen(t *testing.T) (s seen) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.body), &s); c.code != 0 || c.status != "200" || err != nil {
		t.Fatalf("exit code %d, status %s, %v\n%s\n%s", c.code, c.status, err, c.body, c.verbose)
	}
	return s
}

func TestCurlGets(t *testing.T) {
	t.Parallel()
	issuer := newCA(t)
	cert := issuer.issue(t, 7, "localhost", "127.0.0.1")
	node := newNode(t, inspect("n1"))
	clear := serve(t, "--nodes", "n1="+node)
	secret := serve(t, "--nodes", "n1="+node, "--tls-cert", cert.cert, "--tls-key", cert.key)
	for _, c := range []struct {
		name, version, url string
		args               []string
	}{
		{"HTTP/1.0", "1.1", clear.url("/r/a?b=c"), []string{"--http1.0"}},
		{"HTTP/1.1", "1.1", clear.url("/r/a?b=c"), []string{"--http1.1"}},
		{"HTTP/2 with prior knowledge", "2", clear.url("/r/a?b=c"), []string{"--http2-prior-knowledge"}},
		{"an upgrade to h2c is not taken", "1.1", clear.url("/r/a?b=c"), []string{"--http2"}},
		{"HTTP/1.1 over TLS", "1.1", "https://" + secret.addr + "/r/a?b=c", []string{"--http1.1", "--cacert", issuer.file}},
		{"HTTP/2 over TLS", "2", "https://" + secret.addr + "/r/a?b=c", []string{"--http2", "--cacert", issuer.file}},
		{"TLS 1.2", "2", "https://" + secret.addr + "/r/a?b=c", []string{"--http2", "--tls-max", "1.2", "--cacert", issuer.file}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := curl(t, append(c.args, "-H", "Host: example.com", "-H", "X-Mine: 1", c.url)...)
			s := got.seen(t)
			if got.version != c.version { // of the answer: a server names its own (RFC 9112, 2.3)
				t.Errorf("answered in HTTP/%s, want %s", got.version, c.version)
			}
			if s.Method != http.MethodGet || s.Target != "/r/a?b=c" || s.Host != "example.com" || s.Header.Get("X-Mine") != "1" || s.Bytes != 0 {
				t.Errorf("the node saw %+v", s)
			}
			proto := "http"
			if strings.HasPrefix(c.url, "https") {
				proto = "https"
			}
			if h := s.Header; h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Proto") != proto || h.Get("X-Forwarded-Host") != "example.com" || h.Get("Via") == "" {
				t.Errorf("forwarding fields at the node: %v", h)
			}
			for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
				if v := s.Header.Get(name); v != "" && !strings.EqualFold(v, "keep-alive") {
					t.Errorf("the node saw %s: %s", name, v)
				}
			}
			if !strings.Contains(got.head, "\nvia: ") {
				t.Errorf("no Via in the answer:\n%s", got.head)
			}
		})
	}
	if got := curl(t, "https://"+secret.addr+"/"); got.code != 60 {
		t.Errorf("without the authority curl ends with %d, want 60 (certificate not trusted)", got.code)
	}
	if got := curl(t, "http://"+secret.addr+"/"); got.code == 0 && got.status == "200" {
		t.Errorf("clear text on a TLS listener got an answer:\n%s", got.body)
	}
}

func TestCurlSendsBodies(t *testing.T) {
	t.Parallel()
	b := serve(t, "--nodes", nodeList(newNode(t, inspect("n1")), newNode(t, inspect("n2"))))
	small, big := bytes.Repeat([]byte("small "), 100), bytes.Repeat([]byte("a big body "), 1<<20)
	file := func(content []byte) string {
		name := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	smallFile, bigFile := file(small), file(big)
	const chunked = "Transfer-Encoding: chunked"
	for _, c := range []struct {
		name    string
		args    []string
		method  string
		body    []byte
		framing string // length, chunked
	}{
		{"POST with a length", []string{"--data-binary", "@" + smallFile}, "POST", small, "length"},
		{"POST in chunks", []string{"--data-binary", "@" + smallFile, "-H", chunked}, "POST", small, "chunked"},
		{"big POST that expects 100", []string{"--data-binary", "@" + bigFile, "-H", "Expect: 100-continue"}, "POST", big, "length"},
		{"big POST that expects nothing", []string{"--data-binary", "@" + bigFile, "-H", "Expect:"}, "POST", big, "length"},
		{"big POST in chunks that expects 100", []string{"--data-binary", "@" + bigFile, "-H", chunked, "-H", "Expect: 100-continue"}, "POST", big, "chunked"},
		{"PUT of a file", []string{"-T", bigFile}, "PUT", big, "length"},
		{"PUT of an empty pipe", []string{"-T", "-"}, "PUT", []byte{}, "chunked"},
		{"empty POST", []string{"-d", ""}, "POST", nil, "length"},
		{"DELETE with a body", []string{"-X", "DELETE", "--data-binary", "@" + smallFile}, "DELETE", small, "length"},
		{"GET with a body", []string{"-X", "GET", "--data-binary", "@" + smallFile}, "GET", small, "length"},
		{"form with a file", []string{"-F", "file=@" + smallFile}, "POST", nil, "length"},
	} {
		for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
			t.Run(c.name+" by "+version[2:], func(t *testing.T) {
				got := curl(t, append(append([]string{version}, c.args...), b.url("/upload/"+strings.ReplaceAll(c.name, " ", "-")))...)
				s := got.seen(t)
				if s.Method != c.method {
					t.Errorf("the node saw a %s", s.Method)
				}
				if c.body != nil && (s.Bytes != int64(len(c.body)) || s.Sum != crc32.Checksum(c.body, castagnoli)) {
					t.Errorf("the node got %d bytes, sum %x, want %d, %x", s.Bytes, s.Sum, len(c.body), crc32.Checksum(c.body, castagnoli))
				}
				if version == "--http1.1" {
					if chunked := s.Length < 0; chunked != (c.framing == "chunked") {
						t.Errorf("the node saw a length of %d and codings %v, sent was: %s", s.Length, s.Coding, c.framing)
					}
				}
				if strings.Contains(c.name, "expects 100") && version == "--http1.1" && !strings.Contains(got.verbose, "HTTP/1.1 100 Continue") {
					t.Errorf("no 100 Continue:\n%s", got.verbose)
				}
			})
		}
	}
}

// TestCurlIsAnsweredBeforeItSends: a node that refuses by the head alone is heard, and the body stays where it is.
func TestCurlIsAnsweredBeforeItSends(t *testing.T) {
	t.Parallel()
	b := serve(t, "--nodes", newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})))
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	got := curl(t, "-T", file, "-H", "Expect: 100-continue", "--expect100-timeout", "20", b.url("/"))
	if got.code != 0 || got.status != "413" || got.body != "too much\n" || got.sent != "0" {
		t.Errorf("exit code %d, status %s, %s bytes sent, %q\n%s", got.code, got.status, got.sent, got.body, got.verbose)
	}
	// Without the expectation the body is on its way when the refusal comes, which must not be lost in a reset.
	got = curl(t, "-T", file, "-H", "Expect:", b.url("/"))
	if got.status != "413" || got.body != "too much\n" {
		t.Errorf("exit code %d, status %s, %q\n%s", got.code, got.status, got.body, got.verbose)
	}
}

func TestCurlGetsAnswersOfEveryShape(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/length", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	})
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, r *http.Request) { // no length, no chunks: the end is the end
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
	})
	mux.HandleFunc("/none", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/unchanged", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"x"`)
		w.WriteHeader(http.StatusNotModified)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hello")
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.example/x", http.StatusFound)
	})
	b := serve(t, "--nodes", newNode(t, mux))
	for _, c := range []struct {
		path, method, status, body string
		head                       []string // in the answer's heads, lower case
	}{
		{"/length", "GET", "200", "hello", []string{"content-length: 5"}},
		{"/length", "HEAD", "200", "", []string{"content-length: 5"}},
		{"/chunks", "GET", "200", "hellohellohello", nil},
		{"/chunks", "HEAD", "200", "", nil},
		{"/trailers", "GET", "200", "hello", []string{"x-sum: 42"}},
		{"/close", "GET", "200", "hello", nil},
		{"/none", "GET", "204", "", nil},
		{"/unchanged", "GET", "304", "", []string{`etag: "x"`}},
		{"/hints", "GET", "200", "hello", []string{" 103 ", "link: </style.css>; rel=preload"}},
		{"/away", "GET", "302", "", []string{"location: http://elsewhere.example/x"}},
		{"/missing", "GET", "404", "404 page not found\n", nil},
	} {
		for _, version := range []string{"1.0", "1.1", "2"} {
			t.Run(c.method+c.path+" by HTTP/"+version, func(t *testing.T) {
				args := []string{"--http" + version, b.url(c.path)}
				if version == "2" {
					args[0] = "--http2-prior-knowledge"
				}
				if c.method == "HEAD" {
					args = append(args, "-I")
				}
				got := curl(t, args...)
				if got.code != 0 || got.status != c.status || c.path != "/away" && c.method != "HEAD" && got.body != c.body {
					t.Errorf("exit code %d, status %s, %q, want %s, %q\n%s", got.code, got.status, got.body, c.status, c.body, got.verbose)
				}
				if version == "1.0" {
					if strings.Contains(got.head, "transfer-encoding") || strings.Contains(got.head, " 103 ") {
						t.Errorf("HTTP/1.0 does not know that:\n%s", got.head)
					}
					return
				}
				for _, h := range c.head {
					if !strings.Contains(got.head, h) {
						t.Errorf("%q is not in\n%s", h, got.head)
					}
				}
			})
		}
	}
}

func TestCurlKeepsOneConnection(t *testing.T) {
	t.Parallel()
	b := serve(t, "--nodes", nodeList(echoes(t, 2)...))
	var urls []string
	for i := range 5 {
		urls = append(urls, b.url(fmt.Sprintf("/r/%d", i)), "-o", os.DevNull)
	}
	out, errs, code := command(t, time.Minute, "", program(t, "curl"), append([]string{"-sS", "--noproxy", "*", "-w", "%{http_code}/%{num_connects} "}, urls...)...)
	if code != 0 || out != "200/1 200/0 200/0 200/0 200/0 " {
		t.Errorf("exit code %d, statuses and new connections: %s%s", code, out, errs)
	}
}

func TestNodesByEveryKindOfAddress(t *testing.T) {
	t.Parallel()
	unix := filepath.Join(shortDir(t), "node.sock")
	ln, err := net.Listen("unix", unix)
	if err != nil {
		t.Fatal(err)
	}
	serveNode(t, ln, inspect("unix"))
	byName := newNode(t, inspect("name"))
	_, port, _ := net.SplitHostPort(byName)
	for _, c := range []struct{ name, addr string }{
		{"unix", "unix:" + unix},
		{"name", "localhost:" + port},
	} {
		t.Run(c.name, func(t *testing.T) { reach(t, c.name, c.addr) })
	}
	t.Run("IPv6", func(t *testing.T) {
		ln, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Skip("SKIP: no IPv6 on this machine: ", err)
		}
		serveNode(t, ln, inspect("six"))
		reach(t, "six", ln.Addr().String())
	})
}

func reach(t *testing.T, name, addr string) {
	b := serve(t, "--nodes", addr)
	for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
		got := curl(t, version, "-d", "x", b.url("/a"))
		if s := got.seen(t); s.Node != name || s.Bytes != 1 {
			t.Errorf("%s: the node saw %+v", version, s)
		}
	}
	b.awaitNode(t, addr, true)
}

// shortDir is for unix sockets, whose paths may have 104 bytes on some systems.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "roost-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestListenersByEveryKindOfAddress(t *testing.T) {
	t.Parallel()
	nodes := nodeList(echoes(t, 1)...)
	unix := filepath.Join(shortDir(t), "roost.sock")
	b := serve(t, "--nodes", nodes, "--listen", "unix:"+unix) // the second of two
	b.stderr.await(t, 2, "the second listener", listening.MatchString)
	for _, args := range [][]string{{b.url("/a")}, {"--unix-socket", unix, "http://any/a"}, {"--http2-prior-knowledge", "--unix-socket", unix, "http://any/a"}} {
		if got := curl(t, args...); got.code != 0 || got.status != "200" || got.body != "/a" {
			t.Errorf("%v: exit code %d, status %s, %q\n%s", args, got.code, got.status, got.body, got.verbose)
		}
	}
	if code := b.term(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(unix); err == nil {
		t.Error("the socket's file is still there after the end")
	}
}

// TestReplacedCertificateIsServed replaces the files of one of two certificates under a running balancer.
func TestReplacedCertificateIsServed(t *testing.T) {
	t.Parallel()
	issuer := newCA(t)
	one, two := issuer.issue(t, 11, "one.example"), issuer.issue(t, 12, "two.example", "*.two.example")
	b := serveConfig(t, 1, fmt.Sprintf(certsConfig, one.cert, one.key, two.cert, two.key, newNode(t, inspect("n1"))))
	serial := func(name, want string) string {
		got, err := serialOf(b.addr, name, issuer.trust())
		if err != nil {
			return fmt.Sprintf("%s: %v", name, err)
		}
		if got != want {
			return fmt.Sprintf("%s: serial %s, want %s", name, got, want)
		}
		return ""
	}
	for name, want := range map[string]string{"one.example": "11", "two.example": "12", "any.two.example": "12"} {
		if amiss := serial(name, want); amiss != "" {
			t.Error(amiss)
		}
	}
	_, port, _ := net.SplitHostPort(b.addr)
	for _, name := range []string{"one.example", "two.example"} {
		got := curl(t, "--cacert", issuer.file, "--resolve", name+":"+port+":127.0.0.1", "https://"+name+":"+port+"/")
		if s := got.seen(t); s.Host != name+":"+port {
			t.Errorf("host at the node: %q", s.Host)
		}
	}

	issuer.issue(t, 21, "one.example")
	eventually(t, patience, func() string { return serial("one.example", "21") })
	if amiss := serial("two.example", "12"); amiss != "" {
		t.Error(amiss)
	}
	// A file that cannot be read as a certificate changes nothing.
	if err := os.WriteFile(two.cert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.stderr.await(t, 1, "a warning about "+two.cert, func(line string) bool {
		return strings.Contains(line, two.cert) && !strings.Contains(line, "level=INFO")
	})
	if amiss := serial("two.example", "12"); amiss != "" {
		t.Error(amiss)
	}
	issuer.issue(t, 22, "two.example")
	eventually(t, patience, func() string { return serial("two.example", "22") })
}

const certsConfig = `
listeners:
  web:
    address: "127.0.0.1:0"
    tls:
      certificates:
        - { cert: "%s", key: "%s" }
        - { cert: "%s", key: "%s" }
pools:
  all: { nodes: [ "%s" ] }
admin: { listen: "ADMIN" }
`
