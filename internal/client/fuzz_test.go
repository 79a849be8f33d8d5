package client

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzReader: an event is never longer than its limit, and the same events come wherever the stream is split.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := all(newReader(bytes.NewReader(stream)))
		split, errSplit := all(newReader(iotest.OneByteReader(bytes.NewReader(stream))))
		if !bytes.Equal(bytes.Join(whole, []byte{0}), bytes.Join(split, []byte{0})) || len(whole) != len(split) || err != errSplit {
			t.Errorf("whole %q, %v; split %q, %v", whole, err, split, errSplit)
		}
		for _, data := range whole {
			if len(data) > len(stream) {
				t.Errorf("%d bytes of %d", len(data), len(stream))
			}
		}
	})
}

func all(r *reader) ([][]byte, error) {
	var events [][]byte
	for {
		data, err := r.next()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, data)
	}
}
