package roost

// Why says why an attempt goes to its node. The same words appear in logs, metrics and explain.
type Why uint8

const (
	WhyNone      Why = iota
	WhyHome          // the first home
	WhyNextHome      // a later home: those before it are at their limit or out
	WhyPin           // a home given by a pin
	WhyHot           // one of a hot key's homes
	WhyMoved         // a home given by a moved group or quarantine
	WhySuccessor     // no home lives: the first live successor
	WhySpill         // every home is at its limit: the walk found room
	WhyLeast         // everything is at its limit: the least loaded
	WhyBalance       // no key: the better of two
	WhyRetry         // an earlier attempt failed
	WhyPanic         // every node is dead or on hold: tried anyway
)

func (w Why) String() string {
	return [...]string{"none", "home", "next_home", "pin", "hot", "moved", "successor", "spill", "least", "balance", "retry",
		"panic"}[w]
}

// Attempt is one try at one node. It holds no snapshot, so that long connections do not pin old tables.
type Attempt struct {
	Live  *Live
	Pool  *PoolLive
	Node  NodeRef
	ID    NodeID
	Addr  string
	Why   Why
	Try   uint8 // 0 for the first
	Fresh bool  // dial: the attempt before met a pooled connection that had gone stale
	Epoch Epoch
	Ended bool
}

// Tried are the nodes an exchange tried already. The zero value is empty.
type Tried struct {
	N    uint8 // attempts made
	Refs [MaxTries]NodeRef
}

// MaxTries bounds the attempts of one exchange: the first, and three more. More would only add latency: with four dead
// nodes in a row, health has the pool.
const MaxTries = 4

// Has reports whether r was tried.
func (t *Tried) Has(r NodeRef) bool {
	for _, x := range t.Refs[:t.N] {
		if x == r {
			return true
		}
	}
	return false
}

// Add remembers r; beyond MaxTries it is dropped, because no attempt follows.
func (t *Tried) Add(r NodeRef) {
	if int(t.N) < len(t.Refs) {
		t.Refs[t.N] = r
		t.N++
	}
}

// Forgive lets the node of the last attempt be tried again: what went wrong says nothing about it. The attempt counts.
func (t *Tried) Forgive() {
	if t.N > 0 {
		t.Refs[t.N-1] = NoNode
	}
}

// Forgave tells whether the last attempt was forgiven.
func (t *Tried) Forgave() bool { return t.N > 0 && t.Refs[t.N-1] == NoNode }

// Stage is how far an attempt came.
type Stage uint8

const (
	StageConnect Stage = iota // no connection yet
	StageSend                 // connected; the request may be partly sent
	StageHead                 // waiting for, or reading, the response head
	StageBody                 // the response head was passed on
	StageDone                 // the response is complete
)

// Fault says what ended an attempt, when something did.
type Fault uint8

const (
	NoFault      Fault = iota
	FaultRefused       // connection refused or reset while connecting
	FaultConnect       // unreachable, or the connect timeout
	FaultResolve       // the node's name did not resolve
	FaultForbidden
	// FaultForbidden: the address is one that Roost refuses to dial (link-local, metadata).
	FaultTLS          // no TLS with the node: it speaks none, refused ours, or its certificate is not good
	FaultReset        // the node broke the connection
	FaultTimeout      // the response head or the next body bytes did not come in time
	FaultProtocol     // the node's response is not HTTP, or framed wrongly
	FaultTooLarge     // the node's response head is over the limit
	FaultClientGone   // the client broke off
	FaultClientSlow   // the client sent or read too slowly
	FaultClientFrames // the client's body was framed wrongly
	FaultLocal        // this balancer is at fault: out of file descriptors and the like
)

func (f Fault) String() string {
	return [...]string{"none", "refused", "unreachable", "resolve", "forbidden", "tls", "reset", "timeout", "protocol", "too_large",
		"client_gone", "client_slow", "client_framing", "local"}[f]
}

// Outcome is how an attempt ended.
type Outcome struct {
	Stage    Stage
	Fault    Fault
	Status   uint16 // the node's, 0 when none came
	Reused   bool   // the connection had served before
	Sent     bool   // anything of the request was sent to the node
	Answered bool   // anything of the response was sent to the client
	Busy     bool   // a 503 with Retry-After: the node says that it did not start
	Nanos    int64  // from the attempt's start to the response head, or to the fault
	Load     Load
}

// Load is what a node reported of itself on a response; the zero value says nothing.
type Load struct {
	Has      bool
	Pressure uint16 // 0 takes all, 65535 nothing that another can take
}

// Refusal says why no attempt can be made.
type Refusal uint8

const (
	NotRefused   Refusal = iota
	RefusedEmpty         // the pool has no node
	RefusedFull          // every node is at its hard limit: wait in the queue
	RefusedTried         // every node that may be tried was tried
	RefusedOwner         // the key's owner is out of reach and keys of this pool never spill
)

func (r Refusal) String() string {
	return [...]string{"none", "pool_empty", "pool_full", "all_tried", "owner_unreachable"}[r]
}

// Step is what follows an outcome.
type Step uint8

const (
	StepDone  Step = iota // the exchange is over; what was answered stands
	StepRetry             // make another attempt
	StepFail              // answer the client with an error of ours, or break off if something was answered
)

// Replay says whether a request may be sent again.
type Replay struct {
	Idempotent bool // by its method (RFC 9110, 9.2.2)
	Replayable bool // all of its body so far is still held, or it has none
	EarlyData  bool // it came with Early-Data: 1 (RFC 8470) and is never sent again
}
