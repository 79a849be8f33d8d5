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

// Lines appends fields of one head that go on as they stand. Neighbours are copied together, which is most of a head at
// once. Text is what the head was parsed from, its last line's end included. Call Flush before anything else is appended,
// and at the end.
type Lines struct {
	Text     string
	from, to uint32 // what waits to be copied
}

// Append appends a field line, with a colon and one space between name and value.
func (l *Lines) Append(dst []byte, f *Field) []byte {
	colon, end := f.Name.End, f.Value.End
	if f.Value.Off != colon+2 || l.Text[colon+1] != ' ' || l.Text[end] != '\r' {
		return AppendField(l.Flush(dst), f.Name.In(l.Text), f.Value.In(l.Text))
	}
	if f.Name.Off != l.to {
		dst = l.Flush(dst)
		l.from = f.Name.Off
	}
	l.to = end + 2
	return dst
}

// Flush appends what Append still holds.
func (l *Lines) Flush(dst []byte) []byte {
	dst = append(dst, l.Text[l.from:l.to]...)
	l.from = l.to
	return dst
}
