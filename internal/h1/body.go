package h1

import "math"

// Framing is how a body's end is found (RFC 9112, 6.3).
type Framing uint8

const (
	NoBody Framing = iota
	ByLength
	ByChunks
	ByClose
	Tunnel // after 101 or a CONNECT that succeeded: bytes both ways, no framing
)

// Event is what Body.Next found.
type Event uint8

const (
	NeedMore     Event = iota // nothing more to be had from these bytes
	Data                      // payload
	TrailerField              // Body.Field is one trailer field, spans relative to the bytes given
	End                       // the message is complete
)

// Limits of a chunked body. None of them bounds its payload.
const (
	// MaxTrailer is how many bytes a trailer section may have, its empty line included. Whoever calls Next must be able
	// to hold as many: a trailer line is taken whole.
	MaxTrailer       = 8 << 10
	MaxTrailerFields = 64

	// maxChunkExt bounds the extensions of one chunk. Nothing in use needs more than a signature's length.
	maxChunkExt = 256
	// maxExtAhead bounds by how much the bytes of all extensions may exceed the payload declared so far: one-byte chunks
	// with long extensions would be much work for who reads and forwards little (as in CVE-2023-39326).
	maxExtAhead = 4 << 10

	maxSizeDigits = 16
)

// Body takes a body apart. The zero Body is an empty one.
type Body struct {
	Framing Framing
	Field   Field // of the last TrailerField event

	part   part
	reason Reason // of the refusal, when there was one
	digits uint8  // of the chunk size at hand
	fields uint8  // trailer fields seen
	ext    int    // bytes of extension of the chunk at hand
	ahead  int    // bytes by which extensions exceed payload
	left   int64  // payload that is still to come, of the length or of the chunk
	spent  int    // bytes of complete trailer lines
	reader lineReader
}

// part is where in a chunked body the next byte stands.
type part uint8

const (
	inSize     part = iota // a digit of a chunk size or what may follow it
	inBlank                // white space before an extension
	inExt                  // a chunk extension
	sizeLF                 // the end of the size line
	inData                 // payload
	dataCR                 // the CR behind payload
	dataLF                 // the LF behind payload
	inTrailers             // a trailer line or the last line
	ended
)

// RequestBody gives the framing that a request's head declares. No declaration means no body.
func RequestBody(h *Head) Body {
	switch {
	case h.Chunked:
		return Body{Framing: ByChunks}
	case h.Length >= 0:
		return Body{Framing: ByLength, left: h.Length}
	}
	return Body{}
}

// ResponseBody gives the framing that a response's head declares. method is the request's: the answer to HEAD has no
// body whatever its fields say. Interim (1xx) heads but 101 say nothing of the body; they get none.
func ResponseBody(h *Head, method Method) Body {
	switch {
	case h.Status == 101, method == CONNECT && h.Status/100 == 2:
		return Body{Framing: Tunnel}
	case method == HEAD, h.Status < 200, h.Status == 204, h.Status == 304:
		return Body{}
	case !h.Chunked && h.Length < 0:
		return Body{Framing: ByClose}
	}
	return RequestBody(h)
}

// Next takes the next piece of in. It consumed in[:used]; payload, when the event is Data, is a part of it and not empty.
// Call it until NeedMore or End; NeedMore with used < len(in) means that the rest must be given again with more bytes
// behind it. The error is a Reason, and stays. After End, further bytes are not the body's: Next consumes none of them.
func (b *Body) Next(in []byte) (ev Event, used int, payload []byte, err error) {
	switch {
	case b.Done():
		return End, 0, nil, nil
	case b.reason != 0:
		return NeedMore, 0, nil, b.reason
	case b.Framing == ByChunks:
		ev, used, payload, b.reason = b.chunks(in)
		if b.reason != 0 {
			return NeedMore, used, nil, b.reason
		}
		return ev, used, payload, nil
	case len(in) == 0:
		return NeedMore, 0, nil, nil
	}
	if b.Framing == ByLength {
		in = in[:min(int64(len(in)), b.left)]
		b.left -= int64(len(in))
	}
	return Data, len(in), in, nil
}

// chunks goes on in a chunked body (RFC 9112, 7.1) to the next event.
func (b *Body) chunks(in []byte) (Event, int, []byte, Reason) {
	i := 0
	for ; i < len(in) && b.part != inTrailers; i++ {
		if b.part == inData {
			n := int(min(int64(len(in)-i), b.left))
			b.Skip(int64(n))
			return Data, i + n, in[i : i+n], 0
		}
		if r := b.framing(in[i]); r != 0 {
			return NeedMore, i, nil, r
		}
	}
	if b.part != inTrailers {
		return NeedMore, i, nil, 0
	}
	return b.trailer(in, i)
}

// framing takes one byte of what stands around the payload.
func (b *Body) framing(c byte) Reason {
	switch b.part {
	case inSize:
		if class[c]&isHex != 0 {
			return b.digit(c)
		}
		if b.digits == 0 {
			return ErrChunkSizeInvalid
		}
		switch c {
		case '\r':
			b.part = sizeLF
		case '\n':
			return ErrBareLF
		case ' ', '\t':
			b.part = inBlank
			return b.extend()
		case ';':
			b.part = inExt
			return b.extend()
		default:
			return ErrChunkSizeInvalid
		}
	case inBlank: // is "bad" white space, which must be borne before an extension (RFC 9112, 7.1.1) and nowhere else
		if c == ';' {
			b.part = inExt
		} else if c != ' ' && c != '\t' {
			return ErrChunkSizeInvalid
		}
		return b.extend()
	case inExt: // has no meaning here, so its syntax is not judged beyond that nobody can see a line's end in it
		switch {
		case c == '\r':
			b.part = sizeLF
		case c == '\n':
			return ErrBareLF
		case !isText(c):
			return ErrChunkExtensionInvalid
		default:
			return b.extend()
		}
	case sizeLF:
		if c != '\n' {
			return ErrBareCR
		}
		b.ahead = int(max(0, int64(b.ahead+b.ext)-b.left))
		b.part = inData
		if b.left == 0 {
			b.part = inTrailers
		}
	case dataCR:
		if c != '\r' {
			return ErrChunkEndMissing
		}
		b.part = dataLF
	case dataLF:
		if c != '\n' {
			return ErrChunkEndMissing
		}
		b.part, b.digits, b.ext = inSize, 0, 0
	}
	return 0
}

// digit adds a hexadecimal digit to the chunk size.
func (b *Body) digit(c byte) Reason {
	if b.digits == maxSizeDigits {
		return ErrChunkSizeInvalid
	}
	if b.left > math.MaxInt64>>4 {
		return ErrChunkSizeTooLarge
	}
	v := c - '0'
	if v > 9 {
		v = (c | 0x20) - 'a' + 10
	}
	b.left = b.left<<4 | int64(v)
	b.digits++
	return 0
}

// extend counts a byte of chunk extension.
func (b *Body) extend() Reason {
	b.ext++
	if b.ext > maxChunkExt || b.ahead+b.ext > maxExtAhead {
		return ErrChunkExtensionTooLong
	}
	return 0
}

// trailer takes the line of the trailer section that begins at in[i:].
func (b *Body) trailer(in []byte, i int) (Event, int, []byte, Reason) {
	room := MaxTrailer - b.spent
	line := in[i:min(len(in), i+room)]
	if b.reader.scan > len(line) {
		return NeedMore, i, nil, 0 // not given again what was left
	}
	f, used, r := b.reader.read(line, uint32(i))
	switch {
	case r != 0:
		return NeedMore, i, nil, r
	case used == 0 && len(line) == room:
		return NeedMore, i, nil, ErrTrailerTooLarge
	case used == 0:
		return NeedMore, i, nil, 0
	case f.Name.Len() == 0:
		b.part = ended
		return End, i + used, nil, 0
	case b.fields == MaxTrailerFields:
		return NeedMore, i, nil, ErrTooManyFields
	}
	b.fields++
	b.spent += used
	b.Field = f
	return TrailerField, i + used, nil, 0
}

// Raw is how many of the coming bytes are payload as they stand, so that they may be moved without being looked at;
// -1 without end (ByClose, Tunnel).
func (b *Body) Raw() int64 {
	switch {
	case b.reason != 0 || b.part == ended:
		return 0
	case b.Framing == ByClose || b.Framing == Tunnel:
		return -1
	case b.Framing == ByLength || b.Framing == ByChunks && b.part == inData:
		return b.left
	}
	return 0
}

// Skip tells that n of the bytes counted by Raw were moved.
func (b *Body) Skip(n int64) {
	if raw := b.Raw(); n < 0 || raw >= 0 && n > raw {
		panic("h1: more bytes skipped than were payload")
	}
	switch b.Framing {
	case ByLength:
		b.left -= n
	case ByChunks:
		b.left -= n
		if b.left == 0 && b.part == inData {
			b.part = dataCR
		}
	}
}

// Done tells whether the body's end was reached.
func (b *Body) Done() bool {
	return b.Framing == NoBody || b.part == ended || b.Framing == ByLength && b.left == 0
}

// EOF tells what the end of input means: nil where it ends the body (ByClose, Tunnel, or already done), else ErrTruncated,
// or the reason for which the body was refused before.
func (b *Body) EOF() error {
	switch {
	case b.reason != 0:
		return b.reason
	case b.Framing == ByClose || b.Framing == Tunnel:
		b.part = ended
	case !b.Done():
		b.reason = ErrTruncated
		return b.reason
	}
	return nil
}
