package h1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of.
const (
	isToken  = 1 << iota // tchar (RFC 9110, 5.6.2)
	isTarget             // a request target: visible ASCII but '#'. Stricter than RFC 3986 only where meaning could change
	isHost               // a host that is not an IP literal: unreserved and sub-delims (RFC 3986, 3.2.2), see hostPort
	isIPv6               // the inside of an IP literal
	isHex
	isDigit
)

const (
	alpha  = isToken | isTarget | isHost
	alphaF = alpha | isIPv6 | isHex
	digit  = alphaF | isDigit
)

// class holds what each byte may be part of. It is a constant in all but name: nothing writes to it.
var class = [256]uint8{
	'!': alpha, '"': isTarget, '#': isToken, '$': alpha, '%': isToken | isTarget, '&': alpha, '\'': alpha,
	'(': isTarget | isHost, ')': isTarget | isHost, '*': alpha, '+': alpha, ',': isTarget, '-': alpha, '.': alpha | isIPv6, '/': isTarget,
	'0': digit, '1': digit, '2': digit, '3': digit, '4': digit, '5': digit, '6': digit, '7': digit, '8': digit, '9': digit,
	':': isTarget | isIPv6, ';': isTarget | isHost, '<': isTarget, '=': isTarget | isHost, '>': isTarget, '?': isTarget, '@': isTarget,
	'A': alphaF, 'B': alphaF, 'C': alphaF, 'D': alphaF, 'E': alphaF, 'F': alphaF, 'G': alpha, 'H': alpha, 'I': alpha, 'J': alpha,
	'K': alpha, 'L': alpha, 'M': alpha, 'N': alpha, 'O': alpha, 'P': alpha, 'Q': alpha, 'R': alpha, 'S': alpha, 'T': alpha,
	'U': alpha, 'V': alpha, 'W': alpha, 'X': alpha, 'Y': alpha, 'Z': alpha,
	'[': isTarget, '\\': isTarget, ']': isTarget, '^': isToken | isTarget, '_': alpha, '`': isToken | isTarget,
	'a': alphaF, 'b': alphaF, 'c': alphaF, 'd': alphaF, 'e': alphaF, 'f': alphaF, 'g': alpha, 'h': alpha, 'i': alpha, 'j': alpha,
	'k': alpha, 'l': alpha, 'm': alpha, 'n': alpha, 'o': alpha, 'p': alpha, 'q': alpha, 'r': alpha, 's': alpha, 't': alpha,
	'u': alpha, 'v': alpha, 'w': alpha, 'x': alpha, 'y': alpha, 'z': alpha,
	'{': isTarget, '|': isToken | isTarget, '}': isTarget, '~': alpha,
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
