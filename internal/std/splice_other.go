//go:build !linux

package std

import (
	"errors"
	"time"

	"roost/internal/carry"
)

// pipe moves bytes within the kernel, where that can be done: not here.
type pipe struct{}

const pipeSize, spliceFrom = 0, 128 << 10

func openPipe() (*pipe, error) { return nil, errors.ErrUnsupported }

func (p *pipe) close() {}

func (p *pipe) in(*wire, int64) (int64, error) { return 0, errors.ErrUnsupported }

func (p *pipe) out(*wire, int64, time.Duration, *carry.Pace, func() time.Time) error {
	return errors.ErrUnsupported
}
