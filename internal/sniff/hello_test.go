package sniff

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
)

// hello is what Go's own client sends.
func hello(t testing.TB, conf *tls.Config) string {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		tls.Client(client, conf).Handshake()
		client.Close()
	}()
	defer server.Close()
	head := make([]byte, recordHead)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return string(head) + string(body)
}

// build makes a ClientHello of the extensions given.
func build(extensions ...string) string {
	list := strings.Join(extensions, "")
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x04\x0a\x0a\x13\x01" + "\x01\x00" + be16(len(list)) + list
	return record("\x01\x00" + be16(len(body)) + body)
}

func be16(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }

func record(fragment string) string { return "\x16\x03\x01" + be16(len(fragment)) + fragment }

func ext(kind int, data string) string { return be16(kind) + be16(len(data)) + data }

func sni(name string) string {
	entry := "\x00" + be16(len(name)) + name
	return ext(0, be16(len(entry))+entry)
}

// split spreads a hello of one record over records of the sizes given, and the rest over one more.
func split(b string, sizes ...int) string {
	message, out := b[recordHead:], ""
	for _, n := range sizes {
		if n = min(n, len(message)-1); n <= 0 {
			break
		}
		out, message = out+record(message[:n]), message[n:]
	}
	return out + record(message)
}

func TestAClientHelloTellsHostAndProtocols(t *testing.T) {
	for _, conf := range []*tls.Config{
		{ServerName: "a.example.com", NextProtos: []string{"mqtt", "h2"}},
		{ServerName: "a.example.com", NextProtos: []string{"mqtt", "h2"}, MaxVersion: tls.VersionTLS12},
	} {
		b := hello(t, conf)
		var h Hello
		if v := ClientHello(b+"more", &h); v != Whole || h.SNI != "a.example.com" {
			t.Errorf("verdict %d, %+v", v, h)
		}
		if !h.Offers("h2") || !h.Offers("mqtt") || h.Offers("h") || h.Offers("") {
			t.Errorf("protocols %q", h.ALPN)
		}
	}
	var h Hello
	if v := ClientHello(hello(t, &tls.Config{InsecureSkipVerify: true}), &h); v != Whole || h.SNI != "" || h.ALPN != "" {
		t.Errorf("without a name: verdict %d, %+v", v, h)
	}
}

func TestEveryHelloHasItsVerdict(t *testing.T) {
	grease := ext(0x0a0a, "") + ext(0xdada, "\x00")
	whole := build(grease, sni("a.example"), ext(0xfe0d, strings.Repeat("e", 200)), ext(16, be16(3)+"\x02h2"))
	for _, c := range []struct {
		name, b string
		want    Verdict
		sni     string
	}{
		{"nothing", "", More, ""},
		{"grease and an encrypted inner hello", whole, Whole, "a.example"},
		{"no extensions at all", record("\x01\x00\x00\x29\x03\x01" + strings.Repeat("r", 32) + "\x00\x00\x02\x00\x2f\x01\x00"), Whole, ""},
		{"an empty name", build(sni("")), Whole, ""},
		{"another type of name", build(ext(0, be16(8)+"\x01\x00\x00"+"\x00\x00\x02a.")), Whole, "a."},
		{"an empty extension", build(ext(0, "")), Malformed, ""},
		{"an empty list of names", build(ext(0, "\x00\x00")), Malformed, ""},
		{"two names", build(ext(0, be16(8)+"\x00\x00\x01a"+"\x00\x00\x01b")), Malformed, ""},
		{"the extension twice", build(sni("a"), sni("a")), Malformed, ""},
		{"a name with a zero byte", build(sni("a\x00b")), Malformed, ""},
		{"a name in UTF-8", build(sni("ä.example")), Malformed, ""},
		{"a name that is too long", build(sni(strings.Repeat("a", 256))), Malformed, ""},
		{"a protocol without a name", build(ext(16, be16(1)+"\x00")), Malformed, ""},
		{"an extension longer than all", build(sni("a")[:8]), Malformed, ""},
		{"a session id that is too long", record("\x01\x00\x00\x4a\x03\x03" + strings.Repeat("r", 32) + "\x21" + strings.Repeat("s", 33) + "\x00\x02\x13\x01\x01\x00"), Malformed, ""},
		{"an empty record", "\x16\x03\x01\x00\x00", Malformed, ""},
		{"a record that is too long", "\x16\x03\x01\x40\x01", Malformed, ""},
		{"a message that is too long", "\x16\x03\x01\x00\x04\x01\x00\x40\x00", Malformed, ""},
		{"application data inside", split(whole, 9)[:14] + "\x17", Malformed, ""},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x28", Other, ""},
		{"HTTP", "GET / HTTP/1.1\r\n", Other, ""},
		{"a server's hello", "\x16\x03\x03\x00\x7a\x02", Malformed, ""},
		{"SSL 2", "\x80\x2e\x01\x03\x01", Other, ""},
	} {
		var h Hello
		if v := ClientHello(c.b, &h); v != c.want || h.SNI != c.sni {
			t.Errorf("%s: verdict %d, want %d; name %q", c.name, v, c.want, h.SNI)
		}
	}
}

func TestAHelloInManyRecordsIsReadAndTooManyAreNot(t *testing.T) {
	b := build(sni("a.example"))
	ones := slices.Repeat([]int{1}, maxRecords-1)
	var h Hello
	if v := ClientHello(split(b, ones...), &h); v != Whole || h.SNI != "a.example" {
		t.Errorf("%d records: verdict %d, %+v", maxRecords, v, h)
	}
	if v := ClientHello(split(b, append(ones, 1)...), &h); v != Malformed {
		t.Errorf("%d records: verdict %d", maxRecords+1, v)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var sizes []int
		for range rnd.IntN(8) {
			sizes = append(sizes, 1+rnd.IntN(20))
		}
		if v := ClientHello(split(b, sizes...), &h); v != Whole || h.SNI != "a.example" {
			t.Fatalf("cut at %v: verdict %d, %+v", sizes, v, h)
		}
	}
}

func TestTheLargestHelloFitsIntoWhatIsHeld(t *testing.T) {
	b := build(ext(21, strings.Repeat("\x00", maxMessage-4-2-32-1-6-2-2-4)))
	if len(b) != recordHead+maxMessage {
		t.Fatal(len(b))
	}
	var h Hello
	most := split(b, slices.Repeat([]int{500}, maxRecords-1)...)
	if v := ClientHello(most, &h); v != Whole || len(most) > MaxHello {
		t.Errorf("verdict %d, %d bytes of %d", v, len(most), MaxHello)
	}
}

func TestAHelloInOneRecordAllocatesNothing(t *testing.T) {
	b := hello(t, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"mqtt"}})
	var h Hello
	if n := testing.AllocsPerRun(100, func() { ClientHello(b, &h); ClientHello(b[:100], &h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A verdict on the beginning is More, or the verdict on all.
func FuzzClientHello(f *testing.F) {
	b := hello(f, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"mqtt"}})
	f.Add([]byte(b), uint16(7))
	f.Add([]byte(split(b, 1, 3, 40)), uint16(60))
	f.Add([]byte(build(ext(0x1a1a, ""), sni("x.y"))), uint16(5))
	f.Add([]byte(build(ext(0, ""))), uint16(50))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		before := bytes.Clone(b)
		var all, part Hello
		v := ClientHello(string(b), &all)
		if early := ClientHello(string(b[:min(int(cut), len(b))]), &part); early != More && (early != v || part != all) {
			t.Errorf("verdict %d on %d bytes %+v, %d on all %+v", early, cut, part, v, all)
		}
		if len(b) >= MaxHello && v == More {
			t.Errorf("more than %d bytes are asked for", MaxHello)
		}
		if !bytes.Equal(b, before) {
			t.Error("the input was changed")
		}
	})
}
