package carry

import (
	"errors"

	"roost/internal/h1"
)

// Flow carries one body over: out of the framing in which it came, into the one in which it goes on. Framing is never
// copied, so what the two sides see cannot differ.
type Flow struct {
	Body    h1.Body
	Chunked bool  // in which framing it goes on: chunks, or bytes as they are
	Limit   int64 // payload bytes; 0: none
	Bytes   int64 // payload so far

	trailers bool    // the last chunk was written, trailer fields may follow
	report   *report // where a load report in a trailer goes; nil: it is a field like others
}

// ErrTooLarge is returned by Next when a body is over the Flow's limit.
var ErrTooLarge = errors.New("body is over the limit")

// Next goes on with in, appends what is to be sent on to dst, and tells how many bytes of in it used. What it left is
// to be given again with more behind it. Errors are h1.Reasons or ErrTooLarge, and stay.
func (f *Flow) Next(dst, in []byte) (out []byte, used int, err error) {
	if f.over() {
		return dst, 0, ErrTooLarge // where the body stands in what was refused is lost: nothing behind it may be read
	}
	for !f.Body.Done() {
		ev, n, payload, err := f.Body.Next(in[used:])
		if err != nil {
			return dst, used, err
		}
		switch ev {
		case h1.NeedMore:
			return dst, used + n, nil
		case h1.Data:
			if f.Bytes += int64(len(payload)); f.over() {
				return dst, used, ErrTooLarge
			}
			if f.Chunked {
				dst = append(append(h1.AppendChunk(dst, len(payload)), payload...), "\r\n"...)
			} else {
				dst = append(dst, payload...)
			}
		case h1.TrailerField:
			dst = f.appendTrailer(dst, in[used:])
		case h1.End:
			dst = f.appendEnd(dst)
		}
		used += n
	}
	return dst, used, nil
}

func (f *Flow) over() bool { return f.Limit > 0 && f.Bytes > f.Limit }

// Plain is how many of in's first bytes go on as they stand; Skip tells that n of them, or of bytes not yet read, did.
func (f *Flow) Plain(in []byte) int {
	if n := f.Raw(); n >= 0 && n < int64(len(in)) {
		return int(n)
	}
	return len(in)
}

// Raw is how many of the coming bytes may be moved without being looked at; -1: all until the input ends.
func (f *Flow) Raw() int64 {
	if f.Chunked || f.Limit > 0 && f.Body.Framing != h1.ByLength {
		return 0
	}
	return f.Body.Raw()
}

// Skip tells that n bytes were moved.
func (f *Flow) Skip(n int64) {
	f.Body.Skip(n)
	f.Bytes += n
}

// appendTrailer appends one trailer field that may be passed on (RFC 9110, 6.5.1); a node's load report stays here.
func (f *Flow) appendTrailer(dst, in []byte) []byte {
	if !f.Chunked {
		return dst // no place for it in this framing
	}
	name, value := in[f.Body.Field.Name.Off:f.Body.Field.Name.End], in[f.Body.Field.Value.Off:f.Body.Field.Value.End]
	if f.report != nil && reportsLoad(string(name), f.Body.Field.ID) {
		f.report.take(f.Body.Field.ID, string(value))
		return dst
	}
	if !h1.TrailerAllowed(string(name), f.Body.Field.ID) {
		return dst
	}
	if !f.trailers {
		dst = h1.AppendLastChunk(dst)
		f.trailers = true
	}
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

func (f *Flow) appendEnd(dst []byte) []byte {
	if !f.Chunked {
		return dst
	}
	if !f.trailers {
		dst = h1.AppendLastChunk(dst)
	}
	return append(dst, "\r\n"...)
}
