package route

import (
	"strings"
	"testing"

	"roost"
)

// rawRoute is a route of raw connections by keys.
func rawRoute(t testing.TB, keys ...string) *roost.Route {
	t.Helper()
	rt := &roost.Route{}
	for _, text := range keys {
		k, err := ParseKey(text, Scope{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		rt.Keys = append(rt.Keys, k)
	}
	return rt
}

func TestKeysOfRawConnections(t *testing.T) {
	tlvs := "\x02\x00\x01a\xea\x00\x03\x01vp" + "\x20\x00\x0a\x05\x00\x00\x00\x00\x22\x00\x02d7"
	for _, c := range []struct{ key, first, want string }{
		{"bytes[0:3]", "abcdef", "abc"},
		{"bytes[2:6]", "abcdef", "cdef"},
		{"bytes[2:7]", "abcdef", ""},
		{`bytes_until:\n`, "SITE 7\nrest", "SITE 7"},
		{`bytes_until:\r\n`, "a\nb\r\n", "a\nb"},
		{`bytes_until:\x00`, "user\x00db", "user"},
		{`bytes_until:\0\\`, "user\x00\\db", "user"},
		{"bytes_until:ab", "ab", ""},
		{"bytes_until: ", "one two", "one"},
		{"bytes_until:;", strings.Repeat("x", roost.MaxFirst) + ";", ""},
		{"{bytes[0:1]}/{bytes_until:;}", "ab;", "a/ab"},
		{"proxy_tlv:authority", "", "a"},
		{"proxy_tlv:2", "", "a"},
		{"proxy_tlv:aws", "", "\x01vp"},
		{"proxy_tlv:0xEA", "", "\x01vp"},
		{"proxy_tlv:ssl_cn", "", "d7"},
		{"proxy_tlv:alpn", "", ""},
	} {
		key, ok := Extract(rawRoute(t, c.key), &roost.Request{First: c.first, TLVs: tlvs}, nil, 0)
		if string(key) != c.want || ok != (c.want != "") {
			t.Errorf("%s of %q: %q, %v", c.key, c.first, key, ok)
		}
	}
}

// What Short calls enough stays enough: more bytes never change the key.
func FuzzShort(f *testing.F) {
	f.Add("ab;cd", uint8(2), uint8(2), uint8(5))
	f.Add("a\nb", uint8(1), uint8(0), uint8(1))
	f.Add(strings.Repeat("x", roost.MaxFirst+2), uint8(200), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, first string, cut, from, length uint8) {
		rt := rawRoute(t, `bytes_until:\n`, "bytes_until:;;")
		rt.Keys = append(rt.Keys, roost.KeyProgram{Ops: []roost.KeyOp{{From: roost.FromBytes, Index: int(from), End: int(from) + int(length) + 1}}})
		all, okAll := Extract(rt, &roost.Request{First: first}, nil, 0)
		part := &roost.Request{First: first[:min(int(cut), len(first))]}
		if Short(rt, part, nil, 0) {
			if len(part.First) >= roost.MaxFirst {
				t.Fatal("more than MaxFirst is asked for")
			}
			return
		}
		if key, ok := Extract(rt, part, nil, 0); ok != okAll || string(key) != string(all) {
			t.Fatalf("%q of %d bytes, %q of all", key, len(part.First), all)
		}
	})
}
