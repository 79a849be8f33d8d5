package carry

import (
	"strconv"
	"strings"
	"time"

	"roost"
	"roost/internal/h1"
	"roost/internal/pick"
)

// Turn is what follows a response head.
type Turn uint8

const (
	Pass      Turn = iota // it is the answer: AppendResponse, then the body by Out
	Interim               // AppendInterim, flush, then read the next head
	Swallow               // read the next head
	Switch                // AppendResponse, then bytes both ways; the attempt has ended, Upgraded is set
	Retry                 // the node says that it did not start: the attempt has ended, make another
	Violation             // it must not have come: end the attempt with FaultProtocol
)

// Respond takes a response head of the node.
func (x *Exchange) Respond(h *h1.Head, text string, now int64) Turn {
	if h.Status < 200 && h.Status != 101 {
		return x.interim(h)
	}
	x.headAt, x.status = now, h.Status
	x.Out = Flow{Body: h1.ResponseBody(h, x.head.Method), report: &x.report}
	x.Out.Chunked = x.Out.Body.Framing == h1.ByChunks && x.head.Minor > 0
	x.flags.busy = h.Status == 503 && h.Seen.Has(h1.RetryAfter)
	if h.Seen&reports != 0 {
		for i := range h.Fields {
			if f := &h.Fields[i]; reports.Has(f.ID) {
				x.report.take(f.ID, f.Value.In(text))
			}
		}
	}
	if h.Status == 101 {
		if !x.flags.upgrade || !x.offered(h.Upgrade.In(text)) {
			x.status = 0     // it is no answer, and counts as none
			return Violation // RFC 9110, 7.8: never to a protocol that was not asked for
		}
		x.end(roost.StageDone, roost.NoFault, now)
		x.Record.Upgraded = true
		x.Close = true
		x.settle()
		return Switch
	}
	// A body whose end only the connection's end tells cannot be known to be whole. It goes on in the same framing, so
	// that it never looks more complete to the client than it was here; a clean last chunk would claim it.
	x.Close = x.Close || x.Sending || x.unframed()
	if x.flags.busy && x.Pool.Settings.RetryOn503 && x.end(roost.StageHead, roost.NoFault, now) == roost.StepRetry {
		return Retry
	}
	x.settle()
	return Pass
}

// settle lets go of the pool but for what the rest of an answer needs, when there will be no other attempt: an answer may
// take days, and its snapshot's tables with it.
func (x *Exchange) settle() {
	x.pool = roost.PoolView{ID: x.Pool.ID, Live: x.Pool.Live, Settings: x.Pool.Settings}
	x.Pool = &x.pool
}

// unframed tells whether the answer's body has no framing of its own toward the client.
func (x *Exchange) unframed() bool {
	f := x.Out.Body.Framing
	return f == h1.ByClose || f == h1.ByChunks && !x.Out.Chunked
}

// Unframed tells whether only the connection's end tells the client where the answer's body ends: if it breaks off, the
// connection must be reset, or the answer would look complete.
func (x *Exchange) Unframed() bool { return x.Answered && x.unframed() }

func (x *Exchange) interim(h *h1.Head) Turn {
	x.interims++
	switch {
	case x.interims > MaxInterim:
		return Violation
	case x.head.Minor == 0:
		return Swallow // RFC 9110, 15.2: HTTP/1.0 has none
	case h.Status == 100 && x.flags.continued:
		return Swallow // of an earlier attempt, and passed on then
	}
	x.flags.continued = x.flags.continued || h.Status == 100
	return Interim
}

// offered tells whether the client asked for the one protocol that the node switched to.
func (x *Exchange) offered(protocol string) bool {
	if !x.mayUpgrade(protocol) {
		return false
	}
	list := x.head.Upgrade.In(x.text)
	for list != "" {
		var token string
		if token, list = cutList(list); sameFold(token, protocol) {
			return true
		}
	}
	return false
}

// AppendInterim appends a 1xx head as the client gets it.
func (x *Exchange) AppendInterim(dst []byte, h *h1.Head, text string) []byte {
	dst = appendStatus(dst, h, text)
	dst = x.appendFields(dst, h, text)
	return append(dst, "\r\n"...)
}

// AppendResponse appends the answer's head as the client gets it.
func (x *Exchange) AppendResponse(dst []byte, h *h1.Head, text string, now int64) []byte {
	x.Record.Status = h.Status
	dst = appendStatus(dst, h, text)
	dst = x.appendFields(dst, h, text)
	if via := x.lv.Settings.Via; via != "" {
		version := "1.1"
		if h.Minor == 0 {
			version = "1.0"
		}
		dst = x.appendVia(dst, via, version)
	}
	if x.lv.Settings.DebugHeader {
		dst = h1.AppendField(dst, "Roost-Node", string(x.Attempt.ID))
		dst = h1.AppendField(dst, "Roost-Why", x.Attempt.Why.String())
	}
	if !h.Seen.Has(h1.Date) {
		dst = appendDate(dst, now) // RFC 9110, 6.6.1: whoever passes on an answer without one adds it
	}
	switch {
	case x.Out.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case h.Length >= 0 && h.Status != 204 && h.Status != 101: // RFC 9110, 8.6; HEAD and 304 say what GET would get
		dst = appendLength(dst, h.Length)
	}
	dst = x.appendConnection(dst, h, text)
	return append(dst, "\r\n"...)
}

// appendConnection appends what concerns the client's connection alone.
func (x *Exchange) appendConnection(dst []byte, h *h1.Head, text string) []byte {
	switch {
	case h.Status == 101:
		dst = append(dst, "Connection: Upgrade\r\n"...)
		return h1.AppendField(dst, "Upgrade", h.Upgrade.In(text))
	case h.Status == 426 && h.Upgrade.Len() > 0: // RFC 9110, 15.5.22: the answer is nothing without it
		dst = h1.AppendField(dst, "Upgrade", h.Upgrade.In(text))
		if x.Close {
			return append(dst, "Connection: Upgrade, close\r\n"...)
		}
		return append(dst, "Connection: Upgrade\r\n"...)
	}
	return x.appendPersistence(dst)
}

// appendPersistence appends whether the client's connection goes on, where that is not the default of its version.
func (x *Exchange) appendPersistence(dst []byte) []byte {
	switch {
	case x.Close:
		return append(dst, "Connection: close\r\n"...)
	case x.head != nil && x.head.Minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// appendStatus appends the status line, always in our version (RFC 9110, 2.5).
func appendStatus(dst []byte, h *h1.Head, text string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(h.Status), 10)
	dst = append(append(dst, ' '), h.Reason.In(text)...)
	return append(dst, "\r\n"...)
}

// appendFields appends the fields that go on to the client as they stand.
func (x *Exchange) appendFields(dst []byte, h *h1.Head, text string) []byte {
	lines, stays := h1.Lines{Text: text}, ofHop|1<<h1.ProxyAuthenticate|reports
	if !x.Out.Chunked {
		stays |= 1 << h1.Trailer
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if !stays.Has(f.ID) && !reportsLoad(f.Name.In(text), f.ID) && !listed(h, text, f) {
			dst = lines.Append(dst, f)
		}
	}
	return lines.Flush(dst)
}

// End ends the attempt, with what the engine saw of it, and says what follows: StepDone, StepRetry (Choose again) or
// StepFail (Failed is the answer, if nothing was answered). cause is for operators; nil says nothing. An attempt that
// has ended already, in Respond, is left alone.
func (x *Exchange) End(stage roost.Stage, fault roost.Fault, cause error, now int64) roost.Step {
	if cause != nil {
		x.Record.Cause = cause.Error()
		x.flags.slow = cause == ErrTooSlow
		if r, ok := cause.(h1.Reason); ok && fault == roost.FaultClientFrames {
			x.reason = r
		}
	}
	x.fault, x.Record.Fault = fault, fault
	if x.Attempt.Ended {
		if fault != roost.NoFault {
			return roost.StepFail
		}
		return x.step
	}
	return x.end(stage, fault, now)
}

func (x *Exchange) end(stage roost.Stage, fault roost.Fault, now int64) roost.Step {
	until := x.headAt
	if until == 0 {
		until = now
	}
	o := roost.Outcome{Stage: stage, Fault: fault, Status: x.status, Reused: x.Reused, Sent: x.Sent,
		Answered: x.Answered, Busy: x.flags.busy, Nanos: until - x.began, Load: x.report.load}
	if o.Status == 0 && x.Reset != 0 {
		o.Status = x.Reset
		if x.Reset < 500 {
			o.Stage = roost.StageBody // its answer to this request: not to be asked for again
		}
	}
	x.Record.NodeNanos, x.Record.Wait = o.Nanos, int64(x.report.wait)
	x.step = pick.Next(x.Pool, &x.Attempt, &o, x.replay(), &x.tried, now)
	return x.step
}

// NodeIdle is how long the node keeps its connection open without a request, as far as it says (the Keep-Alive field of
// RFC 2068, 19.7.1.1, which nothing replaced); 0: it does not say.
func NodeIdle(h *h1.Head, text string) time.Duration {
	if !h.Seen.Has(h1.KeepAlive) {
		return 0
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != h1.KeepAlive {
			continue
		}
		list, param := f.Value.In(text), ""
		for list != "" {
			param, list = cutList(list)
			if name, v, _ := strings.Cut(param, "="); equalFold(trim(name), "timeout") {
				n, ok := number(trim(v))
				if ok && n < int64(time.Hour/time.Second) {
					return time.Duration(n) * time.Second
				}
			}
		}
	}
	return 0
}

// Finish completes the record. Its strings are views of the request's bytes.
func (x *Exchange) Finish(now int64) *roost.Record {
	r := &x.Record
	r.Nanos = now - r.Start
	if !r.Upgraded { // else engines count
		r.BytesIn = x.In.Bytes
		r.BytesOut += x.Out.Bytes
	}
	return r
}
