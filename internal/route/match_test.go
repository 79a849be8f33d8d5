package route

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"roost"
)

// compile makes a route of texts, as package config does, for a listener that wants nothing else.
func compile(t testing.TB, m roost.Match, keys ...string) (*roost.Route, []string) {
	t.Helper()
	rt := &roost.Route{Name: "test", Match: m}
	var err error
	if m.Text != "" {
		if rt.Match.Path, err = ParsePattern(m.Text); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range keys {
		p, err := ParseKey(k, Scope{Captures: Captures(rt.Match.Path)})
		if err != nil {
			t.Fatal(err)
		}
		rt.Keys = append(rt.Keys, p)
	}
	bound, want, err := Bind(rt, nil)
	if err != nil {
		t.Fatal(err)
	}
	return bound, want
}

// request fills the wanted fields as an engine does: of several fields of one name the first counts.
func request(method, host, target string, want []string, fields ...string) *roost.Request {
	r := &roost.Request{Method: method, Host: host, Target: target, Client: netip.MustParseAddr("192.0.2.7")}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		for i, w := range want {
			if strings.EqualFold(w, name) && r.Has&(1<<i) == 0 {
				r.Want[i], r.Has = value, r.Has|1<<i
			}
		}
	}
	return r
}

func TestPathsAreComparedInNormalForm(t *testing.T) {
	for raw, want := range map[string]string{
		"":              "/",
		"/":             "/",
		"*":             "*",
		"/a/b/":         "/a/b/",
		"/a%2Fb/%66n":   "/a%2Fb/fn",
		"/a%2fb":        "/a%2Fb",
		"/%7euser%2D":   "/~user-",
		"/caf%c3%a9":    "/caf%C3%A9",
		"/%zz/%4/%":     "/%25zz/%254/%25",
		"/%%341":        "/%2541",
		"/%25":          "/%25",
		"/A%41":         "/AA",
		"/a//b":         "/a//b",
		"/%2e%2E":       "/..",
		"/%00":          "/%00",
		"/\xff%ff":      "/\xff%FF",
		"/plain-._~!$&": "/plain-._~!$&",
	} {
		if got := normal(raw); got != want {
			t.Errorf("normal(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestPathsThatSomeNodeReadsAsDottedAreFound(t *testing.T) {
	for path, want := range map[string]bool{
		"/":             false,
		"/a.b/c..":      false,
		"/...":          false,
		"/..a":          false,
		"/.well-known":  false,
		"/a..;":         false,
		"/.":            true,
		"/..":           true,
		"/a/./b":        true,
		"/a/../b":       true,
		"/a/..;x=1/b":   true,
		"/a/..%3Bx/b":   true,
		"/a/..%2Fb":     true,
		"/a%2F..":       true,
		`/a\..\b`:       true,
		"/a%5C.%5Cb":    true,
		"/a.b/...//../": true,
		"..":            true,
		"/a/..%252Fb":   false, // whoever decodes twice is on his own
	} {
		if got := dotted(path); got != want {
			t.Errorf("dotted(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestHostnameIsWithoutPortAndBrackets(t *testing.T) {
	for host, want := range map[string]string{
		"":                "",
		"example.com":     "example.com",
		"Example.com:80":  "Example.com",
		"example.com.:80": "example.com",
		"[::1]:80":        "::1",
		"[::1]":           "::1",
		"::1":             "::1",
		"[::1":            "[::1",
		"10.0.0.1:8080":   "10.0.0.1",
		":80":             "",
	} {
		if got := Hostname(host); got != want {
			t.Errorf("Hostname(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestPatternsTakeWholeSegments(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		captures      string // joined by |; "no" when nothing matches
	}{
		{"/r/{app}/{fn...}", "/r/myapp/hello", "myapp|hello"},
		{"/r/{app}/{fn...}", "/r/myapp/a/b/", "myapp|a/b/"},
		{"/r/{app}/{fn...}", "/r/myapp/", "myapp|"},
		{"/r/{app}/{fn...}", "/r/myapp", "no"},
		{"/r/{app}/{fn...}", "/r//x", "no"},
		{"/r/{app}/{fn...}", "/R/myapp/x", "no"},
		{"/r/{app}/{fn...}", "/r/a%2fb/%63", "a%2Fb|c"},
		{"/r/{app}/{fn...}", "/r/a/../../admin", "no"},
		{"/t/{app}/{trigger}", "/t/a/b", "a|b"},
		{"/t/{app}/{trigger}", "/t/a/b/", "no"},
		{"/t/{app}/{trigger}", "/t/a/b?c/d", "a|b"},
		{"/invoke/{fn}", "/invoke/01D7", "01D7"},
		{"/", "/", ""},
		{"/", "/a", "no"},
		{"/", "", ""},
		{"/a/", "/a/", ""},
		{"/a/", "/a", "no"},
		{"/a//b", "/a//b", ""},
		{"/{all...}", "/", ""},
		{"/{all...}", "/x/y", "x/y"},
		{"/{all...}", "*", "no"},
		{"/caf\u00e9/%7Eu", "/caf%c3%a9/~u", ""},
		{"", "*", ""},
		{"", "/a/../b", ""},
	} {
		rt, want := compile(t, roost.Match{Text: c.pattern})
		r := request("GET", "", c.path, want)
		r.Captures[3] = "left over"
		got := "no"
		if Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r) != nil {
			got = strings.Join(r.Captures[:len(Captures(rt.Match.Path))], "|")
			if r.Captures[3] != "" {
				t.Errorf("%q on %q left %q in a capture that the route does not have", c.pattern, c.path, r.Captures[3])
			}
		}
		if got != c.captures {
			t.Errorf("%q on %q: %q, want %q", c.pattern, c.path, got, c.captures)
		}
	}
}

func TestEveryPartOfAMatchMustHold(t *testing.T) {
	host, err := ParseHost("*.Example.com")
	if err != nil {
		t.Fatal(err)
	}
	rt, want := compile(t, roost.Match{Host: host, Text: "/x", Methods: []string{"GET", "POST"},
		Fields: []roost.FieldMatch{{Name: "x-a"}, {Name: "x-b", Exact: "1"}}})
	lv := &roost.ListenerView{Routes: []*roost.Route{rt}, Want: want}
	for _, c := range []struct {
		method, host, target, fields string
		want                         bool
	}{
		{"GET", "a.EXAMPLE.com:8080", "/x?y", "X-A: ,X-B: 1", true},
		{"HEAD", "a.b.example.com.", "/x", "X-A: 0,X-B: 1,X-B: 2", true},
		{"PUT", "a.example.com", "/x", "X-A: ,X-B: 1", false},
		{"get", "a.example.com", "/x", "X-A: ,X-B: 1", false},
		{"GET", "example.com", "/x", "X-A: ,X-B: 1", false},
		{"GET", ".example.com", "/x", "X-A: ,X-B: 1", false},
		{"GET", "aexample.com", "/x", "X-A: ,X-B: 1", false},
		{"GET", "a.example.com", "/X", "X-A: ,X-B: 1", false},
		{"GET", "a.example.com", "/x", "X-B: 1", false},
		{"GET", "a.example.com", "/x", "X-A: ,X-B: 2,X-B: 1", false},
	} {
		r := request(c.method, c.host, c.target, want, strings.Split(c.fields, ",")...)
		if got := Match(lv, r) == rt; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTheFirstRouteThatMatchesWins(t *testing.T) {
	a, _ := compile(t, roost.Match{Text: "/{x}/{y}/a"})
	b, _ := compile(t, roost.Match{Text: "/{only}/{rest...}"})
	c, _ := compile(t, roost.Match{})
	lv := &roost.ListenerView{Routes: []*roost.Route{a, b, c}}
	for target, want := range map[string]*roost.Route{"/1/2/a": a, "/1/2/b": b, "/1": c, "*": c} {
		r := request("GET", "", target, nil)
		if got := Match(lv, r); got != want {
			t.Errorf("%s went to %q", target, got.Match.Text)
		}
		if want == b && (r.Captures[0] != "1" || r.Captures[1] != "2/b") {
			t.Errorf("captures of %s: %q", target, r.Captures)
		}
	}
	if got := Match(&roost.ListenerView{}, request("GET", "", "/", nil)); got != nil {
		t.Errorf("no routes, yet %v", got)
	}
}

// twin matches by regular expressions and string replacement, slowly and plainly.
type twin struct {
	path *regexp.Regexp
	host *regexp.Regexp
}

func newTwin(pattern, host string) twin {
	expr := regexp.QuoteMeta(pattern)
	expr = regexp.MustCompile(`\\\{\w+\\\.\\\.\\\.\\\}`).ReplaceAllString(expr, `(.*)`)
	expr = regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(expr, `([^/]+)`)
	hostExpr := strings.Replace(regexp.QuoteMeta(host), `\*`, `.+`, 1)
	return twin{regexp.MustCompile(`(?s)^` + expr + `$`), regexp.MustCompile(`^(?i:` + hostExpr + `)(:\d*)?$`)}
}

func twinNormal(path string) string {
	return regexp.MustCompile(`%([0-9A-Fa-f]{2})?`).ReplaceAllStringFunc(path, func(s string) string {
		if s == "%" {
			return "%25"
		}
		v, err := strconv.ParseUint(s[1:], 16, 8)
		if err != nil {
			panic(err)
		}
		if c := string(rune(v)); regexp.MustCompile(`^[A-Za-z0-9._~-]$`).MatchString(c) {
			return c
		}
		return strings.ToUpper(s)
	})
}

func twinDotted(path string) bool {
	for _, part := range regexp.MustCompile(`/|\\|%2F|%5C|%3B`).Split(path, -1) {
		part, _, _ = strings.Cut(part, ";")
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

func TestMatchAgreesWithATwinOfRegularExpressions(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "a.b", "%2F", "", "r"})
	pattern := rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(segment, 1, 4).Draw(t, "literals")
		for i := range parts {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				parts[i] = fmt.Sprintf("{c%d}", i)
			case 1:
				if i == len(parts)-1 {
					parts[i] = fmt.Sprintf("{c%d...}", i)
				}
			}
		}
		return "/" + strings.Join(parts, "/")
	})
	piece := rapid.SampledFrom([]string{"a", "b", "r", "/", "/", "/", "%61", "%2f", "%2F", "%5c", ".", "..", "%2e", "a.b", ";", `\`, "%", "%zz"})
	path := rapid.Map(rapid.SliceOfN(piece, 0, 8), func(p []string) string { return "/" + strings.Join(p, "") })
	host := rapid.SampledFrom([]string{"", "a.b", "x.a.b", "A.B:80", "b", "*.b", "*.a.b"})
	rapid.Check(t, func(t *rapid.T) {
		text, hostPattern, target, reqHost := pattern.Draw(t, "pattern"), host.Draw(t, "host pattern"), path.Draw(t, "path"), host.Draw(t, "host")
		hostPattern = strings.ToLower(Hostname(hostPattern))
		segs, err := ParsePattern(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		rt := &roost.Route{Match: roost.Match{Text: text, Path: segs, Host: hostPattern}}
		r := &roost.Request{Target: target, Host: reqHost}
		got := Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r) != nil

		tw := newTwin(text, hostPattern)
		if n := twinNormal(target); r.Path != n {
			t.Fatalf("%q is normal as %q, by the twin as %q", target, r.Path, n)
		}
		if normal(r.Path) != r.Path {
			t.Fatalf("%q, normal, is not normal", r.Path)
		}
		if d := twinDotted(r.Path); d != dotted(r.Path) {
			t.Fatalf("%q dotted: %v, by the twin %v", r.Path, !d, d)
		}
		m := tw.path.FindStringSubmatch(r.Path)
		want := m != nil && !twinDotted(r.Path) && (hostPattern == "" || tw.host.MatchString(reqHost))
		if got != want {
			t.Fatalf("%q on %q at %q: %v, by the twin %v", text, target, reqHost, got, want)
		}
		for i := range r.Captures {
			c := ""
			if want && i+1 < len(m) {
				c = m[i+1]
			}
			if r.Captures[i] != c {
				t.Fatalf("%q on %q: capture %d is %q, by the twin %q", text, target, i, r.Captures[i], c)
			}
		}
	})
}

func TestARouteBehindOneThatCoversItIsNeverReached(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "", "{c}"})
	draw := func(t *rapid.T, name string) roost.Match {
		var m roost.Match
		if rapid.Bool().Draw(t, name+" has path") {
			parts := rapid.SliceOfN(segment, 1, 3).Draw(t, name)
			for i := range parts {
				parts[i] = strings.Replace(parts[i], "c", fmt.Sprintf("c%d", i), 1)
			}
			m.Text = "/" + strings.Join(parts, "/")
			if rapid.Bool().Draw(t, name+" rest") {
				m.Text += "/{rest...}"
			}
			var err error
			if m.Path, err = ParsePattern(m.Text); err != nil {
				t.Fatal(err)
			}
		}
		m.Host = rapid.SampledFrom([]string{"", "", "h", "x.h", "*.h", "*.x.h"}).Draw(t, name+" host")
		m.Methods = rapid.SampledFrom([][]string{nil, nil, {"GET"}, {"HEAD"}, {"GET", "PUT"}}).Draw(t, name+" methods")
		m.Fields = rapid.SampledFrom([][]roost.FieldMatch{nil, nil, {{Name: "f"}}, {{Name: "f", Exact: "1"}}}).Draw(t, name+" fields")
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := &roost.Route{Match: draw(t, "a")}, &roost.Route{Match: draw(t, "b")}
		if !Covers(&a.Match, &a.Match) {
			t.Fatalf("%+v does not cover itself", a.Match)
		}
		if !Covers(&a.Match, &b.Match) {
			return
		}
		r := &roost.Request{
			Method: rapid.SampledFrom([]string{"GET", "HEAD", "PUT", "POST"}).Draw(t, "method"),
			Host:   rapid.SampledFrom([]string{"h", "x.h", "y.x.h", "z"}).Draw(t, "host"),
			Target: "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "z", ""}), 0, 4).Draw(t, "target"), "/"),
		}
		if rapid.Bool().Draw(t, "field") {
			r.Has, r.Want[0] = 1, rapid.SampledFrom([]string{"", "1"}).Draw(t, "value")
		}
		if Match(&roost.ListenerView{Routes: []*roost.Route{a, b}}, r) == b {
			t.Fatalf("%+v covers %+v, yet %q reached it", a.Match, b.Match, r.Target)
		}
	})
}

func TestCoversIsNotBlind(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "/a", true}, {"/a", "", false}, {"/{x...}", "", false}, {"/{x...}", "/a/{y}", true}, {"/{x}", "/a", true},
		{"/{x}", "/", false}, {"/{x}/{y}", "/a/{r...}", false}, {"/a/{r...}", "/a/", true}, {"/a/{r...}", "/a", false}, {"/a", "/b", false},
	} {
		a, _ := compile(t, roost.Match{Text: c.a})
		b, _ := compile(t, roost.Match{Text: c.b})
		if got := Covers(&a.Match, &b.Match); got != c.want {
			t.Errorf("%q covers %q: %v", c.a, c.b, got)
		}
	}
}

func TestBadPatternsAreRefusedWithThePlaceOfTheFault(t *testing.T) {
	for text, want := range map[string]struct {
		off int
		msg string
	}{
		"":                                     {0, "begins with a slash"},
		"r/x":                                  {0, "begins with a slash"},
		"/r/{app":                              {3, "never closed"},
		"/r/{}/x":                              {4, `"" is not a name`},
		"/r/{a b}":                             {4, `"a b" is not a name`},
		"/r/{1a}":                              {4, "is not a name"},
		"/r/{app}x":                            {8, "whole segment"},
		"/r/x{app}":                            {4, "whole segment"},
		"/r/a}":                                {4, "whole segment"},
		"/r/{a...}/x":                          {3, "takes the rest"},
		"/r/{a}/{a}":                           {8, "{a} is there twice"},
		"/r/{host}":                            {4, "another name"},
		"/r/{path...}":                         {4, "another name"},
		"/r?x=1":                               {2, "ends before '?'"},
		"/a b":                                 {2, "write %20"},
		"/a%2":                                 {2, "two hex digits"},
		"/a/../b":                              {3, "match no pattern"},
		"/a/%2e%2e":                            {3, "match no pattern"},
		"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}": {33, "at most 8 captures"},
		"/" + strings.Repeat("x", MaxText):     {MaxText, "at most 1024 bytes"},
	} {
		_, err := ParsePattern(text)
		wantFault(t, text, err, want.off, want.msg)
	}
	for text, want := range map[string]struct {
		off int
		msg string
	}{
		"":            {0, "a host is"},
		"*.":          {0, "a host is"},
		"*":           {0, "stands only in front"},
		"a.*.b":       {2, "stands only in front"},
		"a.b:80":      {3, "port"},
		"a..b":        {2, "empty"},
		".a":          {0, "empty"},
		"b\u00fccher": {1, "Punycode"},
		"a b":         {1, "cannot stand"},
		"[::1]:80":    {0, "cannot stand"},
	} {
		_, err := ParseHost(text)
		wantFault(t, text, err, want.off, want.msg)
	}
	for text, want := range map[string]string{"Example.COM.": "example.com", "*.A": "*.a", "[2001:DB8::0]": "2001:db8::", "10.0.0.1": "10.0.0.1", "a_b-c": "a_b-c"} {
		if got, err := ParseHost(text); got != want || err != nil {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func wantFault(t *testing.T, text string, err error, off int, msg string) {
	t.Helper()
	se, ok := err.(*SyntaxError)
	if !ok || se.Off != off || !strings.Contains(se.Msg, msg) {
		t.Errorf("%q: %#v, want %q at %d", text, err, msg, off)
	}
}
