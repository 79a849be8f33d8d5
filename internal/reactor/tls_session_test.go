//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"roost"
)

// forger is a TLS 1.3 client that has shaken hands, and then writes its records itself, so that a test says what is in which
// record and which segment. It reads by crypto/tls.
type forger struct {
	*tls.Conn
	t      testing.TB
	raw    *tapped
	secret []byte
	seal   cipher.AEAD
	iv     []byte
	seq    uint64
}

// tapped keeps what is read.
type tapped struct {
	net.Conn
	in bytes.Buffer
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Write(b[:n])
	return n, err
}

// last is how long the last record is that came.
func (c *tapped) last() (n int) {
	for b := c.in.Bytes(); len(b) > 5; b = b[5+n:] {
		n = int(b[3])<<8 | int(b[4])
	}
	return n
}

// What records are, and the one alert that is no failure.
const (
	alertRecord     = 21
	handshakeRecord = 22
	dataRecord      = 23
	alertSize       = 2 + 1 + 16 // the length of an alert's record
)

func (d *tlsDoor) forge() *forger {
	d.t.Helper()
	var keys bytes.Buffer
	conf := d.client()
	conf.KeyLogWriter, conf.MinVersion = &keys, tls.VersionTLS13
	f := &forger{t: d.t, raw: &tapped{Conn: d.dial()}}
	f.Conn = d.shake(f.raw, conf)
	if f.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		d.t.Skip("without AES in hardware other ciphers are agreed on")
	}
	for line := range strings.Lines(keys.String()) {
		if part := strings.Fields(line); part[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, _ := hex.DecodeString(part[2])
			f.rekey(secret)
		}
	}
	return f
}

// expand is RFC 8446's HKDF-Expand-Label without a context.
func expand(t testing.TB, secret []byte, label string, n int) []byte {
	info := append([]byte{byte(n >> 8), byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
	key, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (f *forger) rekey(secret []byte) {
	block, err := aes.NewCipher(expand(f.t, secret, "key", 16))
	if err != nil {
		f.t.Fatal(err)
	}
	f.seal, _ = cipher.NewGCM(block)
	f.secret, f.iv, f.seq = secret, expand(f.t, secret, "iv", 12), 0
}

func (f *forger) record(kind byte, text string) []byte {
	nonce := bytes.Clone(f.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^f.seq)
	f.seq++
	n := len(text) + 1 + 16
	head := []byte{dataRecord, 3, 3, byte(n >> 8), byte(n)}
	return f.seal.Seal(head, nonce, append([]byte(text), kind), head)
}

func (f *forger) send(parts ...[]byte) {
	f.t.Helper()
	if _, err := f.raw.Write(bytes.Join(parts, nil)); err != nil {
		f.t.Fatal(err)
	}
}

// crypto/tls reads a whole segment; the second record is then in no socket.
func TestHeadAndBodyInTwoRecordsOfOneSegmentAreBothRead(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	br := bufio.NewReader(f)
	const head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
	f.send(f.record(dataRecord, head[:20]), f.record(dataRecord, head[20:]), f.record(dataRecord, "he"), f.record(dataRecord, "llo"))
	if got := answer(t, br); got != "https hello" {
		t.Errorf("got %q", got)
	}
	two := strings.Repeat(get, 20) // pipelined, one in each record; a record may also be in two segments
	var all []byte
	for len(two) > 0 {
		all = append(all, f.record(dataRecord, two[:len(get)])...)
		two = two[len(get):]
	}
	f.send(all[:len(all)-30])
	for range 19 {
		answer(t, br)
	}
	f.send(all[len(all)-30:])
	answer(t, br)
}

// A read writes: the answer to a KeyUpdate must be sent although nobody wrote anything.
func TestAKeyUpdateIsAnsweredAtOnce(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	const keyUpdate = "\x18\x00\x00\x01"
	for range 3 {
		before := f.raw.in.Len()
		f.send(f.record(handshakeRecord, keyUpdate+"\x01")) // and you
		f.rekey(expand(t, f.secret, "traffic upd", 32))
		done := make(chan struct{})
		go func() { // it has nothing to give out, but reads the answer
			f.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			f.Read(make([]byte, 1))
			close(done)
		}()
		<-done
		f.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n := f.raw.in.Len() - before; n != 5+5+1+16 {
			t.Errorf("%d bytes came, not a KeyUpdate", n)
		}
		f.send(f.record(dataRecord, get))
		answer(t, bufio.NewReader(f))
	}
	f.send(f.record(handshakeRecord, keyUpdate[:2])) // in two records
	f.send(f.record(handshakeRecord, keyUpdate[2:]+"\x00"))
	f.rekey(expand(t, f.secret, "traffic upd", 32))
	f.send(f.record(dataRecord, get))
	answer(t, bufio.NewReader(f))
}

func TestARecordThatWasTamperedWithEndsTheConnectionWithAnAlert(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	bad := f.record(dataRecord, get)
	bad[len(bad)-1]++
	f.send(bad)
	_, err := f.Read(make([]byte, 1))
	if alert := new(net.OpError); !errors.As(err, &alert) || alert.Op != "remote error" || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client was told %v", err)
	}
}

// What comes with an error is used: the request stands before the close_notify, in the same segment.
func TestARequestBeforeACloseNotifyIsAnswered(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	f.send(f.record(dataRecord, get), f.record(alertRecord, "\x01\x00"))
	br := bufio.NewReader(f)
	answer(t, br)
	if _, err := br.ReadByte(); err != io.EOF || f.raw.last() != alertSize {
		t.Errorf("then %v, after a record of %d bytes", err, f.raw.last())
	}
}

func TestACloseNotifyComesBeforeTheEnd(t *testing.T) {
	for name, x := range map[string]struct {
		ask    string
		answer http.HandlerFunc
		whole  bool
	}{
		"Connection: close":                   {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", echo, true},
		"an answer that its end delimits":     {"GET / HTTP/1.0\r\n\r\n", flood(3, false), true},
		"a bad request":                       {"GET\r\n\r\n", echo, true},
		"an answer of the node's, broken off": {"GET / HTTP/1.0\r\n\r\n", flood(3, true), false},
	} {
		d := openTLS(t, x.answer, nil)
		f := d.forge()
		f.send(f.record(dataRecord, x.ask))
		_, err := io.ReadAll(f)
		if closed := err == nil && f.raw.last() == alertSize; closed != x.whole {
			t.Errorf("%s: closed in order %v: %v", name, closed, err)
		}
	}
}

// flood answers with n chunks that are all sent one by one, and perhaps breaks off.
func flood(n int, breaks bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for range n {
			fmt.Fprint(w, strings.Repeat("x", 1000))
			w.(http.Flusher).Flush()
		}
		if breaks {
			panic(http.ErrAbortHandler)
		}
	}
}

// An end of one side is not that of the other: a tunnel's node still talks.
func TestATunnelThroughTLSEndsSideBySide(t *testing.T) {
	d := openTLS(t, func(w http.ResponseWriter, r *http.Request) {
		c, br, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, switched+"early ")
		b, _ := io.ReadAll(br)
		io.WriteString(c, "heard "+string(b))
	}, nil)
	f := d.forge()
	f.send(f.record(dataRecord, upgrade), f.record(dataRecord, "one "), f.record(dataRecord, "two"), f.record(alertRecord, "\x01\x00"))
	br := bufio.NewReader(f)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	if b, err := io.ReadAll(br); err != nil || string(b) != "early heard one two" || f.raw.last() != alertSize {
		t.Errorf("%q, %v", b, err)
	}
}

// openssl's client can be told to ask for what ours cannot. It takes one command from each read of what is typed.
func TestOpenSSLGetsNewKeysAndNoRenegotiation(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	d := openTLS(t, echo, nil)
	for _, x := range []struct{ version, command, done, want string }{
		{"-tls1_3", "K\n", "KEYUPDATE", "HTTP/1.1 200"},
		{"-tls1_2", "R\n", "RENEGOTIATING", "alert"},
	} {
		s := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", d.addr, x.version, "-alpn", "http/1.1")
		out, said, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s.Stdout, s.Stderr = said, said
		in, err := s.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		said.Close()
		all := bufio.NewScanner(out)
		until := func(text string) (found bool) {
			for !found && all.Scan() {
				found = strings.Contains(all.Text(), text)
			}
			return found
		}
		until("Verify return code")
		io.WriteString(in, x.command)
		if !until(x.done) {
			t.Errorf("no %s", x.done)
		}
		io.WriteString(in, get)
		if !until(x.want) {
			t.Errorf("after %s there was no %q", x.done, x.want)
		}
		in.Close()
		for all.Scan() {
		}
		s.Wait()
		out.Close()
	}
}

// What comes out of TLS is relayed as bytes, by the name that the client asked for.
func TestRawConnectionsEndTheirTLSHere(t *testing.T) {
	echoes := node(t, func(c *net.TCPConn, _ int) {
		b, _ := io.ReadAll(c)
		io.WriteString(c, "heard "+string(b))
	})
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
		d.set.Protocol = roost.ServesTCP
		s.Pools[0].Nodes[0].Addr = echoes
		s.Listeners[0].Routes[0].Keys = []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromSNI}}, Text: "sni"}}
	})
	f := d.forge()
	f.send(f.record(dataRecord, "one "), f.record(dataRecord, "two"), f.record(alertRecord, "\x01\x00"))
	if b, err := io.ReadAll(f); err != nil || string(b) != "heard one two" || f.raw.last() != alertSize {
		t.Errorf("%q, %v", b, err)
	}
	if key := <-d.keys; key != "roost.test" {
		t.Errorf("the key is %q", key)
	}
}

// narrow is Linux with small buffers of what is accepted.
type narrow struct{ kernel }

func (k *narrow) accept(fd int32) (int32, netip.AddrPort, syscall.Errno) {
	c, from, e := k.kernel.accept(fd)
	if e == 0 {
		option(uintptr(c), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
		option(uintptr(c), unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10)
	}
	return c, from, e
}

// Each KeyUpdate asks for another as an answer. Who sends on and on and takes no answer is not read any more.
func TestAFloodOfKeyUpdatesIsHeldBack(t *testing.T) {
	sink := node(t, func(c *net.TCPConn, _ int) { io.Copy(io.Discard, c) })
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
		d.set.Protocol = roost.ServesTCP
		s.Pools[0].Nodes[0].Addr = sink
		d.wrap = func(k kernel) kernel { return &narrow{k} }
	})
	f := d.forge()
	raw := f.raw.Conn.(*net.TCPConn)
	raw.SetReadBuffer(4 << 10)
	raw.SetWriteBuffer(16 << 10)
	for sent := 0; ; {
		var all []byte
		for range 100 {
			for range 15 { // more in a row are too many
				all = append(all, f.record(handshakeRecord, "\x18\x00\x00\x01\x01")...)
				f.rekey(expand(t, f.secret, "traffic upd", 32))
			}
			all = append(all, f.record(dataRecord, "x")...)
		}
		raw.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := raw.Write(all)
		if sent += n; errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil || sent > 2<<20 {
			t.Fatalf("%d bytes were read, and none of the answers to them: %v", sent, err)
		}
	}
}

func TestAFloodOfRecordsWithoutMeaningEnds(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	var all []byte
	for range 100 {
		all = append(all, f.record(dataRecord, "")...)
	}
	f.send(all)
	if _, err := f.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Error(err)
	}
}

// A request's records, wherever the stream is cut into segments.
func TestEverySplitOfTheRecordsGivesTheSameAnswer(t *testing.T) {
	d := openTLS(t, echo, nil)
	f := d.forge()
	br := bufio.NewReader(f)
	for cut := 1; cut < 93; cut += 7 {
		all := append(f.record(dataRecord, "POST / HTTP/1.1\r\nHost: h\r\nContent-"), f.record(dataRecord, "Length: 2\r\n\r\nok")...)
		f.send(all[:cut])
		if cut%2 == 0 { // the loop has read the first part: its answer to another connection says so
			c := d.shake(d.dial(), d.client())
			send(t, c, get)
			answer(t, bufio.NewReader(c))
			c.Close()
		}
		f.send(all[cut:])
		if got := answer(t, br); got != "https ok" {
			t.Errorf("cut at %d: %q", cut, got)
		}
	}
}
