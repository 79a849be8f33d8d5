// Package reactor is the engine for Linux: event loops on epoll, one per core, driven by the same policy (carry) and the same
// HTTP/1.1 (h1) as any other engine. A loop owns its connections; nothing of them is shared, locked or allocated per
// request. What a loop cannot do without waiting (HTTP/2, nodes behind TLS) is passed to another engine, bytes included.
//
// Guarantee: what is accepted is answered, by a node or by a precise error; what is cut short never looks complete to
// either side; every buffer, queue and wait has a limit; an idle connection holds no buffer.
//
// Trap: epoll is used edge-triggered. A handler that leaves bytes in a socket must leave canRead set and see to it that
// somebody comes back (later, or the flush of what it waits for): the kernel will not say it again.
package reactor
