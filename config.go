package roost

import (
	"net/netip"
	"time"
)

// Config is the effective configuration: defaults filled in, everything validated. Package config makes it; its
// documentation gives each default's reason.
type Config struct {
	Cluster   string // name; the default hash key derives from it
	Listeners []Listener
	Routes    []*Route // all, in order, each as the first listener that takes it runs it
	Pools     []Pool   // by Route.Pool
	Admin     Admin
	Log       Log
	State     string   // directory of what lasts: database, token, socket; "": none, then Store is "memory"
	Store     string   // "memory", or the path of a SQLite database
	Engine    string   // "reactor", "std", or "auto": the first of them that the system has. Fixed for a process's life, as Loops
	Loops     int      // event loops of the reactor; 0: as many as there are CPUs for the process
	Digest    Digest   // of all it came from: the text, and the environment variables and keys of tokens that it uses
	Effective []byte   // the whole of it as a YAML file, defaults filled in, secrets left out
	Files     []string // that it was read from, itself first: a change of any is a reason to reload. No certificates: listeners watch theirs
}

// Listener is an address that takes traffic.
type Listener struct {
	ID       ListenerID // its place in snapshots, kept over reloads; whoever serves it gives it
	Name     string
	Address  string // host:port, :port or unix:/path
	TLS      *TLS
	Settings ListenerSettings
	Want     []string // lower-case names of the fields that its routes look at, by slot
	Hello    bool     // its routes look at the name that a TLS client asks for (with ServesTCP)
	Routes   []*Route // those that it takes, in order, bound to its Want
}

// ListenProtocol is what a listener's clients speak.
type ListenProtocol uint8

const (
	ServesHTTP ListenProtocol = iota
	ServesTCP                 // bytes both ways, whatever they mean
)

// ListenerSettings are what a listener grants its clients. All are limits or rules; a reload replaces them.
type ListenerSettings struct {
	Protocol      ListenProtocol
	ProxyProtocol bool          // each connection begins with a PROXY header, which is believed from Trust alone; from elsewhere it is refused
	MaxConns      int           // connections at once; further ones are refused with 503 and closed
	MaxHead       int           // bytes of a request head
	MaxFields     int           // fields in a head
	MaxBody       int64         // bytes of a request body; 0: no limit
	HeadTimeout   time.Duration // absolute, from the first byte of a head to its end
	IdleTimeout   time.Duration // between requests
	BodyTimeout   time.Duration // between two reads of a body
	SendTimeout   time.Duration // a write to the client that makes no progress
	MinBodyRate   int           // bytes per second, of a request's body and of what the client takes of an answer; 0: any
	Trust         []netip.Prefix
	// Trust lists the networks whose forwarding headers are believed and appended to; from elsewhere they are replaced.
	Forwarded Forwarding
	Via       string // pseudonym in Via; "" leaves Via out
	HTTP2     bool   // by ALPN on TLS, by preface in clear
	Upgrades  []string
	// Upgrades lists the protocols a client may switch to, lower case.
	DebugHeader bool // answers carry Roost-Why and Roost-Node
}

// Forwarding says which forwarding headers are written.
type Forwarding uint8

const (
	ForwardX    Forwarding = iota // X-Forwarded-For, -Proto, -Host
	ForwardRFC                    // Forwarded (RFC 7239)
	ForwardBoth                   // both
	ForwardOff                    // none; inbound ones are passed only from trusted networks
)

// TLS are a listener's certificates, and what it asks of clients; files are read again when they change.
type TLS struct {
	Certificates []CertFile
	MinVersion   uint16 // as in crypto/tls
	ClientAuth   ClientAuth
	ClientCA     []string // files of the authorities that sign clients' certificates, PEM
	TicketKeys   []string
	// TicketKeys are files of keys for session tickets, as nginx has them; the first encrypts, all decrypt. None: the
	// listener makes its own, and changes them every day.
}

// CertFile names a certificate chain and its key, both PEM, and a response of its authority to staple, DER.
type CertFile struct {
	Cert, Key string
	OCSP      string // "": none
}

// ClientAuth says what certificate a listener asks of clients. There is none that is asked for and not verified: such a
// certificate proves nothing, so that nothing could be done with it.
type ClientAuth uint8

const (
	ClientAuthOff      ClientAuth = iota // asks for none
	ClientAuthOptional                   // verifies the one that is given
	ClientAuthRequired                   // refuses clients without a good one
)

// NodeTLS is how the nodes of a pool are spoken to under TLS. It holds what its files held when the configuration was
// read: they belong to Config.Files, so that a change of one is a reload. Package pki makes a *tls.Config of it.
type NodeTLS struct {
	ServerName string // in the nodes' certificates, and asked for (SNI); "": the host of the node's address
	Insecure   bool   // certificates are not verified
	MinVersion uint16 // as in crypto/tls
	CA         []byte // authorities, PEM; nil: those of the system
	Cert       []byte // shown to nodes, the chain behind it included, PEM; nil: none
	Key        Secret // of Cert, PEM
	ID         Digest // of all above: what has the same ID is the same
}

// Secret is never printed nor encoded: what holds one may be.
type Secret []byte

// String hides the secret, and so do GoString and MarshalText.
func (s Secret) String() string { return "redacted" }

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Pool is a named set of nodes sharing one table and one policy.
type Pool struct {
	ID       PoolID
	Intent   Intent
	Health   HealthSettings
	Settings PoolSettings
}

// NodeProtocol is what is spoken to nodes.
type NodeProtocol uint8

const (
	ProtocolAuto  NodeProtocol = iota // HTTP/1.1, but gRPC by HTTP/2 with prior knowledge
	ProtocolHTTP1                     // HTTP/1.1 always
	ProtocolH2C                       // HTTP/2 always: with prior knowledge in clear text, by ALPN under TLS
)

// PoolSettings are what requests need to know of their pool.
type PoolSettings struct {
	Protocol       NodeProtocol
	SendProxy      uint8 // version of the PROXY header that connections to nodes begin with; 0: none
	ConnectTimeout time.Duration
	HeadTimeout    time.Duration // from the request's end to the response head
	BodyTimeout    time.Duration // between two reads of a response body
	MaxTries       int           // attempts of one exchange, at most MaxTries
	MaxInFlight    int           // hard limit on one node of weight one; 0: none
	QueueLen       int           // requests that may wait for room, over the pool
	QueueTimeout   time.Duration
	IdleConns      int // kept open to one node
	IdleTimeout    time.Duration
	ReplayBody     int // bytes of a request body kept for a retry
	RetryOn503     bool
	// RetryOn503 retries a 503 with Retry-After that a node sent: fn's "too busy", which says it did not start.
	AllowLinkLocal bool     // addresses that Forbidden names are dialled all the same
	TLS            *NodeTLS // nil: clear text
}

// HealthKind is how nodes are probed.
type HealthKind uint8

const (
	HealthTCP HealthKind = iota
	HealthHTTP
	HealthNone // passive only
)

// HealthSettings say how nodes of a pool are judged.
type HealthSettings struct {
	Kind       HealthKind
	Path       string
	Host       string   // Host of the probe; "": the node's address
	SendProxy  uint8    // version of the PROXY header that a probe begins with, speaking for itself; 0: none
	Expect     [][2]int // ranges of statuses that are well
	MinVersion string   // fnlb's gate: the body is JSON whose "version" is at least this; "": off
	Interval   time.Duration
	Timeout    time.Duration
	Rise, Fall int
	SlowStart  time.Duration // from a tenth of the weight to all of it, after a return
	Burst      int           // 5xx in a row that eject at once; 0: never
	Eject      time.Duration // how long a passive ejection lasts before probes decide; without probes, before a trial

	AllowLinkLocal bool     // addresses that Forbidden names are probed all the same
	TLS            *NodeTLS // the pool's; nil: clear text
}

// Admin is how operators reach the balancer.
type Admin struct {
	Address string // "": off
	TLS     *TLS   // nil: clear text, then Address is loopback
	Names   []string
	// Names are accepted in Host, beside addresses, localhost and the name in Address.
	Socket      string // path of the unix socket; "": off
	Token       string // path of the file that holds the bearer token; made when it is not there
	OpenMetrics bool   // /metrics asks for no token
}

// Log says what is logged and where.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
	Access string // off, stdout, or a file's path
}
