package std

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestADeadlineWakesTheReaderOfAnInletAndNoByteIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, wrote := newInlet(), make(chan error)
		b := make([]byte, 2)
		in.SetReadDeadline(time.Now().Add(time.Hour))
		time.AfterFunc(time.Minute, func() { in.SetReadDeadline(unknown) })
		began := time.Now()
		if n, err := in.Read(b); n != 0 || !isTimeout(err) || time.Since(began) != time.Minute {
			t.Fatalf("%d, %v after %v", n, err, time.Since(began))
		}
		go func() { _, err := in.Write([]byte("abc")); wrote <- err }()
		synctest.Wait()
		if n, err := in.Read(b); n != 0 || !isTimeout(err) {
			t.Fatalf("%d, %v: the deadline passed", n, err)
		}
		in.SetReadDeadline(time.Time{})
		for _, want := range []string{"ab", "c"} {
			if n, err := in.Read(b); string(b[:n]) != want || err != nil {
				t.Fatalf("%q, %v, want %q", b[:n], err, want)
			}
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		in.SetReadDeadline(began.Add(time.Second))
		if _, err := in.Read(b); !isTimeout(err) || time.Since(began) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

func TestTheEndOfAnInletWakesBothItsSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, waits := range []func(*inlet) error{
			func(in *inlet) error { _, err := in.Read(make([]byte, 1)); return err },
			func(in *inlet) error { _, err := in.Write([]byte("x")); return err },
		} {
			in, ended := newInlet(), make(chan error)
			go func() { ended <- waits(in) }()
			synctest.Wait()
			in.Close()
			if err := <-ended; err != io.EOF && err != io.ErrClosedPipe {
				t.Error(err)
			}
			if n, err := in.Write([]byte("y")); n != 0 || err != io.ErrClosedPipe {
				t.Errorf("written to what ended: %d, %v", n, err)
			}
		}
	})
}
