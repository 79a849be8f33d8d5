package carry

import (
	"strconv"
	"strings"

	"roost"
	"roost/internal/h1"
)

// Reply is an answer of this balancer's own: a status, a code for machines, words for people. Neither ever names a
// node: that is for the log (Record.Cause), and for a listener's debug header. The zero Reply is none; one without Code has
// no body.
type Reply struct {
	Status uint16
	Code   string
	Text   string
}

// Failed is the answer to a request whose last attempt failed; the zero Reply when the client is not there to read it.
func (x *Exchange) Failed() Reply {
	switch x.fault {
	case roost.FaultClientSlow:
		if x.flags.slow {
			return Reply{408, "body_too_slow", "the request body comes too slowly"}
		}
		return Reply{408, "body_timeout", "the request body did not come in time"}
	case roost.FaultClientFrames:
		if x.reason == 0 {
			return Reply{413, "body_too_large", "request body is over the limit"}
		}
		return Reply{uint16(x.reason.Status()), x.reason.Code(), x.reason.Error()}
	}
	return failure(x.fault)
}

// AppendReply appends a whole answer of our own. The engine has set Close if the connection cannot go on. Nothing is
// appended for the zero Reply: the client has gone.
func (x *Exchange) AppendReply(dst []byte, r Reply, now int64) []byte {
	x.Record.Status, x.Record.Reason = r.Status, r.Code
	if r.Status == 0 {
		x.Record.Reason, x.Record.Aborted = "client_gone", true
		return dst
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(dst, ' '), reasonPhrase(r.Status)...)
	dst = appendDate(append(dst, "\r\n"...), now)
	switch r.Status {
	case 405:
		dst = append(dst, "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n"...)
	case 503:
		dst = append(dst, "Retry-After: 1\r\n"...)
	}
	if x.Record.Node != "" && x.lv.Settings.DebugHeader { // whom it asked last, and why
		dst = h1.AppendField(dst, "Roost-Node", string(x.Record.Node))
		dst = h1.AppendField(dst, "Roost-Why", x.Record.Why.String())
	}
	dst = x.appendPersistence(dst)
	if r.Code == "" {
		return append(dst, "Content-Length: 0\r\n\r\n"...)
	}
	n := len(r.Code) + len(": ") + len(r.Text) + len("\n")
	if x.wantsText() {
		dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\n"...)
	} else {
		n = len(jsonCode) + len(r.Code) + len(jsonText) + len(r.Text) + len(jsonEnd)
		dst = append(dst, "Content-Type: application/json\r\n"...)
	}
	dst = append(dst, "Cache-Control: no-store\r\n"...)
	dst = append(appendLength(dst, int64(n)), "\r\n"...)
	if x.flags.bare || x.head != nil && x.head.Method == h1.HEAD {
		return dst
	}
	x.Record.BytesOut = int64(n)
	if x.wantsText() {
		dst = append(append(append(dst, r.Code...), ": "...), r.Text...)
		return append(dst, '\n')
	}
	// Codes and texts are constants of ours without anything to escape; a test holds them to it.
	dst = append(append(dst, jsonCode...), r.Code...)
	dst = append(append(dst, jsonText...), r.Text...)
	return append(dst, jsonEnd...)
}

const (
	jsonCode = `{"error":{"code":"`
	jsonText = `","message":"`
	jsonEnd  = "\"}}\n"
)

// wantsText tells whether the client asked for text and not for JSON, as browsers do. Programs get JSON.
func (x *Exchange) wantsText() bool {
	if x.head == nil {
		return false
	}
	text := false
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		if f.ID != h1.Other || !equalFold(f.Name.In(x.text), "accept") {
			continue
		}
		v := f.Value.In(x.text)
		if strings.Contains(v, "json") {
			return false
		}
		text = text || strings.Contains(v, "text/plain") || strings.Contains(v, "text/html")
	}
	return text
}

func reasonPhrase(status uint16) string {
	switch status {
	case 200:
		return "OK"
	case 400:
		return "Bad Request"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 417:
		return "Expectation Failed"
	case 431:
		return "Request Header Fields Too Large"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Error"
}
