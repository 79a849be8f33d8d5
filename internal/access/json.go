package access

import (
	"time"
	"unicode/utf8"
)

// cut marks a string that was longer than its limit.
const cut = "…"

// appendString appends s as a JSON string (RFC 8259, 7) of at most limit bytes between its quotes, the mark of a cut
// excepted; a cut never splits a character or an escape. A byte that is not UTF-8 becomes \ufffd, as encoding/json has
// it. Control characters are escaped beyond what JSON asks for (DEL and U+0080 to U+009F): terminals obey them, and
// people read logs in terminals.
func appendString[T string | []byte](dst []byte, s T, limit int) []byte {
	dst = append(dst, '"')
	end := len(dst) + limit
	s = s[:min(len(s), limit+1)] // JSON is never shorter than what it stands for: one byte more suffices to see the cut
	for len(s) > 0 {
		n := 0
		for n < len(s) && plain(s[n]) {
			n++
		}
		if room := end - len(dst); n > room {
			dst = append(append(dst, s[:room]...), cut...)
			break
		}
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			break
		}
		var head [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(head[:copy(head[:], s)])
		before := len(dst)
		if dst = appendRune(dst, r, size); len(dst) > end {
			dst = append(dst[:before], cut...)
			break
		}
		s = s[size:]
	}
	return append(dst, '"')
}

// plain tells whether c stands for itself.
func plain(c byte) bool { return ' ' <= c && c < 0x7f && c != '"' && c != '\\' }

// appendRune appends one character, which took size bytes, as it stands in a JSON string.
func appendRune(dst []byte, r rune, size int) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r == utf8.RuneError && size == 1, r < ' ', 0x7f <= r && r < 0xa0,
		r == '\u2028', r == '\u2029': // line ends to JavaScript, so encoding/json escapes them also
		const hex = "0123456789abcdef"
		return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// appendTime appends Unix nanoseconds as an RFC 3339 time in UTC with milliseconds. AppendFormat is fast for layouts that
// it knows by heart, and this is none of them: its seconds, with three digits put in, take 35 ns instead of 135.
func appendTime(dst []byte, nanos int64) []byte {
	t := time.Unix(0, nanos).UTC()
	dst = t.AppendFormat(dst, time.RFC3339)
	dst = append(dst[:len(dst)-len("Z")], '.')
	return append(appendDigits(dst, t.Nanosecond()/1e6, 3), 'Z')
}

// appendDigits appends n, which is not negative, with leading zeros.
func appendDigits(dst []byte, n, width int) []byte {
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}
