package std

import (
	"io"
	"time"

	"roost/internal/h1"
)

// decoder reads a body out of HTTP/1.1 in memory: the one of a request to a node.
type decoder struct {
	w       *wire
	body    h1.Body
	trailer func(name, value string)
	used    int // pending bytes that the payload given last came from
	rest    []byte
}

// next returns the next part of the payload, valid until the following call; io.EOF at the body's end.
func (d *decoder) next() ([]byte, error) {
	d.w.take(d.used)
	d.used = 0
	for !d.body.Done() {
		ev, n, payload, err := d.body.Next(d.w.pending())
		if err != nil {
			return nil, err
		}
		switch ev {
		case h1.Data:
			d.used = n
			return payload, nil
		case h1.TrailerField:
			b := d.w.pending()
			f := d.body.Field
			d.trailer(string(b[f.Name.Off:f.Name.End]), string(b[f.Value.Off:f.Value.End]))
		}
		d.w.take(n)
		if ev != h1.NeedMore {
			continue
		}
		if d.w.fill(time.Now) != nil {
			return nil, io.ErrUnexpectedEOF
		}
	}
	return nil, io.EOF
}

func (d *decoder) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		var err error
		if d.rest, err = d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *decoder) Close() error { return nil }

// readHead reads a request's head from a wire in memory, whose writer is this room. view is its text.
func readHead(w *wire, p *h1.Parser, h *h1.Head) (view string, err error) {
	p.Limits = h1.Limits{Head: 2 * maxNodeHead, Fields: 2 * maxNodeFields}
	p.Reset(h1.Request)
	for {
		done, err := p.Parse(w.pending(), h)
		if err != nil {
			return "", err
		}
		if done {
			view = string(w.pending()[:h.Size])
			w.take(h.Size)
			return view, nil
		}
		if err := w.fill(time.Now); err != nil {
			return "", err
		}
	}
}

// ofConnection tells the fields that mean something in HTTP/1.1 only, and must not stand in HTTP/2 (RFC 9113, 8.2.2).
func ofConnection(id h1.FieldID) bool {
	switch id {
	case h1.Connection, h1.ContentLength, h1.Host, h1.HTTP2Settings, h1.KeepAlive, h1.ProxyConnection, h1.TransferEncoding, h1.Upgrade:
		return true
	}
	return false
}
