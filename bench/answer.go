package main

import (
	"bytes"
	"errors"
)

// answer is a response that is read piece by piece, and strictly.
type answer struct {
	head  []byte // the start of its head
	need  int64  // of the body, what is to come; -1: the head is to come
	off   int64  // in the body
	close bool   // it says that it is the connection's last
}

var (
	errWrong   = errors.New("wrong bytes in an answer")
	errAnswer  = errors.New("an answer that is no 200 of known length")
	errRefused = errors.New("503")
)

// begin makes ready for the next response.
func (a *answer) begin() { *a = answer{head: a.head[:0], need: -1} }

// take reads a part of a response whose body must be want. After an error the connection is of no more use.
func (a *answer) take(b, want []byte) (done bool, err error) {
	if a.need < 0 {
		if len(a.head) > 0 {
			a.head = append(a.head, b...)
			b = a.head
		}
		end := bytes.Index(b, headEnd)
		if end < 0 {
			if len(a.head) == 0 {
				a.head = append(a.head, b...)
			}
			if len(a.head) > maxHead {
				return false, errAnswer
			}
			return false, nil
		}
		a.head = a.head[:0]
		h, err := parseHead(b[:end+len(headEnd)])
		if bytes.HasPrefix(b, []byte("HTTP/1.1 503 ")) {
			return false, errRefused
		}
		if err != nil || h.chunked || !bytes.HasPrefix(b, ok200) {
			return false, errAnswer
		}
		if h.length != int64(len(want)) {
			return false, errWrong
		}
		a.need, a.close, b = h.length, h.close, b[end+len(headEnd):]
	}
	n := int64(len(b))
	// The ends of each piece tell a loss or a shift; the whole was compared before the runs.
	if n > a.need || n > 0 && (b[0] != want[a.off] || b[n-1] != want[a.off+n-1]) {
		return false, errWrong
	}
	a.need, a.off = a.need-n, a.off+n
	return a.need == 0, nil
}

var ok200 = []byte("HTTP/1.1 200 ")

// maxHead bounds a head, here and at the upstream.
const maxHead = 16 << 10
