package carry

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

func TestDatesAreAsTheStandardLibraryWritesThem(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		at := time.Unix(rnd.Int64N(9_000_000_000), rnd.Int64N(1e9)) // to the year 2255
		if got, want := string(appendDate([]byte("X"), at.UnixNano())), "XDate: "+at.UTC().Format(http.TimeFormat)+"\r\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
