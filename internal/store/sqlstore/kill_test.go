package sqlstore

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const (
	childPath  = "SQLSTORE_TEST_CHILD" // the path of the store that a child is to save to for ever
	childNodes = 300
)

// tableOf is larger than what SQLite keeps in memory, so that much of a save is spent writing.
func tableOf(rev uint64) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", rev), 500_000) }

// saveForEver is the child: it says each revision that was saved.
func saveForEver(path string) {
	s, err := Open(context.Background(), path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	now, err := s.Load(context.Background())
	for err == nil {
		next := edits(now.Rev+1, childNodes)
		if err = s.Save(context.Background(), now, next); err == nil {
			fmt.Println(next.Rev)
			err = s.SaveTable(context.Background(), "p", tableOf(next.Rev))
			now = next
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A process that is killed at any moment leaves all that was acknowledged, and of what was not all or nothing.
func TestKillInTheMiddleOfSavesLosesNothing(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	path := filepath.Join(t.TempDir(), "roost.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	interrupted := 0
	for range rounds {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childPath+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		acked := uint64(0)
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			if acked, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				time.AfterFunc(time.Duration(rnd.IntN(80_000))*time.Microsecond, func() { child.Process.Kill() })
			}
		}
		if err := child.Wait(); err == nil || child.ProcessState.Exited() {
			t.Fatalf("the child was not killed: %v", err)
		}
		if _, err := os.Stat(path + "-journal"); err == nil {
			interrupted++
		}
		check(t, path, acked)
	}
	t.Logf("%d of %d kills fell into a transaction", interrupted, rounds)
}

func check(t *testing.T, path string, acked uint64) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	e, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rev, err := revOf(e, childNodes)
	if err != nil || rev != acked && rev != acked+1 {
		t.Fatalf("revision %d (%v), %d was acknowledged", rev, err, acked)
	}
	tables, err := s.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if table := tables["p"]; acked > 0 && !bytes.Equal(table, tableOf(rev)) && !bytes.Equal(table, tableOf(rev-1)) {
		t.Fatalf("the edits are of revision %d, the table of %d bytes is of neither it nor the one before", rev, len(table))
	}
}
