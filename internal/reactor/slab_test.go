//go:build linux

package reactor

import (
	"testing"
	"unsafe"
)

func TestAChunkOfRecordsWastesNoMemory(t *testing.T) {
	const record, piece = unsafe.Sizeof(conn{}), 32 << 10
	if used := record * slabChunk; used > piece || piece-used >= record {
		t.Errorf("%d records of %d bytes are %d of %d: want %d", slabChunk, record, used, piece, piece/record)
	}
}
