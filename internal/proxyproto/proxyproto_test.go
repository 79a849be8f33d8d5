package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const (
	v4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x01\xbb" // 192.0.2.1:12345 to 198.51.100.2:443
	v6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x01\xff\xff"
)

func v2(command, family byte, body string) string {
	return signature + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

func tlv(kind byte, value string) string { return string(appendTLV(nil, 0, TLV{kind, value})) }

// summed adds a checksum to a header of version 2 by the standard library.
func summed(family byte, addrs, tlvs string) string {
	b := []byte(v2(0x21, family, addrs+tlv(TypeCRC32C, "\x00\x00\x00\x00")+tlvs))
	binary.BigEndian.PutUint32(b[fixed+len(addrs)+3:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

func TestEveryHeaderHasItsMeaning(t *testing.T) {
	for _, c := range []struct {
		name, b string
		want    Header
		err     error
	}{
		{"TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", Header{Version: 1, Src: ap("192.0.2.1:12345"), Dst: ap("198.51.100.2:443")}, nil},
		{"TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", Header{Version: 1, Src: ap("[2001:db8::1]:0"), Dst: ap("[2001:db8::2]:65535")}, nil},
		{"a mapped address", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Header{Version: 1, Src: ap("192.0.2.1:1"), Dst: ap("[::1]:2")}, nil},
		{"the longest", "PROXY UNKNOWN " + strings.Repeat("f", maxV1-16) + "\r\n", Header{Version: 1}, nil},
		{"UNKNOWN alone", "PROXY UNKNOWN\r\n", Header{Version: 1}, nil},
		{"one too long", "PROXY UNKNOWN " + strings.Repeat("f", maxV1-15) + "\r\n", Header{}, ErrTooLong},
		{"LF alone", "PROXY UNKNOWN\n", Header{}, ErrFormat},
		{"UNKNOWNX", "PROXY UNKNOWNX\r\n", Header{}, ErrFormat},
		{"families that do not fit", "PROXY TCP4 ::1 ::1 1 2\r\n", Header{}, ErrFormat},
		{"two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n", Header{}, ErrFormat},
		{"a space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n", Header{}, ErrFormat},
		{"a leading zero", "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", Header{}, ErrFormat},
		{"no such port", "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", Header{}, ErrFormat},
		{"a port missing", "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", Header{}, ErrFormat},
		{"a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Header{}, ErrFormat},
		{"HTTP", "GET / HTTP/1.1\r\n", Header{}, ErrNone},
		{"lower case", "proxy TCP4", Header{}, ErrNone},

		{"INET", v2(0x21, 0x11, v4), Header{Version: 2, Src: ap("192.0.2.1:12345"), Dst: ap("198.51.100.2:443")}, nil},
		{"INET6", v2(0x21, 0x21, v6), Header{Version: 2, Src: ap("[2001:db8::1]:1"), Dst: ap("[2001:db8::2]:65535")}, nil},
		{"UNIX", v2(0x21, 0x31, strings.Repeat("u", 216)+tlv(5, "id")), Header{Version: 2, TLVs: TLVs(tlv(5, "id"))}, nil},
		{"UNSPEC", v2(0x21, 0x00, tlv(5, "id")), Header{Version: 2, TLVs: TLVs(tlv(5, "id"))}, nil},
		{"LOCAL", v2(0x20, 0x11, v4), Header{Version: 2, Local: true}, nil},
		{"LOCAL without addresses", v2(0x20, 0x11, ""), Header{Version: 2, Local: true}, nil},
		{"TLVs", v2(0x21, 0x11, v4+tlv(2, "a.example")+tlv(4, "")), Header{Version: 2, Src: ap("192.0.2.1:12345"), Dst: ap("198.51.100.2:443"), TLVs: TLVs(tlv(2, "a.example") + tlv(4, ""))}, nil},
		{"a checksum", summed(0x11, v4, tlv(5, "id")), Header{Version: 2, Src: ap("192.0.2.1:12345"), Dst: ap("198.51.100.2:443"), TLVs: TLVs(summed(0x11, v4, tlv(5, "id"))[fixed+12:])}, nil},
		{"a wrong checksum", v2(0x21, 0x11, v4+tlv(TypeCRC32C, "\x00\x00\x00\x00")), Header{}, ErrChecksum},
		{"half a checksum", v2(0x21, 0x11, v4+tlv(TypeCRC32C, "\x00\x00")), Header{}, ErrFormat},
		{"version 3", v2(0x31, 0x11, v4), Header{}, ErrVersion},
		{"command 2", v2(0x22, 0x11, v4), Header{}, ErrMode},
		{"family 4", v2(0x21, 0x41, v4), Header{}, ErrMode},
		{"transport 3", v2(0x21, 0x13, v4), Header{}, ErrMode},
		{"addresses cut short", v2(0x21, 0x21, v4), Header{}, ErrFormat},
		{"a TLV cut short", v2(0x21, 0x11, v4+"\x05\x00\x03id"), Header{}, ErrFormat},
		{"half a TLV", v2(0x21, 0x11, v4+"\x05\x00"), Header{}, ErrFormat},
		{"an inner TLV cut short", v2(0x21, 0x11, v4+tlv(TypeSSL, "\x01\x00\x00\x00\x00\x22\x00\x05ab")), Header{}, ErrFormat},
		{"an SSL TLV without its head", v2(0x21, 0x11, v4+tlv(TypeSSL, "\x01\x00")), Header{}, ErrFormat},
		{"the largest", v2(0x21, 0x00, tlv(0xE0, strings.Repeat("x", MaxHeader-fixed-3))), Header{Version: 2, TLVs: TLVs(tlv(0xE0, strings.Repeat("x", MaxHeader-fixed-3)))}, nil},
		{"one too large", v2(0x21, 0x00, "")[:fixed-2] + "\x0f\xf1", Header{}, ErrTooLong},
	} {
		for _, behind := range []string{"", "GET / HTTP/1.1\r\n", signature} {
			var h Header
			whole, err := Parse(c.b+behind, &h)
			want := c.want
			if c.err == nil {
				want.Size = len(c.b)
			}
			if whole != (c.err == nil) || err != c.err || h != want {
				t.Errorf("%s: %v, %v, %+v; want %v, %+v", c.name, whole, err, h, c.err, want)
			}
		}
		for n := range len(c.b) {
			var h Header
			if whole, err := Parse(c.b[:n], &h); whole || err != nil && err != c.err {
				t.Fatalf("%s: of %d bytes %v, %v", c.name, n, whole, err)
			}
		}
	}
}

func TestTLVsAreFoundByTypeAndInsideOfSSL(t *testing.T) {
	list := TLVs(tlv(4, "") + tlv(TypeAWS, "\x01vpce-1") + tlv(TypeAWS, "second") +
		tlv(TypeSSL, "\x05\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3")+tlv(TypeSSLCN, "device-7")))
	for kind, want := range map[int]string{TypeAWS: "\x01vpce-1", SSLCommonName: "device-7", TypeSSL<<8 | 0x21: "TLSv1.3", 4: ""} {
		if got, ok := list.Find(kind); !ok || got != want {
			t.Errorf("%#x: %q, %v", kind, got, ok)
		}
	}
	for _, kind := range []int{TypeAuthority, 0x21, TypeSSL<<8 | 0x23, TypeAWS<<8 | 1} {
		if got, ok := list.Find(kind); ok {
			t.Errorf("%#x: %q", kind, got)
		}
	}
	forged := TLVs(tlv(TypeSSL, "\x05\x00\x00\x00\x01"+tlv(TypeSSLCN, "device-7")))
	if got, ok := forged.Find(SSLCommonName); ok {
		t.Errorf("the name of a certificate that was not verified: %q", got)
	}
}

func TestWhatIsAppendedIsRead(t *testing.T) {
	for _, in := range []Header{
		{Src: ap("192.0.2.1:1"), Dst: ap("198.51.100.2:65535")},
		{Src: ap("[2001:db8::1]:1"), Dst: ap("[2001:db8::2]:0")},
		{Src: ap("[::ffff:192.0.2.1]:1"), Dst: ap("198.51.100.2:10")},
		{},
		{Src: ap("192.0.2.1:1")},
	} {
		want := Header{}
		if in.Src.IsValid() && in.Dst.IsValid() {
			want.Src, want.Dst = netip.AddrPortFrom(in.Src.Addr().Unmap(), in.Src.Port()), in.Dst
		}
		var h1, h2 Header
		b := AppendV1([]byte("before"), &in)[len("before"):]
		whole, err := Parse(string(b), &h1)
		want.Version, want.Size = 1, len(b)
		if !whole || err != nil || h1 != want {
			t.Errorf("%q: %v, %+v", b, err, h1)
		}
		b = AppendV2([]byte("before"), &in)[len("before"):]
		whole, err = Parse(string(b), &h2)
		want.Version, want.Size = 2, len(b)
		if !whole || err != nil || h2 != want {
			t.Errorf("%q: %v, %+v", b, err, h2)
		}
	}
	mixed := &Header{Src: ap("192.0.2.1:1"), Dst: ap("[2001:db8::2]:2")}
	if got := string(AppendV1(nil, mixed)); got != "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n" {
		t.Errorf("two families: %q", got)
	}
	if got := string(AppendV2(nil, &Header{Local: true})); got != v2(0x20, 0, "") {
		t.Errorf("local: %q", got)
	}
}

func TestTLVsPassOnUnlessTheyAreKnownBetterHere(t *testing.T) {
	in := &Header{TLVs: TLVs(tlv(TypeALPN, "h2") + tlv(TypeAuthority, "old") + tlv(TypeCRC32C, "abcd") + tlv(TypeNoop, "pad") +
		tlv(TypeUniqueID, "7") + tlv(TypeNetNS, "ns") + tlv(TypeAWS, "\x01vpce"))}
	b := AppendV2(nil, in, TLV{TypeAuthority, "new"}, TLV{TypeALPN, ""}, SSL("device-7"))
	var h Header
	if whole, err := Parse(string(b), &h); !whole || err != nil {
		t.Fatal(err)
	}
	want := tlv(TypeAuthority, "new") + tlv(TypeSSL, "\x05\x00\x00\x00\x00"+tlv(TypeSSLCN, "device-7")) + tlv(TypeALPN, "h2") + tlv(TypeUniqueID, "7") + tlv(TypeAWS, "\x01vpce")
	if string(h.TLVs) != want {
		t.Errorf("%q, want %q", h.TLVs, want)
	}
	full := &Header{TLVs: TLVs(tlv(0xE0, strings.Repeat("x", MaxHeader-fixed-3)))}
	if b := AppendV2(nil, full, TLV{TypeAuthority, "new"}); len(b) > MaxHeader || !strings.Contains(string(b), "new") {
		t.Errorf("%d bytes", len(b))
	}
}

func TestHeadersAllocateNothing(t *testing.T) {
	one, two := "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", summed(0x21, v6, tlv(2, "a.example"))
	buf := make([]byte, 0, MaxHeader)
	var h Header
	if n := testing.AllocsPerRun(100, func() {
		Parse(one, &h)
		buf = AppendV1(buf[:0], &h)
		Parse(two, &h)
		buf = AppendV2(buf[:0], &h, TLV{TypeAuthority, "b.example"})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// However the input is split the answer is the same; what was read and is written anew is read as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET", v2(0x21, 0x11, v4+tlv(2, "a")), v2(0x20, 0, ""), summed(0x21, v6, tlv(4, "xx"))} {
		f.Add([]byte(s), uint16(20))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		b := string(in)
		var h, early Header
		whole, err := Parse(b, &h)
		if w, e := Parse(b[:min(int(cut), len(b))], &early); (w || e != nil) && (w != whole || e != err || early != h) {
			t.Fatalf("%v, %v on a part; %v, %v on all", w, e, whole, err)
		}
		if !whole && err == nil && len(b) >= MaxHeader {
			t.Fatalf("more than %d bytes are asked for", MaxHeader)
		}
		if !whole {
			return
		}
		if h.Size > len(b) || h.Size > MaxHeader {
			t.Fatalf("%d bytes of %d", h.Size, len(b))
		}
		var again Header
		out := AppendV2(nil, &h)
		if w, err := Parse(string(out), &again); !w || err != nil || again.Local != h.Local {
			t.Fatalf("%q: %v", out, err)
		}
		if h.Src.IsValid() && (again.Src.Port() != h.Src.Port() || again.Src.Addr() != h.Src.Addr()) {
			t.Fatalf("%v became %v", h.Src, again.Src)
		}
		kinds := func(l TLVs) (all []TLV) {
			for l != "" {
				var t TLV
				if t, l = l.Next(); t.passes() {
					all = append(all, t)
				}
			}
			return all
		}
		if !slices.Equal(kinds(h.TLVs), kinds(again.TLVs)) {
			t.Fatalf("TLVs %q became %q", h.TLVs, again.TLVs)
		}
	})
}
