package route

import (
	"fmt"
	"strconv"
	"strings"

	"roost"
	"roost/internal/proxyproto"
)

// maxDelimiter bounds a delimiter: they are line ends, zeros or spaces.
const maxDelimiter = 16

// Short tells whether more of a raw connection's first bytes could change the key that Extract finds in r.First.
func Short(rt *roost.Route, r *roost.Request, scratch []byte, now int64) bool {
	for i := range rt.Keys {
		p := &rt.Keys[i]
		if short(p, r.First) {
			return true
		}
		if i+1 < len(rt.Keys) {
			if _, ok := run(p, r, scratch[:0], now); ok {
				return false
			}
		}
	}
	return false
}

func short(p *roost.KeyProgram, first string) bool {
	for i := range p.Ops {
		switch op := &p.Ops[i]; {
		case op.From != roost.FromBytes:
		case op.End > 0 && len(first) < op.End:
			return true
		case op.End == 0 && len(first) < roost.MaxFirst && !strings.Contains(first, op.Name):
			return true
		}
	}
	return false
}

// putBytes appends a part of a raw connection's first bytes.
func putBytes(dst []byte, first string, op *roost.KeyOp) ([]byte, bool) {
	first = first[:min(len(first), roost.MaxFirst)]
	end := op.End
	if end == 0 {
		end = strings.Index(first, op.Name)
	}
	if end < op.Index || end > len(first) {
		return dst, false
	}
	return put(dst, first[op.Index:end])
}

// parseRange reads bytes[FROM:TO], as slices are written.
func parseRange(text string, off int) (roost.KeyOp, error) {
	const open = len("bytes[")
	inner, tail, closed := strings.Cut(text[open:], "]")
	lo, hi, colon := strings.Cut(inner, ":")
	from, err1 := strconv.ParseUint(lo, 10, 16)
	to, err2 := strconv.ParseUint(hi, 10, 16)
	switch {
	case !closed:
		return roost.KeyOp{}, fault(off+open-1, "this bracket is never closed")
	case tail != "":
		return roost.KeyOp{}, fault(off+open+len(inner)+1, "nothing follows bytes[...]")
	case !colon || err1 != nil || err2 != nil:
		return roost.KeyOp{}, fault(off+open, "%q is not a range of bytes; bytes[0:8] are the first eight", inner)
	case from >= to || to > roost.MaxFirst:
		return roost.KeyOp{}, fault(off+open, "a range of bytes ends behind its beginning, at %d at most", roost.MaxFirst)
	}
	return roost.KeyOp{From: roost.FromBytes, Index: int(from), End: int(to)}, nil
}

// parseDelimiter reads the delimiter of bytes_until.
func parseDelimiter(arg string, off int) (roost.KeyOp, error) {
	var b []byte
	for i := 0; i < len(arg); i++ {
		c := arg[i]
		if c != '\\' {
			b = append(b, c)
			continue
		}
		escape := strings.TrimPrefix(arg[i:], `\`)
		n, ok := 1, escape != ""
		switch {
		case !ok:
		case escape[0] == 'x' && len(escape) >= 3:
			var v uint64
			var err error
			v, err = strconv.ParseUint(escape[1:3], 16, 8)
			c, n, ok = byte(v), 3, err == nil
		default:
			at := strings.IndexByte(`rnt0\`, escape[0])
			if ok = at >= 0; ok {
				c = "\r\n\t\x00\\"[at]
			}
		}
		if !ok {
			return roost.KeyOp{}, fault(off+i, `a backslash begins \r, \n, \t, \0, \\ or \xHH`)
		}
		b = append(b, c)
		i += n
	}
	if len(b) == 0 || len(b) > maxDelimiter {
		return roost.KeyOp{}, fault(off, `a delimiter has 1 to %d bytes; write for example bytes_until:\n`, maxDelimiter)
	}
	return roost.KeyOp{From: roost.FromBytes, Name: string(b)}, nil
}

// parseTLV reads which TLV of a PROXY header is meant.
func parseTLV(arg string, off int) (roost.KeyOp, error) {
	names := []string{"alpn", "authority", "unique_id", "ssl_cn", "aws"}
	types := []int{proxyproto.TypeALPN, proxyproto.TypeAuthority, proxyproto.TypeUniqueID, proxyproto.SSLCommonName, proxyproto.TypeAWS}
	for i, name := range names {
		if name == arg {
			return roost.KeyOp{From: roost.FromProxyTLV, Index: types[i]}, nil
		}
	}
	n, err := strconv.ParseUint(arg, 0, 8)
	if err != nil || n == 0 {
		return roost.KeyOp{}, &SyntaxError{Off: off, Msg: fmt.Sprintf("%q is not the type of a TLV; there are %s, and numbers from 1 to 0xFF", arg, strings.Join(names, ", ")), Got: arg, Known: names}
	}
	return roost.KeyOp{From: roost.FromProxyTLV, Index: int(n)}, nil
}

// NeedsHello tells whether a route of raw connections looks at the name that a TLS client asks for.
func NeedsHello(rt *roost.Route) bool {
	for i := range rt.Keys {
		for j := range rt.Keys[i].Ops {
			if rt.Keys[i].Ops[j].From == roost.FromSNI {
				return true
			}
		}
	}
	return rt.Match.Host != ""
}
