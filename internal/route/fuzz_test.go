package route

import (
	"strings"
	"testing"

	"roost"
)

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/r/{app}/{fn...}", "/", "/a//%41", "/{x", "/caf\u00e9/{a}", "/a/..%2Fb"} {
		f.Add(s, "/r/app/fn")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		n := normal(path)
		if normal(n) != n || len(n) > 3*len(path)+1 {
			t.Fatalf("normal(%q) = %q", path, n)
		}
		segs, err := ParsePattern(text)
		checkFault(t, text, err)
		_, err = ParseHost(text)
		checkFault(t, text, err)
		_, err = ParseRegexp(text)
		checkFault(t, text, err)
		if segs == nil {
			return
		}
		rt := &roost.Route{Match: roost.Match{Text: text, Path: segs}}
		if !Covers(&rt.Match, &rt.Match) {
			t.Fatalf("%q does not cover itself", text)
		}
		lv := &roost.ListenerView{Routes: []*roost.Route{rt}}
		// A pattern without captures takes itself, and nothing else but its other encodings.
		if len(Captures(segs)) == 0 {
			if Match(lv, &roost.Request{Target: strings.ReplaceAll(text, "%", "%25")}) != nil && strings.Contains(text, "%") {
				t.Fatalf("%q takes what is encoded twice", text)
			}
			r := &roost.Request{Target: text}
			if Match(lv, r) == nil && !strings.ContainsFunc(text, func(c rune) bool { return c >= 0x80 }) {
				t.Fatalf("%q does not take itself, as %q", text, r.Path)
			}
		}
		Match(lv, &roost.Request{Target: path})
	})
}

func checkFault(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	se, ok := err.(*SyntaxError)
	if !ok || se.Off < 0 || se.Off > len(text) || se.Msg == "" {
		t.Fatalf("%q: %#v", text, err)
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"path", "{app}/{fn}", "{{x}}{path[-1]}", "header:X-Org", "{jwt:a.b}", "query:a b", "cookie:s", "{", "path[", "jwt:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseKey(text, Scope{Captures: []string{"app", "fn"}})
		checkFault(t, text, err)
		_, tokenErr := ParseToken(text)
		checkFault(t, text, tokenErr)
		_, fieldErr := ParseField(text)
		checkFault(t, text, fieldErr)
		if err != nil {
			return
		}
		if len(p.Ops) == 0 || len(p.Ops) > 2*maxParts+1 || p.Text != text {
			t.Fatalf("%q: %+v", text, p)
		}
		rt, want, err := Bind(&roost.Route{Keys: []roost.KeyProgram{p}}, nil)
		if err != nil && len(want) < roost.MaxWant {
			t.Fatal(err)
		}
		Extract(rt, &roost.Request{Method: "GET", Path: "/a/b"}, nil, 0)
	})
}

// FuzzExtract runs requests through routes twice, with different leftovers around them: the key depends on the request
// alone and stays within its limit.
func FuzzExtract(f *testing.F) {
	f.Add("{app}/{fn}", "/r/my%41pp/x", "example.com:80", "acme", "s=1; q=\"x\"")
	f.Add("query:a b", "/?a+b=%41", "[::1]:80", "", "")
	f.Add("cookie:s", "*", "", "", "s=;s=2;;=")
	f.Add("{path[-1]}{host}{sni}{client_ip}", "/a/", "A.", "x", "")
	f.Add("jwt:c", "/", "", "Bearer a.eyJjIjoxfQ.s", "")
	f.Add("{path}{path}{path}", "/%zz/../%2e", "", "", "")
	f.Fuzz(func(t *testing.T, key, target, host, field, cookies string) {
		p, err := ParseKey(key, Scope{Captures: []string{"app", "fn"}})
		if err != nil {
			return
		}
		segs, err := ParsePattern("/r/{app}/{fn...}")
		if err != nil {
			t.Fatal(err)
		}
		one, want, err := Bind(&roost.Route{Match: roost.Match{Path: segs, Text: "/r/{app}/{fn...}"}, Keys: []roost.KeyProgram{p}}, nil)
		if err != nil {
			return
		}
		rest := *one
		rest.Match = roost.Match{}
		lv := &roost.ListenerView{Routes: []*roost.Route{one, &rest}}
		run := func(r *roost.Request, scratch []byte) (string, bool) {
			r.Method, r.Target, r.Host, r.SNI = "GET", target, host, host
			r.Has = 0
			for i, w := range want {
				r.Has |= 1 << i
				if r.Want[i] = field; w == "cookie" {
					r.Want[i] = cookies
				}
			}
			key, ok := Extract(Match(lv, r), r, scratch, 0)
			if len(key) > roost.MaxKey || ok != (len(key) > 0) {
				t.Fatalf("%d bytes of key, %v", len(key), ok)
			}
			return string(key), ok
		}
		a, okA := run(&roost.Request{}, nil)
		dirty := &roost.Request{Path: "x", Query: "y", Captures: [roost.MaxCaptures]string{"1", "2", "3"}}
		b, okB := run(dirty, []byte("left over from the request before"))
		if a != b || okA != okB {
			t.Fatalf("one request, two keys: %q %v, %q %v", a, okA, b, okB)
		}
	})
}
