package roost

import (
	"encoding/binary"
	"math/bits"
)

// HashAlgo names the function that turns a key into a KeyHash. A number is never given a second meaning.
type HashAlgo uint8

// SipHash13 is SipHash with one compression and three finalization rounds (Aumasson and Bernstein, 2012; the variant
// of Rust's and Python's hash tables): keyed, so that a client who does not know the key cannot aim at one slot, and
// fast enough for the request path.
const SipHash13 HashAlgo = 1

// Hash is part of every table: the function and its secret. Changing either moves every key.
// The key is redacted in every surface.
type Hash struct {
	Algo HashAlgo
	Key  [16]byte
}

// Sum hashes a key's bytes. The result is the same on every platform and in every release (golden vectors in tests).
func (h *Hash) Sum(key []byte) KeyHash {
	return KeyHash(siphash13(binary.LittleEndian.Uint64(h.Key[:8]), binary.LittleEndian.Uint64(h.Key[8:]), key))
}

// String hides the secret, and so do GoString and MarshalText: a table that is printed or encoded by chance keeps it.
func (h Hash) String() string { return "siphash-1-3(redacted)" }

// GoString hides the secret.
func (h Hash) GoString() string { return h.String() }

// MarshalText hides the secret.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func siphash13(k0, k1 uint64, p []byte) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	last := uint64(len(p)) << 56
	if rest := p[len(p)&^7:]; len(p) >= 8 {
		last |= binary.LittleEndian.Uint64(p[len(p)-8:]) >> (64 - 8*len(rest)) // its upper bytes are the rest
	} else {
		for i, c := range rest {
			last |= uint64(c) << (8 * i)
		}
	}
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
		v0 ^= m
	}
	v3 ^= last
	v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipround(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
