package route

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestClaimsAreReadStrictly(t *testing.T) {
	for claims, want := range map[string]string{
		`{"c":"x"}`:                           "x",
		" {\t\"c\" :\r\n\"x\" } ":             "x",
		`{"a":[1,{"c":"no"}],"c":"x"}`:        "x",
		`{"c":"\u0041\n\"\\\/\ud83d\ude00é"}`: "A\n\"\\/😀é",
		`{"\u0063":"x"}`:                      "x",
		`{"c":-1.5e+07}`:                      "-1.5e+07",
		`{"c":0}`:                             "0",
		`{"c":true}`:                          "true",
		`{"c":false,"d":null}`:                "false",
		`{"c":null}`:                          "none",
		`{"c":{}}`:                            "none",
		`{"c":[]}`:                            "none",
		`{"c":""}`:                            "none",
		`{"C":"x"}`:                           "none",
		`{"cc":"x"}`:                          "none",
		`{"":"x"}`:                            "none",
		`{}`:                                  "none",
		`[]`:                                  "none",
		`"c"`:                                 "none",
		``:                                    "none",
		`{"c":"x"`:                            "none",
		`{"c":"x"}}`:                          "none",
		`{"c":"x"} x`:                         "none",
		`{"c":"x",}`:                          "none",
		`{"c":"x" "d":1}`:                     "none",
		`{"c" "x"}`:                           "none",
		`{c:"x"}`:                             "none",
		`{"c":"x","c":"y"}`:                   "none", // servers do not agree on which one counts
		`{"c":1,"\u0063":"y"}`:                "none",
		`{"c":"x","d":01}`:                    "none",
		`{"c":+1}`:                            "none",
		`{"c":1.}`:                            "none",
		`{"c":.5}`:                            "none",
		`{"c":1e}`:                            "none",
		`{"c":-}`:                             "none",
		`{"c":tru}`:                           "none",
		`{"c":truex}`:                         "none",
		`{"c":NaN}`:                           "none",
		"{\"c\":\"a\nb\"}":                    "none",
		`{"c":"\x41"}`:                        "none",
		`{"c":"\u00g1"}`:                      "none",
		`{"c":"\ud83d"}`:                      "none",
		`{"c":"\ude00\ud83d"}`:                "none",
		`{"c":"\ud83dx"}`:                     "none",
		"\ufeff{\"c\":\"x\"}":                 "none",
		`{"c":"x","d":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`:     "none",
		`{"c":"x","d":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`: "x",
	} {
		got, ok := putClaim(nil, jwtOf(claims), "c")
		if !ok {
			got = []byte("none")
		}
		if string(got) != want {
			t.Errorf("%s: %q, want %q", claims, got, want)
		}
	}
	for _, token := range []string{"", ".", "..", "a.b", "a.e30.c.d", "a.e30.c.d.e", "a.eyJjIjoxfQ==.s", "a.eyJjIjoxfQ=.s", "a.eyJjIjoxfR.s",
		"a.eyJj+jox.s", "a. eyJjIjoxfQ.s", "a.eyJjIjoxfQA.s", "a.eyJjIjoxfQ" + strings.Repeat("A", maxToken) + ".s"} {
		if got, ok := putClaim(nil, token, "c"); ok {
			t.Errorf("%.40q gave %q", token, got)
		}
	}
	if got, ok := putClaim(nil, "a.eyJjIjoxfQ.s", "c"); !ok || string(got) != "1" {
		t.Errorf("the control of the list above: %q, %v", got, ok)
	}
}

// TestClaimsAgreeWithEncodingJSON draws documents, breaks some, and compares with the standard decoder.
func TestClaimsAgreeWithEncodingJSON(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var value func(depth int) string
	names := []string{"a", "b", "c", "a.b", "b.c", "é", `\u0061`, ""}
	object := func(depth int) string {
		var members []string
		for _, i := range rnd.Perm(len(names))[:rnd.IntN(5)] {
			if names[i] == `\u0061` && rnd.IntN(2) == 0 {
				continue
			}
			members = append(members, fmt.Sprintf("\"%s\": %s", names[i], value(depth-1)))
		}
		return "{" + strings.Join(members, " ,") + "}"
	}
	value = func(depth int) string {
		if depth == 0 {
			return "1"
		}
		switch rnd.IntN(8) {
		case 0, 1, 2:
			return object(depth)
		case 3:
			return "[" + value(depth-1) + ", " + value(depth-1) + "]"
		case 4:
			return []string{"true", "false", "null"}[rnd.IntN(3)]
		case 5:
			return []string{"0", "-7", "1.5", "2e3", "-0.1E-2"}[rnd.IntN(5)]
		}
		return []string{`"x"`, `"\u00e9\t"`, `"\ud83d\ude00"`, `"ü"`, `""`}[rnd.IntN(5)]
	}
	found := 0
	for range 20000 {
		doc := object(5)
		if rnd.IntN(4) == 0 { // break one octet
			b := []byte(doc)
			b[rnd.IntN(len(b))] = `{}[]",:\1x `[rnd.IntN(11)]
			doc = string(b)
		}
		claim := []string{"a", "b", "a.b", "a.b.c", "b.c", "é.a"}[rnd.IntN(6)]
		got, ok := putClaim(nil, jwtOf(doc), claim)
		want, state := twinClaim(doc, claim)
		switch {
		case state == "ambiguous":
			continue
		case !ok && state == "none":
		case ok && state == "found" && string(got) == want:
			found++
		default:
			t.Fatalf("%s of %s: %q, %v; the standard decoder: %q, %s", claim, doc, got, ok, want, state)
		}
	}
	if found < 1000 {
		t.Fatalf("only %d claims were found: the test looks at nothing", found)
	}
}

// twinClaim looks a claim up by the standard decoder. Documents in which a name is twice or a surrogate stands alone, and
// those where two members lead to the claim, are ambiguous: the standard decoder takes them, and another test says what
// we do.
func twinClaim(doc, claim string) (text, state string) {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var root map[string]any
	if !json.Valid([]byte(doc)) || d.Decode(&root) != nil {
		return "", "none"
	}
	if unclear(doc) {
		return "", "ambiguous"
	}
	var hits []any
	var look func(m map[string]any, claim string)
	look = func(m map[string]any, claim string) {
		for name, v := range m {
			if name == claim {
				hits = append(hits, v)
			}
			if rest, ok := strings.CutPrefix(claim, name+"."); ok {
				if inner, ok := v.(map[string]any); ok {
					look(inner, rest)
				}
			}
		}
	}
	look(root, claim)
	if len(hits) > 1 {
		return "", "ambiguous"
	}
	if len(hits) == 1 {
		switch v := hits[0].(type) {
		case string:
			if v != "" {
				return v, "found"
			}
		case json.Number:
			return v.String(), "found"
		case bool:
			return fmt.Sprint(v), "found"
		}
	}
	return "", "none"
}

// unclear reports whether an object of doc has two members of one name, or a string holds what the standard decoder
// replaces.
func unclear(doc string) bool {
	d := json.NewDecoder(strings.NewReader(doc))
	var walk func() bool
	walk = func() bool {
		tok, err := d.Token()
		if err != nil {
			return true
		}
		seen := map[string]bool{}
		text, _ := tok.(string)
		found := strings.ContainsRune(text, '\ufffd')
		for tok == json.Delim('{') && d.More() {
			name, _ := d.Token()
			text, _ := name.(string)
			found = found || seen[text] || strings.ContainsRune(text, '\ufffd')
			seen[text] = true
			found = walk() || found
		}
		for tok == json.Delim('[') && d.More() {
			found = walk() || found
		}
		if _, open := tok.(json.Delim); open {
			d.Token()
		}
		return found
	}
	return walk()
}

func FuzzJWT(f *testing.F) {
	f.Add(`{"c":"x"}`, "c")
	f.Add(`{"a":{"c":-1.5e3},"b":[{},null,true]}`, "a.c")
	f.Add(`{"\u0063":"\ud83d\ude00"}`, "c")
	f.Add(`{"c":"x","c":"y"}`, "c")
	f.Fuzz(func(t *testing.T, doc, claim string) {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(doc)) + ".c2ln"
		got, ok := putClaim([]byte("p"), token, claim)
		again, ok2 := putClaim(make([]byte, 1, 9), token, claim)
		if ok != ok2 || ok && string(got[1:]) != string(again[1:]) {
			t.Fatalf("twice, two answers: %q %v, %q %v", got, ok, again, ok2)
		}
		if string(got[:1]) != "p" || !ok && len(got) != 1 {
			t.Fatalf("what was there before was changed: %q", got)
		}
		if ok && len(token) < 4000 {
			if !json.Valid([]byte(doc)) {
				t.Fatalf("found %q in what is not JSON: %q", got, doc)
			}
			if want, state := twinClaim(doc, claim); state == "none" || state == "found" && string(got[1:]) != want {
				t.Fatalf("%q of %q: %q; the standard decoder: %q, %s", claim, doc, got, want, state)
			}
		}
		// Raw text takes the place of the payload too: whatever it is, it is read or refused.
		putClaim(nil, "a."+doc+".b", claim)
		head := base64.RawURLEncoding.EncodeToString([]byte(doc))
		if (&Keys{}).Verify(doc, 0) || (&Keys{}).Verify(head+"."+head+".c2ln", 1) {
			t.Fatal("verified without a key")
		}
	})
}
