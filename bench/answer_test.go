package main

import (
	"errors"
	"strings"
	"testing"
)

func TestAnAnswerIsTheSameWhereverItIsSplit(t *testing.T) {
	want := body(20)
	good := string(response(1, want))
	for name, c := range map[string]struct {
		text string
		err  error
	}{
		"good":      {good, nil},
		"too long":  {good + "x", errWrong},
		"shifted":   {strings.Replace(good, string(want), string(body(21)[1:]), 1), errWrong},
		"shorter":   {string(response(1, want[:19])), errWrong},
		"refused":   {"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n", errRefused},
		"not found": {"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n", errAnswer},
		"chunked":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", errAnswer},
		"no number": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", errAnswer},
		"endless":   {strings.Repeat("x", maxHead+2), errAnswer},
	} {
		var a answer
		for split := range min(len(c.text), 400) {
			a.begin()
			done, err := false, error(nil)
			for _, part := range []string{c.text[:split], c.text[split:]} {
				if part != "" && err == nil {
					done, err = a.take([]byte(part), want)
				}
			}
			if err != c.err || done != (c.err == nil) {
				t.Fatalf("%s, split at %d: done %t, %v; want %v", name, split, done, err, c.err)
			}
		}
	}
	var a answer
	a.begin()
	if done, err := a.take([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"), want); done || err != nil || !a.close {
		t.Errorf("done %t, %v, close %t", done, err, a.close)
	}
	a.begin()
	if a.close {
		t.Error("the next answer begins as the last one ended")
	}
	if errors.Is(errRefused, errAnswer) {
		t.Error("a refusal is its own case")
	}
}
