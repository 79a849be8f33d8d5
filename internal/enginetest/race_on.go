//go:build race

package enginetest

// Raced tells that the race detector is on, under which sync.Pool drops at random what it is given.
const Raced = true
