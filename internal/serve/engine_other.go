//go:build !linux

package serve

import (
	"errors"

	"roost/internal/std"
)

// reactorIsDefault tells which engine "auto" is.
const reactorIsDefault = false

func (b *Balancer) openLoops(*std.Engine) error {
	return errors.New("the engine reactor is for Linux; write engine: auto")
}
