package roost_test

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"roost"
)

// rust13 are the 64 vectors of SipHash-1-3 in Rust's core library (library/coretests/tests/hash/sip.rs): key 00 to 0f,
// input 00, 01, 02 and so on, as many as the vector's number.
const rust13 = `
dcc40f055801acab 93ca577df39bf4c9 4dd4c74d029bcb82 fbf7dde7b80af88b 2883d388605775cf 673b53492fd5f9de a7229fc5502b0dc5
4011b19b987d92d3 8e9a298d11959036 e43d066cb38ea425 7f09ff92ee85de79 52c34df9c118c170 a2d9b457b184a378 a7ff29120c766f30
345df9c011a15a60 5699512a6dd820d3 668b907d1add4fcc 0cd8db639068f29c 3ee673b49c38fc8f 1c7d298de59d1ff2 40e0cca6462fdcc0
44f8452bfeab92b9 2e8720a39b7bfe7f 23c1e6da7f0e5a52 8c9c3467b2ae64f4 79095b702859cd45 a51399cae3353e3a 353bde4a4ec71da9
0dd06cef02ed0bfb f4e1b14ab43cd988 63e6c543d6110f54 bcd1218c1fdd7023 0db6a7166c7b1581 bff98f7ae5b9544d 3e752a1f78129f75
916b18bfbea3a1ce 0662a2add308f52c 5730c3a32d1c10b6 a1363aae9674f4b3 9283107b54576b62 3115e4993236d2c1 44d91a3f92c17c66
258813c8fe4f7065 a64989c2d180f224 6b87f8faed1ccac2 9621049ffc4b16c2 23d6b168939c6ea1 fd14518b9c16fb49 464c07dff843319f
b386cc1224affdc6 8f09520ad149af7e 9a2f299d5513f31c 121ff4a2dd304ac4 d01ea74389e9fa36 e6bcf0734cb38f31 80e9a77036bf7aa2
756d3c24dbc0bcb4 1315b7fd52d8f823 088a7da64d5f038f 48f1e8b7e5d09cd8 ee44a6f7bce6f4f6 f237180fd89ac5ae e094664b15f6b2c3
a8b3bbb76290199d`

// counting is 00, 01, 02 and so on.
func counting(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

func TestHashIsTheOneOfRustsCoreLibrary(t *testing.T) {
	h := roost.Hash{Algo: roost.SipHash13, Key: [16]byte(counting(16))}
	vectors := strings.Fields(rust13)
	if len(vectors) != 64 {
		t.Fatalf("%d vectors, want 64", len(vectors))
	}
	for n, want := range vectors {
		got := hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, uint64(h.Sum(counting(n)))))
		if got != want {
			t.Errorf("hash of %d bytes: %s, want %s", n, got, want)
		}
	}
}

// With an all-zero key it is Python's hash of bytes under PYTHONHASHSEED=0 (3.11 and later).
func TestHashIsTheOneOfPython(t *testing.T) {
	h := roost.Hash{Algo: roost.SipHash13}
	for key, want := range map[string]roost.KeyHash{
		"a":                              0x407448d2b89b1813,
		"/r/app/fn":                      0xa2f74adb7f49baa6,
		"0123456789abcdef":               0x1d42b30f7e060c24,
		"/r/shop/checkout/confirm/order": 0xb808a7a8dd95b329,
		"café/東京":                        0x90074129db630eac,
		strings.Repeat("x", 1000):        0x1b47c0cc4dd21f05,
	} {
		if got := h.Sum([]byte(key)); got != want {
			t.Errorf("hash of %.20q: %#x, want %#x", key, uint64(got), uint64(want))
		}
	}
}

// sip is SipHash-c-d as the paper writes it (Aumasson and Bernstein, 2012): slow and plain.
func sip(c, d int, key [16]byte, p []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	round := func() {
		half := func(a, b, c, d int, s, t int) {
			v[a] += v[b]
			v[c] += v[d]
			v[b] = bits.RotateLeft64(v[b], s) ^ v[a]
			v[d] = bits.RotateLeft64(v[d], t) ^ v[c]
			v[a] = bits.RotateLeft64(v[a], 32)
		}
		half(0, 1, 2, 3, 13, 16)
		half(2, 1, 0, 3, 17, 21)
	}
	padded := append([]byte{}, p...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(p)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		for range c {
			round()
		}
		v[0] ^= m
	}
	v[2] ^= 0xff
	for range d {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestHashIsThePapersWithFewerRounds(t *testing.T) {
	// The twin is right: the paper's appendix A and the first vectors of the reference implementation of SipHash-2-4.
	key := [16]byte(counting(16))
	if got := sip(2, 4, key, counting(15)); got != 0xa129ca6149be45e5 {
		t.Fatalf("the paper's example: %#x", got)
	}
	for n, want := range []uint64{0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7} {
		if got := sip(2, 4, key, counting(n)); got != want {
			t.Fatalf("SipHash-2-4 of %d bytes: %#x, want %#x", n, got, want)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		var h roost.Hash
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		for i := range h.Key {
			h.Key[i] = byte(rnd.Uint32())
		}
		if got, want := uint64(h.Sum(p)), sip(1, 3, h.Key, p); got != want {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
}

func TestHashNeverShowsItsKey(t *testing.T) {
	type table struct{ Hash roost.Hash }
	v := table{roost.Hash{Algo: roost.SipHash13, Key: [16]byte{222, 173}}}
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%+v %#v %x %s", v, v, v, v), string(asJSON)} {
		if strings.Contains(s, "222") || strings.Contains(s, "dead") || strings.Contains(s, "0xde") {
			t.Errorf("the key shows: %s", s)
		}
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	h := roost.Hash{Algo: roost.SipHash13}
	key := counting(30)
	var sum roost.KeyHash
	if n := testing.AllocsPerRun(100, func() { sum += h.Sum(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHash30Bytes(b *testing.B) {
	h := roost.Hash{Algo: roost.SipHash13, Key: [16]byte(counting(16))}
	key := counting(30)
	var sum roost.KeyHash
	for b.Loop() {
		sum += h.Sum(key)
	}
}
