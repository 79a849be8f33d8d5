//go:build !race

package enginetest

// Raced tells that the race detector is on.
const Raced = false
