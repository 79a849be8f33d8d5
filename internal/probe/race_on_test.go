//go:build race

package probe

// raced tells that the race detector is on. With more than a thousand goroutines and their timers in a bubble of
// testing/synctest it crashes the runtime now and then, in runtime.(*timer).maybeRunChan (go1.26; golang/go#78156).
const raced = true
