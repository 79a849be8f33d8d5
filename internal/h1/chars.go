package h1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of.
const (
	isToken  = 1 << iota // tchar (RFC 9110, 5.6.2)
	isTarget             // a request target: visible ASCII but '#'. Quotes, braces and the like are no URI characters, but common
	isHost               // a host that is not an IP literal: unreserved and sub-delims (RFC 3986, 3.2.2), see hostPort
	isIPv6               // the inside of an IP literal
	isHex
	isDigit
)

const (
	plain      = isToken | isTarget | isHost
	plainHex   = plain | isIPv6 | isHex
	plainDigit = plainHex | isDigit
)

// class holds what each byte may be part of. It is a constant in all but name: nothing writes to it.
var class = [256]uint8{
	'!': plain, '"': isTarget, '#': isToken, '$': plain, '%': isToken | isTarget, '&': plain, '\'': plain,
	'(': isTarget | isHost, ')': isTarget | isHost, '*': plain, '+': plain, ',': isTarget, '-': plain, '.': plain | isIPv6, '/': isTarget,
	'0': plainDigit, '1': plainDigit, '2': plainDigit, '3': plainDigit, '4': plainDigit, '5': plainDigit, '6': plainDigit, '7': plainDigit, '8': plainDigit, '9': plainDigit,
	':': isTarget | isIPv6, ';': isTarget | isHost, '<': isTarget, '=': isTarget | isHost, '>': isTarget, '?': isTarget, '@': isTarget,
	'A': plainHex, 'B': plainHex, 'C': plainHex, 'D': plainHex, 'E': plainHex, 'F': plainHex, 'G': plain, 'H': plain, 'I': plain, 'J': plain,
	'K': plain, 'L': plain, 'M': plain, 'N': plain, 'O': plain, 'P': plain, 'Q': plain, 'R': plain, 'S': plain, 'T': plain,
	'U': plain, 'V': plain, 'W': plain, 'X': plain, 'Y': plain, 'Z': plain,
	'[': isTarget, '\\': isTarget, ']': isTarget, '^': isToken | isTarget, '_': plain, '`': isToken | isTarget,
	'a': plainHex, 'b': plainHex, 'c': plainHex, 'd': plainHex, 'e': plainHex, 'f': plainHex, 'g': plain, 'h': plain, 'i': plain, 'j': plain,
	'k': plain, 'l': plain, 'm': plain, 'n': plain, 'o': plain, 'p': plain, 'q': plain, 'r': plain, 's': plain, 't': plain,
	'u': plain, 'v': plain, 'w': plain, 'x': plain, 'y': plain, 'z': plain,
	'{': isTarget, '|': isToken | isTarget, '}': isTarget, '~': plain,
}

// span counts how many bytes at the beginning of b are of the class.
func span(b []byte, of uint8) int {
	for i, c := range b {
		if class[c]&of == 0 {
			return i
		}
	}
	return len(b)
}

// text counts how many bytes at the beginning of b may stand in a field value or a reason phrase: visible ASCII, SP,
// HTAB and obs-text (RFC 9110, 5.5). It looks at eight bytes at once.
func text(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ ones*0x7f
		// The high bit of a byte of the first term is set if the byte is below 0x20, of the second if it is 0x7f. A borrow can
		// set it in vain only above a byte for which it is set rightly, so the lowest is always right (Warren, Hacker's
		// Delight, 6-1).
		control := ((x-ones*0x20)&^x | (del-ones)&^del) & highs
		if control == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(control) / 8
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && isText(b[i]) {
		i++
	}
	return i
}

// target counts how many bytes at the beginning of b may stand in a request target: visible ASCII but '#'. It looks at eight
// bytes at once, as text does.
func target(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del, hash := x^ones*0x7f, x^ones*'#'
		if other := ((x-ones*'!')&^x | (del-ones)&^del | (hash-ones)&^hash | x) & highs; other != 0 {
			return i + bits.TrailingZeros64(other)/8
		}
	}
	return i + span(b[i:], isTarget)
}

func isText(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }

// equalFold tells whether b is s in any case. s is in lower case and made of letters, digits and "-:/"; b holds no control
// characters, so that setting bit 5 turns nothing but upper case letters into what s may hold.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c|0x20 != s[i] {
			return false
		}
	}
	return true
}
