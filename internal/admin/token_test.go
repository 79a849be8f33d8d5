package admin

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func TestAFirstStartMakesTheToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	made, created, err := OpenToken(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !regexp.MustCompile(`^[0-9A-Za-z_-]{43}\n$`).Match(text) {
		t.Errorf("%v: %q", err, text)
	}
	again, created, err := OpenToken(path)
	if err != nil || created || again != made {
		t.Error("the second start has another token", created, err)
	}
	if !made.fits(strings.TrimSpace(string(text))) || made.fits("") || made.fits(string(text)) || (Token{}).fits("") {
		t.Error("another text fits")
	}
	other, _, err := OpenToken(filepath.Join(t.TempDir(), "admin.token"))
	if err != nil || other == made {
		t.Error("two tokens are the same", err)
	}
}

func TestStartsAtOnceAgreeOnOneToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	var tokens [8]Token
	var makers [8]bool
	var errs [8]error
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() { tokens[i], makers[i], errs[i] = OpenToken(path) })
	}
	all.Wait()
	made := 0
	for i := range tokens {
		if errs[i] != nil || tokens[i] != tokens[0] {
			t.Error("two tokens, or none", errs[i])
		}
		if makers[i] {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d made it", made)
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestATokenFileThatIsNotWellSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	for name, x := range map[string]struct {
		text string
		mode os.FileMode
		want string // "": it is well
	}{
		"well":       {"0123456789abcdef\n", 0o600, ""},
		"for-group":  {"0123456789abcdef", 0o640, ""},
		"read-only":  {"  0123456789abcdef  \r\n", 0o400, ""},
		"for-all":    {"0123456789abcdef\n", 0o644, "its mode is 0644): chmod 600"},
		"writable":   {"0123456789abcdef\n", 0o620, "others can read or change"},
		"executable": {"0123456789abcdef\n", 0o601, "others can"},
		"empty":      {"", 0o600, "is empty; remove it"},
		"blank":      {" \n\n", 0o600, "is empty; remove it"},
		"short":      {"hunter2secret", 0o600, "can be guessed"},
		"two":        {"0123456789abcdef 0123456789abcdef", 0o600, "more than one word"},
		"binary":     {"0123456789abcdef\x00\x01", 0o600, "plain characters"},
		"long":       {strings.Repeat("x", maxToken+1), 0o600, "which is no token"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, x.mode); err != nil {
			t.Fatal(err)
		}
		token, created, err := OpenToken(path)
		switch {
		case created:
			t.Errorf("%s: made anew", name)
		case x.want == "" && (err != nil || !token.fits(strings.TrimSpace(x.text))):
			t.Errorf("%s: %v", name, err)
		case x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), path) || token != Token{}):
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	if _, _, err := OpenToken(dir); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, _, err := OpenToken(filepath.Join(dir, "none", "token")); err == nil || !strings.Contains(err.Error(), "make the admin token") {
		t.Errorf("no directory: %v", err)
	}
}

func TestABearerIsReadAsTheRFCSays(t *testing.T) {
	for field, want := range map[string]string{"Bearer x": "x", "bearer  x ": "x", "Basic x": "", "Bearer": "", "x": "", "": ""} {
		r := &http.Request{Header: http.Header{"Authorization": {field}}}
		if got := bearer(r); got != want {
			t.Errorf("%q: %q", field, got)
		}
	}
}

// Everything that a Server answers, logs, counts and keeps, searched for the token after every route was asked with it.
func TestTheTokenIsNowhereToBeSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	token, _, err := OpenToken(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSpace(string(raw))
	f := new(fake)
	o := f.options()
	o.Token = func() Token { return token }
	s := New(o)
	o.Log.Info("started", "token", token, "options", &o)
	var all strings.Builder
	in := entrance{token: true}
	for op, x := range good {
		method, _, _ := strings.Cut(op, " ")
		for _, authorization := range []string{"Bearer " + text, "Bearer x" + text, "Basic " + text, text} {
			for _, fields := range [][]string{nil, {"Origin", "http://evil.example"}, {"Content-Type", "text/plain"}, {"If-Match", "x"}} {
				for _, with := range []string{"", "?x;y", "?unknown=1"} {
					w := callBy(s, in, method, x.target+with, x.body, append([]string{"Authorization", authorization}, fields...)...)
					for name, values := range w.Header() {
						all.WriteString(name + strings.Join(values, ","))
					}
					all.WriteString(w.Body.String())
				}
			}
		}
	}
	all.WriteString(callBy(s, in, "GET", "/metrics", "", "Authorization", "Bearer "+text).Body.String())
	all.WriteString(callBy(s, in, "GET", "/api/v1/events?follow=false", "", "Authorization", "Bearer "+text).Body.String())
	all.WriteString(f.log.String())
	if all.Len() < 100_000 || !strings.Contains(all.String(), "wrong token") {
		t.Errorf("only %d bytes were written", all.Len())
	}
	if strings.Contains(all.String(), text) {
		t.Error("the token was written somewhere")
	}
}
