package h1

import "strconv"

// AppendChunk appends the framing of a chunk of n bytes: size and CRLF. The payload and another CRLF follow it. n must be
// positive: a chunk of 0 bytes would end the body, and make a truncated message look complete.
func AppendChunk(dst []byte, n int) []byte {
	if n <= 0 {
		panic("h1: chunk without payload")
	}
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends "0\r\n"; trailer fields and an empty line follow it.
func AppendLastChunk(dst []byte) []byte { return append(dst, "0\r\n"...) }

// AppendField appends a field line. It checks nothing: name and value must come from a parsed head or from us.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}
