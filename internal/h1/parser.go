package h1

// Limits of one head. A limit that is not positive takes its default.
type Limits struct {
	Head   int // bytes, start line and empty line included
	Fields int // field lines
}

// The default limits: what HAProxy (tune.bufsize) and Apache httpd (LimitRequestFields) take, so that a head which passed
// there passes here.
const (
	DefaultHead   = 16 << 10
	DefaultFields = 100
)

// maxHead bounds what a configuration may ask for; spans count in 32 bits.
const maxHead = 1 << 30

// Parser reads one head from bytes that arrive in pieces. It goes from left to right and begins no line again: what is wrong
// is refused at the first wrong byte, and a head that comes byte by byte costs no more than its length.
//
// The zero Parser is ready for a request, with default limits.
type Parser struct {
	Limits Limits

	kind   Kind
	stage  stage
	reason Reason // of the refusal, when refused
	line   int    // where the current line begins
	scan   int    // of the start line: how far it was read
	reader lineReader

	upgrade   bool // Connection lists upgrade
	upgrades  int  // Upgrade fields seen
	protocols Span // value of the last of them
}

// stage is where in the head the next byte stands.
type stage uint8

const (
	fresh stage = iota // nowhere: the Head is not yet cleared
	inMethod
	inTarget
	inVersion // of a request, with the end of its line
	inStatus  // version and code of a response
	inPhrase
	inFields
	complete
	refused
)

// Reset makes the parser ready for the next head of the kind. The limits stay.
func (p *Parser) Reset(k Kind) { *p = Parser{Limits: p.Limits, kind: k} }

// Parse goes on with b: all bytes since the head's first one (b may have moved, and grown at its end). done: h is
// complete and h.Size bytes of b are the head. Not done and no error: call again with more bytes and the same h. The
// error is a Reason; it stays until Reset.
func (p *Parser) Parse(b []byte, h *Head) (done bool, err error) {
	if p.stage < complete {
		if r := p.parse(b, h); r != 0 {
			p.stage, p.reason = refused, r
		}
	}
	if p.stage == refused {
		return false, p.reason
	}
	return p.stage == complete, nil
}

func (p *Parser) parse(b []byte, h *Head) Reason {
	limit := p.Limits.Head
	if limit <= 0 {
		limit = DefaultHead
	}
	limit = min(limit, maxHead)
	b = b[:min(len(b), limit)] // what stands behind the limit has no say, however much of it has come
	if p.stage == fresh {
		p.begin(h)
	}
	for p.stage != complete {
		var ok bool // the stage is over; else, without a reason, it wants more bytes
		var r Reason
		switch p.stage {
		case inMethod:
			ok, r = p.method(b, h)
		case inTarget:
			ok, r = p.target(b, h)
		case inVersion:
			ok, r = p.version(b, h)
		case inStatus:
			ok, r = p.status(b, h)
		case inPhrase:
			ok, r = p.phrase(b, h)
		case inFields:
			ok, r = p.fields(b, h)
		}
		if r != 0 {
			return r
		}
		if !ok {
			return p.starve(len(b) == limit)
		}
		p.stage = next[p.stage]
	}
	return 0
}

// next is the stage behind each stage. It is a constant in all but name: nothing writes to it.
var next = [...]stage{
	inMethod: inTarget, inTarget: inVersion, inVersion: inFields,
	inStatus: inPhrase, inPhrase: inFields,
	inFields: complete,
}

func (p *Parser) begin(h *Head) {
	*h = Head{Kind: p.kind, Fields: h.Fields[:0], Length: -1}
	p.stage = inMethod
	if p.kind == Response {
		p.stage = inStatus
	}
}

// starve says what it means that no more can be done with the bytes at hand: with a full head, that it is too large.
func (p *Parser) starve(full bool) Reason {
	switch {
	case !full:
		return 0
	case p.stage <= inVersion:
		return ErrRequestLineTooLong
	}
	return ErrHeadTooLarge
}

// fields reads field lines to the empty line that ends the head.
func (p *Parser) fields(b []byte, h *Head) (ok bool, _ Reason) {
	limit := p.Limits.Fields
	if limit <= 0 {
		limit = DefaultFields
	}
	for {
		f, used, r := p.reader.read(b[p.line:], uint32(p.line))
		if r != 0 || used == 0 {
			return false, r
		}
		p.line += used
		if f.Name.Len() == 0 {
			h.Size = p.line
			return true, p.finish(b, h)
		}
		if len(h.Fields) >= limit {
			return false, ErrTooManyFields
		}
		h.Fields = append(h.Fields, f)
		if f.ID != Other {
			h.Seen |= 1 << f.ID
			if r := p.mean(b, f, h); r != 0 {
				return false, r
			}
		}
	}
}
