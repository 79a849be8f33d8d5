package std

import (
	"net"
	"sync/atomic"
)

// HTTP/2 meets the rest of this room as HTTP/1.1 in memory. A stream of a client is translated to the bytes of an
// HTTP/1.1 request, and these are read, judged and carried like those of any connection; what goes to a node that
// speaks HTTP/2 is translated back behind the connection. So there is one policy, one set of limits, and no second way
// for a smuggled byte. It costs some copies, a tenth of what net/http needs for a stream.

// memory is one end of a connection in memory, unbuffered. The near end is the one that a wire holds; when it breaks off,
// the far end can tell that from an end.
type memory struct {
	net.Conn
	broken *atomic.Bool
}

func newMemory() (near, far memory) {
	a, b := net.Pipe()
	broken := &atomic.Bool{}
	return memory{a, broken}, memory{b, broken}
}

// Abort closes the near end such that the far one does not take what it got for complete.
func (m memory) Abort() {
	m.broken.Store(true)
	m.Close()
}
