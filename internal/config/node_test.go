package config

import (
	"strings"
	"testing"

	"roost"
)

func TestANodeIsReadAsInAFile(t *testing.T) {
	for text, want := range map[string]roost.Node{
		"A.internal:8080":    {ID: "a.internal:8080", Addr: "a.internal:8080", Weight: 1000},
		"[2001:DB8::0:1]:80": {ID: "[2001:db8::1]:80", Addr: "[2001:db8::1]:80", Weight: 1000},
		"Big=10.0.0.2:80*.5": {ID: "Big", Addr: "10.0.0.2:80", Weight: 500},
		"unix:/run//a.sock":  {ID: "unix:/run/a.sock", Addr: "unix:/run/a.sock", Weight: 1000},
		"m=169.254.1.1:80":   {ID: "m", Addr: "169.254.1.1:80", Weight: 1000}, // its pool may allow it
	} {
		n, err := Node(text)
		if err != nil || n.ID != want.ID || n.Addr != want.Addr || n.Weight != want.Weight || n.Sources != nil {
			t.Errorf("%s: %+v, %v", text, n, err)
		}
	}
}

func TestABadNodeIsRefusedWithAReasonAndWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"":                "read node \"\": the address is empty",
		"a":               `read node "a": "a" has no port; write for example "a:8080"`,
		"8080":            `read node "8080": "8080" is a port without a host; write for example "10.0.0.11:8080"`,
		"http://a:80":     `read node "http://a:80": an address has no scheme; write "a:80"`,
		"a b=c:80":        `read node "a b=c:80": "a b" is not a name: use letters and digits, and - _ . behind the first`,
		"a:80*0":          `read node "a:80*0": "0" is out of range, which is 0.001 to 1000`,
		"0.0.0.0:80":      `read node "0.0.0.0:80": 0.0.0.0 is not the address of one machine`,
		"unix:/\xe4":      `read node "unix:/\xe4": the path of a unix socket is UTF-8 without control characters`,
		"unix:run/a.sock": `read node "unix:run/a.sock": the path of a unix socket must be absolute; write for example unix:/run/app.sock`,
	} {
		if _, err := Node(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := Node(strings.Repeat("a", 1<<20) + ":80"); err == nil || len(err.Error()) > 500 {
		t.Errorf("a long one: %d bytes of error", len(err.Error()))
	}
}

func TestMistakesAreDiagnosticsForEverybody(t *testing.T) {
	_, ds := parse("roost.yaml", []byte("pools: { fn: { homse: 3 }, b: {} }\nroutes: [ { pool: fn, key: pth } ]\n"), testWorld(t))
	errors, warnings := ds.Mistakes()
	want := []roost.Mistake{
		{File: "roost.yaml", Line: 1, Column: 16, Path: "pools.fn", Code: "unknown", Message: `unknown setting "homse"`, Fix: `did you mean "homes"?`},
		{File: "roost.yaml", Line: 2, Column: 28, Path: "routes[0].key", Code: "key", Message: `"pth" is not a part of a request`, Fix: `did you mean "path"?`},
	}
	if len(errors) != 2 || errors[0] != want[0] || errors[1] != want[1] || warnings != nil {
		t.Errorf("%+v, %+v", errors, warnings)
	}
	_, ds = parse("roost.yaml", []byte("pools: { fn: { nodes: [] } }\n"), testWorld(t))
	if errors, warnings := ds.Mistakes(); errors != nil || len(warnings) != 1 || warnings[0].Code != "empty_pool" || warnings[0].Line != 1 {
		t.Errorf("%+v, %+v", errors, warnings)
	}
}
