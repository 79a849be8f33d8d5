package carry

import (
	"roost"
	"roost/internal/pick"
	"roost/internal/route"
	"roost/internal/sniff"
)

// Stream is a raw connection until it stands: how it is placed, and its attempts. An engine keeps one for as long as it has
// use for it: Accept makes it new.
//
// The order of calls is Peer.Introduce and Accept, each again with more bytes while they say Peek; then for each attempt
// Choose, the connection to the node, AppendProxy and what the client sent so far, and End. After StepDone, Settle gives
// the Relay, which is all that need be kept while bytes go both ways. Where there will be no connection, Finish says so.
//
// An attempt is made again while nothing of the client's was sent: what bytes mean is not known, so they are never
// repeated. A PROXY header alone is not the client's.
type Stream struct {
	attempts
}

// MaxPeek is how many bytes Accept asks for at most.
const MaxPeek = max(sniff.MaxHello, roost.MaxFirst)

// Accept begins a stream whose client sent first so far; final says that no more will come. now and start (when it was
// accepted) are Unix nanoseconds. A listener whose routes do not look at bytes is Ready without any: many clients wait for
// the server to speak. With Ready it has a pool and a key; first must stay where it is until Settle or Finish.
func (x *Stream) Accept(s *roost.Snapshot, p *Peer, first string, final bool, start, now int64) (Opening, Reply) {
	x.reset(s, p, start)
	r := &x.Request
	r.First, r.Client = first, p.Addr
	if x.lv.Hello && !p.TLS {
		var h sniff.Hello
		v := sniff.ClientHello(first, &h)
		switch {
		case v == sniff.More && !final:
			return Peek, Reply{}
		case v == sniff.Malformed || v == sniff.More && first != "":
			return Shut, Reply{400, "tls_hello_invalid", "the connection begins as TLS, but not with a ClientHello that a server would take"}
		}
		r.SNI = h.SNI
	}
	r.Host = r.SNI
	x.Record.Host = r.Host
	if reply, ok := x.match(); !ok {
		return Shut, reply
	}
	if !final && route.Short(x.Record.Route, r, x.scratch, now/1e9) {
		return Peek, Reply{}
	}
	if reply, ok := x.place(s, now); !ok {
		return Shut, reply
	}
	return Ready, Reply{}
}

// Refuse begins a stream that is not to be: what Introduce said of it.
func (x *Stream) Refuse(s *roost.Snapshot, p *Peer, start int64) { x.reset(s, p, start) }

// Late begins a stream whose first bytes did not come in time.
func (x *Stream) Late(s *roost.Snapshot, p *Peer, start int64) Reply {
	x.reset(s, p, start)
	return Reply{408, "peek_timeout", "the first bytes of the connection did not come in time"}
}

// Shed begins a stream that is one too many.
func (x *Stream) Shed(s *roost.Snapshot, p *Peer, start int64) Reply {
	x.reset(s, p, start)
	return shed()
}

func (x *Stream) reset(s *roost.Snapshot, p *Peer, start int64) {
	scratch := x.scratch
	*x = Stream{}
	x.begin(scratch, s, p, start)
	x.Record.Proto = roost.ProtoTCP
}

// Reset makes it as new: one that is kept for another connection keeps nothing of this one, and of its snapshot, alive.
func (x *Stream) Reset() { *x = Stream{attempts{scratch: x.scratch}} }

// Choose makes the next attempt, or says why there is none: then nothing was counted. now is in Unix nanoseconds; rnd
// is any random number.
func (x *Stream) Choose(rnd uint64, now int64) roost.Refusal { return x.choose(rnd, now) }

// Refused says why there is no connection when Choose makes no attempt: what went wrong before, if something did.
func (x *Stream) Refused(r roost.Refusal) Reply {
	if x.fault != roost.NoFault {
		return x.Failed()
	}
	return refusal(r)
}

// Failed says why there is no connection after StepFail; the zero Reply when the client has gone.
func (x *Stream) Failed() Reply { return failure(x.fault) }

// End ends the attempt: StageDone when the connection stands and took what the client sent so far, else with the stage and
// fault. cause is for operators. What follows is StepDone (Settle), StepRetry (Choose again) or StepFail.
func (x *Stream) End(stage roost.Stage, fault roost.Fault, cause error, now int64) roost.Step {
	if cause != nil {
		x.Record.Cause = cause.Error()
	}
	x.fault, x.Record.Fault = fault, fault
	o := roost.Outcome{Stage: stage, Fault: fault, Sent: x.Sent, Nanos: now - x.began}
	x.Record.NodeNanos = o.Nanos
	return pick.Next(x.Pool, &x.Attempt, &o, roost.Replay{Replayable: true}, &x.tried, now)
}

// Finish completes the record of a stream that did not come to be, for why. Its strings are views of the client's bytes.
// Nothing is sent to the client: nobody knows what it would understand.
func (x *Stream) Finish(why Reply, now int64) *roost.Record {
	r := &x.Record
	r.Reason, r.Aborted, r.Nanos = why.Code, true, now-r.Start
	if why.Status == 0 {
		r.Reason = "client_gone"
	}
	return r
}
