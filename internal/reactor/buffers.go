//go:build linux

package reactor

// buffer is bytes that must outlive a turn of the loop: b[off:] is what is left of them.
type buffer struct {
	b   []byte
	off int
}

func (b *buffer) rest() []byte { return b.b[b.off:] }

// holds tells whether part is the end of b's own bytes.
func (b *buffer) holds(part []byte) bool {
	return len(part) <= len(b.b) && &b.b[len(b.b)-1] == &part[len(part)-1]
}

// room makes sure that there is some behind the bytes, for n more if it has to grow.
func (b *buffer) room(l *loop, n int) {
	if len(b.b) < cap(b.b) {
		return
	}
	if b.off > 0 && b.off >= cap(b.b)/2 {
		b.b = b.b[:copy(b.b, b.rest())]
		b.off = 0
		return
	}
	bigger := l.buffers.get(len(b.rest()) + max(n, 512))
	bigger.b = append(bigger.b, b.rest()...)
	*b, *bigger = *bigger, *b
	l.buffers.put(bigger)
}

// buffers lends buffers in few sizes. Each loop has its own; what is not lent is kept up to a bound, and left to the
// collector beyond it, so that a wave of slow clients leaves no lasting mark.
type buffers struct {
	free [len(bufferSizes)][]*buffer
	lent int
}

// bufferSizes: a head in pieces; most heads and small bodies; a loop's scratch and a head in front of it.
var bufferSizes = [...]int{512, 4 << 10, 16 << 10, 64 << 10, 256 << 10}

// keptBuffers is how many bytes of each size are kept.
const keptBuffers = 2 << 20

func (p *buffers) get(n int) *buffer {
	p.lent++
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if k := len(p.free[i]); k > 0 {
			b := p.free[i][k-1]
			p.free[i] = p.free[i][:k-1]
			return b
		}
		return &buffer{b: make([]byte, 0, size)}
	}
	return &buffer{b: make([]byte, 0, n)}
}

func (p *buffers) put(b *buffer) {
	p.lent--
	for i, size := range bufferSizes {
		if cap(b.b) == size && len(p.free[i])*size < keptBuffers {
			b.b, b.off = b.b[:0], 0
			p.free[i] = append(p.free[i], b)
			return
		}
	}
}
