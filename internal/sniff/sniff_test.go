package sniff

import (
	"strings"
	"testing"
)

func TestPrefaceIsKnownByItsPrefixes(t *testing.T) {
	for n := range preface {
		if match, more := Preface([]byte(preface[:n])); match || !more {
			t.Errorf("%q: match %v, more %v", preface[:n], match, more)
		}
		if match, more := Preface([]byte(preface[:n] + "\x00")); match || more {
			t.Errorf("%q and NUL: match %v, more %v", preface[:n], match, more)
		}
	}
	for _, behind := range []string{"", "\x00\x00\x00\x04\x00", preface} {
		if match, more := Preface([]byte(preface + behind)); !match || more {
			t.Errorf("preface and %q: match %v, more %v", behind, match, more)
		}
	}
	for _, other := range []string{"PRI * HTTP/1.1\r\n", "PRI /", "POST / HTTP/1.1", "pri * HTTP/2.0", "\r\nPRI * HTTP/2.0"} {
		if match, more := Preface([]byte(other)); match || more {
			t.Errorf("%q: match %v, more %v", other, match, more)
		}
	}
}

func TestClientHelloOnAClearPort(t *testing.T) {
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	for n := 1; n <= len(hello); n++ {
		if !TLSRecord([]byte(hello[:n])) {
			t.Errorf("%q: not TLS", hello[:n])
		}
	}
	for _, other := range []string{"", "\x15", "\x16\x02", "\x16\x03\x05", "\x16\x03\x01\x02\x00\x02", "\x80\x2e\x01\x03", "GET / HTTP/1.1\r\n", "\x10\x0c\x00\x04MQTT"} {
		if TLSRecord([]byte(other)) {
			t.Errorf("%q: TLS", other)
		}
	}
}

// More bytes never turn a no or a yes around; only a "more" can become either.
func FuzzPreface(f *testing.F) {
	f.Add([]byte(preface), uint8(3))
	f.Add([]byte(preface+"\x00\x00"), uint8(24))
	f.Add([]byte("PRI * HTTP/1.1\r\n\r\n"), uint8(14))
	f.Add([]byte("\x16\x03\x01\x00\xa5\x01"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		match, more := Preface(b)
		if match != strings.HasPrefix(string(b), preface) || more != (len(b) < len(preface) && strings.HasPrefix(preface, string(b))) {
			t.Errorf("%q: match %v, more %v", b, match, more)
		}
		early, open := Preface(b[:min(int(cut), len(b))])
		if !open && (early != match || more) || open && early {
			t.Errorf("%q: match %v, more %v; of %d bytes match %v, more %v", b, match, more, cut, early, open)
		}
		if len(b) > 0 && cut > 0 && TLSRecord(b) && !TLSRecord(b[:min(int(cut), len(b))]) {
			t.Errorf("%q is TLS, but its beginning is not", b)
		}
	})
}
