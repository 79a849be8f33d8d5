package route

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"roost"
)

func jwtOf(claims string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + e.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestEverySourceYieldsItsPartOfTheRequest(t *testing.T) {
	claims := `{"org":"acme","n":17,"nested":{"deep":{"room":"r\u00fcm"}},"https://x.io/org.id":true,"empty":"","list":["a"]}`
	fields := []string{
		"X-Org: acme", "X-Org: other", "X-Empty: ", "Cookie: a=1; session=" + jwtOf(claims) + ` ; q="quoted"; a=2;novalue; e=`,
		"Authorization: bearer  " + jwtOf(claims), "X-Token: " + jwtOf(`{"org":"raw"}`),
	}
	target := "/r/my%41pp/a%2fb/?x=1&a+b=c%2Bd+e&x=2&empty=&flag&pct=%zz&%78y=z&t=" + jwtOf(`{"org":"query"}`)
	for key, want := range map[string]string{
		"path":                           "/r/myApp/a%2Fb/",
		"path[0]":                        "r",
		"path[2]":                        "a%2Fb",
		"path[-2]":                       "a%2Fb",
		"path[-4]":                       "r",
		"path[3]":                        "none", // behind the last slash is nothing
		"path[4]":                        "none",
		"path[-5]":                       "none",
		"{app}/{fn}":                     "myApp/a%2Fb/",
		"{app}":                          "myApp",
		"host":                           "example.com",
		"method":                         "POST",
		"client_ip":                      "192.0.2.7",
		"sni":                            "sni.example.com",
		"cert:cn":                        "device-7",
		"cert:o":                         "acme",
		"cert:ou":                        "none",
		"cert:dns":                       "seven.example.org",
		"cert:uri":                       "spiffe://example.org/Device/7",
		"cert:email":                     "seven@example.org",
		"cert:spiffe":                    "example.org/Device/7",
		"{cert:o}/{cert:cn}":             "acme/device-7",
		"cert:cn ~ ^device-(.+)":         "7",
		"header:x-org":                   "acme",
		"header:X-Empty":                 "none",
		"header:X-None":                  "none",
		"cookie:a":                       "1",
		"cookie:q":                       "quoted",
		"cookie:e":                       "none",
		"cookie:novalue":                 "none",
		"cookie:Session":                 "none",
		"query:x":                        "1",
		"query:xy":                       "z",
		"query:a b":                      "c+d e",
		"query:empty":                    "none",
		"query:flag":                     "none",
		"query:pct":                      "%zz",
		"jwt:org":                        "acme",
		"jwt:n":                          "17",
		"jwt:nested.deep.room":           "r\u00fcm",
		"jwt:https://x.io/org.id":        "true",
		"jwt:nested":                     "none",
		"jwt:list":                       "none",
		"jwt:empty":                      "none",
		"jwt:no":                         "none",
		"jwt:org at cookie:session":      "acme",
		"jwt:org at query:t":             "query",
		"jwt:org at header:X-Token":      "raw",
		"jwt:org at header:X-Org":        "none",
		"{header:X-Org}-{query:x}":       "acme-1",
		"{header:X-Org}-{query:no}":      "none",
		"{{{method}}}":                   "{POST}",
		"}}{path[0]}{{":                  "}r{",
		"v1/{host}":                      "v1/example.com",
		"path ~ ^/r/([^/]+)":             "myApp",
		"path ~ [A-Z]pp":                 "App",
		"path ~ ^/x":                     "none",
		"path ~ ^(x)?":                   "none",
		"path ~ ^()":                     "none",
		"{app}/{fn} ~ /(?:a%2F)(.)":      "b",
		"{header:X-Org}-{query:x} ~ -.*": "-1",
	} {
		text, token, _ := strings.Cut(key, " at ")
		text, regex, _ := strings.Cut(text, " ~ ")
		rt, want2 := keyed(t, roost.Match{Text: "/r/{app}/{fn...}"}, text, token, regex)
		r := request("POST", "Example.COM:8080", target, want2, fields...)
		r.SNI = "SNI.example.com."
		r.Cert = &roost.CertNames{CommonName: "device-7", Orgs: []string{"acme", "more"}, DNS: []string{"Seven.example.org", "b"},
			URIs: []string{"spiffe://example.org/Device/7"}, Emails: []string{"seven@example.org"}, SPIFFE: "example.org/Device/7"}
		if Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r) == nil {
			t.Fatal("the route does not match")
		}
		got, ok := Extract(rt, r, nil, 0)
		if !ok {
			got = []byte("none")
		}
		if string(got) != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

func TestWithoutAVerifiedCertificateItsNamesAreNoKey(t *testing.T) {
	for _, name := range []string{"cn", "o", "ou", "dns", "uri", "email", "spiffe"} {
		rt, want := keyed(t, roost.Match{Text: "/"}, "cert:"+name, "", "")
		for _, names := range []*roost.CertNames{nil, {}} {
			r := request("GET", "lb", "/", want)
			if r.Cert = names; Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r) == nil {
				t.Fatal("the route does not match")
			}
			if key, ok := Extract(rt, r, nil, 0); ok {
				t.Errorf("cert:%s of %+v: %q", name, names, key)
			}
		}
	}
}

func keyed(t testing.TB, m roost.Match, text, token, regex string) (*roost.Route, []string) {
	t.Helper()
	segs, err := ParsePattern(m.Text)
	if err != nil {
		t.Fatal(err)
	}
	m.Path = segs
	sc := Scope{Captures: Captures(segs)}
	if token != "" {
		if sc.Token, err = ParseToken(token); err != nil {
			t.Fatal(err)
		}
	}
	p, err := ParseKey(text, sc)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if regex != "" {
		if p.Regexp, err = ParseRegexp(regex); err != nil {
			t.Fatal(err)
		}
	}
	rt, want, err := Bind(&roost.Route{Match: m, Keys: []roost.KeyProgram{p}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rt, want
}

func TestTheFirstKeyPresentWins(t *testing.T) {
	rt, want := compile(t, roost.Match{}, "header:X-Org", "query:org", "path[0]")
	lv := &roost.ListenerView{Routes: []*roost.Route{rt}}
	for _, c := range []struct{ target, field, want string }{
		{"/p?org=q", "X-Org: h", "h"}, {"/p?org=q", "X-Org: ", "q"}, {"/p?org=", "", "p"}, {"/", "", "none"},
	} {
		r := request("GET", "", c.target, want, c.field)
		Match(lv, r)
		got, ok := Extract(rt, r, make([]byte, 3, 8), 0)
		if !ok {
			got = []byte("none")
		}
		if string(got) != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestARequestWithoutKeyMayHaveItsClientAsKey(t *testing.T) {
	rt, _ := compile(t, roost.Match{}, "query:no")
	r := request("GET", "", "/", nil)
	Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r)
	for client, want := range map[string]string{"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "fe80::1%eth0": "fe80::1", "": "none"} {
		r.Client = netip.Addr{}
		if client != "" {
			r.Client = netip.MustParseAddr(client)
		}
		for _, on := range []roost.OnMissing{roost.MissingBalance, roost.MissingReject, roost.MissingClientIP} {
			rt.OnMissing = on
			got, ok := Extract(rt, r, nil, 0)
			if on != roost.MissingClientIP || client == "" {
				if ok || got != nil {
					t.Errorf("on_missing_key %v gave %q", on, got)
				}
			} else if string(got) != want {
				t.Errorf("%s: %q, want %q", client, got, want)
			}
		}
	}
}

func TestKeysAreCutAtTheirLimitAndScratchOfThatSizeNeverGrows(t *testing.T) {
	long := strings.Repeat("x", roost.MaxKey)
	for _, text := range []string{"path", "query:q", "{path}{query:q}{client_ip}{method}{jwt:c}", "{path}{path}{path}", "jwt:c"} {
		rt, want := compile(t, roost.Match{}, text)
		r := request("GET", "", "/"+long+"?q="+long, want, "Authorization: "+jwtOf(`{"c":"`+long+`"}`))
		Match(&roost.ListenerView{Routes: []*roost.Route{rt}}, r)
		scratch := make([]byte, 0, roost.MaxKey)
		key, ok := Extract(rt, r, scratch, 0)
		if !ok || len(key) != roost.MaxKey || &key[0] != &scratch[:1][0] {
			t.Errorf("%s: %v, %d bytes in a scratch of %d", text, ok, len(key), cap(key))
		}
	}
}

func TestBadKeysAreRefusedWithThePlaceOfTheFault(t *testing.T) {
	for text, want := range map[string]struct {
		off int
		msg string
	}{
		"":                  {0, "nothing is named"},
		"{}":                {1, "nothing is named"},
		"pth":               {0, `"pth" is not a part of a request`},
		"{app}/{fun}":       {7, `"fun" is not a capture`},
		"app":               {0, `app is a capture; write "{app}"`},
		"{fn...}":           {3, "write {fn}"},
		"{app":              {0, "never closed"},
		"a{{{app":           {3, "never closed"},
		"{app}}":            {5, "closes nothing"},
		"plain":             {0, "not a part of a request"},
		"{{plain}}":         {0, "same key"},
		"path:x":            {4, "nothing follows path"},
		"client_ip:":        {9, "nothing follows client_ip"},
		"path[x]":           {5, `"x" is not the number`},
		"path[64]":          {5, "not the number"},
		"path[0":            {4, "never closed"},
		"path[0]x":          {7, "nothing follows"},
		"header:":           {7, "a name is missing"},
		"header":            {6, "a name is missing"},
		"header:X Org":      {8, "cannot stand in the name of a header"},
		"header:Host":       {7, "write host"},
		"x{header:h\u00fc}": {10, "cannot stand"},
		"cookie:a;b":        {8, "cannot stand in the name of a cookie"},
		"{query:}":          {7, "a name is missing"},
		"jwt:":              {4, "a name is missing"},
		"{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}": {128, "at most 16 parts"},
		"{path}" + strings.Repeat("x", MaxText): {MaxText, "at most 1024 bytes"},
	} {
		_, err := ParseKey(text, Scope{Captures: []string{"app", "fn"}})
		wantFault(t, text, err, want.off, want.msg)
	}
	for text, want := range map[string]string{"path": "header:NAME, cookie:NAME or query:NAME", "cookie:": "a name is missing", "x": "not a part"} {
		if _, err := ParseToken(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("token %q: %v, want %q", text, err, want)
		}
	}
	_, err := ParseRegexp("^a(b")
	wantFault(t, "^a(b", err, 0, "missing closing )")
	_, err = ParseRegexp("x[b-a]")
	wantFault(t, "x[b-a]", err, 2, "invalid character class range")
	_, err = ParseRegexp(strings.Repeat("a", MaxText+1))
	wantFault(t, "a...", err, MaxText, "at most")
	_, err = ParseField("a b")
	wantFault(t, "a b", err, 1, "cannot stand")
}

func TestUnknownWordsComeWithThoseThatAreKnown(t *testing.T) {
	_, err := ParseKey("{ap}", Scope{Captures: []string{"app"}})
	se := err.(*SyntaxError)
	if se.Got != "ap" || se.Known[0] != "app" || len(se.Known) < 5 {
		t.Errorf("%+v", se)
	}
}

func TestFieldsOfOneListenerShareItsSlots(t *testing.T) {
	a, want := compile(t, roost.Match{Fields: []roost.FieldMatch{{Name: "x-a"}}}, "{header:X-B}{cookie:c}", "jwt:x")
	if got := strings.Join(want, " "); got != "x-a x-b cookie authorization" {
		t.Errorf("slots: %s", got)
	}
	b, want, err := Bind(a, []string{"authorization", "x-b"})
	if got := strings.Join(want, " "); err != nil || got != "authorization x-b x-a cookie" {
		t.Errorf("slots: %s, %v", got, err)
	}
	if b.Match.Fields[0].Want != 2 || b.Keys[0].Ops[0].Index != 1 || b.Keys[0].Ops[1].Index != 3 || b.Keys[1].Ops[0].Index != 0 {
		t.Errorf("bound: %+v", b)
	}
	if a.Match.Fields[0].Want != 0 || a.Keys[0].Ops[0].Index != 1 || a.Keys[1].Ops[0].Index != 3 {
		t.Errorf("binding again changed the first: %+v", a)
	}
	var full []string
	for i := range roost.MaxWant {
		full = append(full, fmt.Sprintf("x-%d", i))
	}
	if _, _, err := Bind(a, full); err == nil || !strings.Contains(err.Error(), "one too many") {
		t.Errorf("a 17th field: %v", err)
	}
}

func TestAProgramOnAnUncheckedTokenSaysSo(t *testing.T) {
	for text, want := range map[string]bool{"path": false, "jwt:a": true, "{path}{jwt:a}": true} {
		p, err := ParseKey(text, Scope{})
		if err != nil || p.Unverified() != want {
			t.Errorf("%s: %v, %v", text, p.Unverified(), err)
		}
	}
	p, _ := ParseKey("jwt:a", Scope{Verify: &Keys{}})
	if p.Unverified() {
		t.Error("checked, yet unverified")
	}
}

func TestMatchingAndFindingKeysAllocateNothing(t *testing.T) {
	for _, text := range []string{
		"{app}/{fn}", "path", "host", "path[-1]", "header:X-Org", "query:a b", "cookie:c", "client_ip", "sni", "jwt:nested.room", "cert:cn", "cert:dns",
		"{header:X-Org}-{query:room}-{cookie:c}-{jwt:org}-{client_ip}",
	} {
		rt, want := compile(t, roost.Match{Text: "/r/{app}/{fn...}"}, "query:missing", text)
		lv := &roost.ListenerView{Routes: []*roost.Route{rt}, Want: want}
		r := request("GET", "EXAMPLE.com:80", "/r/app/f%2Fn?room=1&a%20b=x", want, "X-Org: acme", "Cookie: a=b; c=d",
			"Authorization: Bearer "+jwtOf(`{"org":"acme","nested":{"room":17}}`))
		r.SNI, r.Cert = "Example.com", &roost.CertNames{CommonName: "device-7", DNS: []string{"seven.example.org"}}
		scratch := make([]byte, 0, roost.MaxKey)
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := Extract(Match(lv, r), r, scratch, 0); !ok {
				t.Fatal("no key")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
	r := request("GET", "", "/%61%zz", nil)
	if n := testing.AllocsPerRun(100, func() { Match(&roost.ListenerView{}, r) }); n != 1 {
		t.Errorf("a path to be rewritten: %v allocations", n)
	}
}

func BenchmarkMatchAndExtract(b *testing.B) {
	for _, c := range []struct{ pattern, key, target string }{
		{"/r/{app}/{fn...}", "{app}/{fn}", "/r/myapp/hello/world"},
		{"", "path", "/r/myapp/hello/world"},
		{"", "jwt:org_id", "/"},
	} {
		b.Run(strings.Trim(c.pattern+" "+c.key, " "), func(b *testing.B) {
			rt, want := compile(b, roost.Match{Text: c.pattern}, c.key)
			lv := &roost.ListenerView{Routes: []*roost.Route{rt}, Want: want}
			r := request("GET", "example.com", c.target, want, "Authorization: Bearer "+
				jwtOf(`{"iss":"https://idp.example.com/","sub":"user-17","aud":["a","b"],"exp":1900000000,"org_id":"acme","scope":"read write"}`))
			scratch := make([]byte, 0, roost.MaxKey)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Extract(Match(lv, r), r, scratch, 0); !ok {
					b.Fatal("no key")
				}
			}
		})
	}
}
