// Package roost is the dictionary: the nouns of a load balancer that keeps what belongs together together, as values.
//
// It does no I/O, starts no goroutine and reads no clock. Every other room (package) of the project speaks in these
// types; no two rooms define the same noun. docs/LEXICON.md gives each word its one meaning.
//
// Trap: a [Snapshot] and all it points to are immutable once published, except the counters in [Live] and [PoolLive],
// which are atomics and outlive snapshots.
package roost
