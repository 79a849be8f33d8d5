//go:build race

package std

// raced tells that the race detector is on, under which sync.Pool drops at random what it is given.
const raced = true
