package route

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"roost"
)

const now = 1_800_000_000

// issuer signs with one key of every type.
type issuer struct {
	rsa  *rsa.PrivateKey
	ec   map[string]*ecdsa.PrivateKey
	ed   ed25519.PrivateKey
	hmac []byte
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	is := &issuer{ec: map[string]*ecdsa.PrivateKey{}, hmac: []byte("0123456789abcdef0123456789abcdef")}
	var err error
	if is.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for alg, c := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if is.ec[alg], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if _, is.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return is
}

func (is *issuer) private(alg string) any {
	switch alg[:2] {
	case "RS", "PS":
		return is.rsa
	case "ES":
		return is.ec[alg]
	case "HS":
		return is.hmac
	}
	return is.ed
}

func (is *issuer) public(alg string) any {
	switch k := is.private(alg).(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case ed25519.PrivateKey:
		return k.Public()
	}
	return is.hmac
}

// sign makes a token; head fields that are nil are left out.
func sign(t *testing.T, alg string, key any, head map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	for k, v := range head {
		tok.Header[k] = v
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}
}

func TestEveryAlgorithmIsVerifiedByItsOwnTypeOfKeyOnly(t *testing.T) {
	is := newIssuer(t)
	for _, alg := range algorithms() {
		token := sign(t, alg, is.private(alg), nil, jwt.MapClaims{"org": "acme"})
		for _, other := range algorithms() {
			ks, err := NewKeys([]VerifyKey{{Material: is.public(other)}})
			if err != nil {
				t.Fatal(err)
			}
			sameKey := alg[:2] == other[:2] || strings.HasSuffix(alg[:2], "S") && strings.HasSuffix(other[:2], "S") && strings.Contains("RSPS", alg[:2]) && strings.Contains("RSPS", other[:2])
			want := sameKey && (alg[:2] != "ES" || alg == other)
			if got := ks.Verify(token, now); got != want {
				t.Errorf("%s by a key for %s: %v", alg, other, got)
			}
		}
		ks, _ := NewKeys([]VerifyKey{{Material: is.public(alg)}})
		head, rest, _ := strings.Cut(token, ".")
		for name, forged := range map[string]string{
			"another claim":   head + ".eyJvcmciOiJldmlsIn0" + token[strings.LastIndexByte(token, '.'):],
			"no signature":    token[:strings.LastIndexByte(token, '.')+1],
			"cut signature":   token[:len(token)-4],
			"padded":          token + "=",
			"a fourth part":   token + ".x",
			"spaces":          " " + token,
			"bad signature":   token[:strings.LastIndexByte(token, '.')+1] + "!!!!",
			"empty":           "",
			"too long":        token + strings.Repeat("A", maxToken),
			"other algorithm": "eyJhbGciOiJub25lIn0." + rest,
		} {
			if ks.Verify(forged, now) {
				t.Errorf("%s: %s was taken", alg, name)
			}
		}
	}
}

func TestAPublicKeyIsNeverAnHMACSecretAndNoneIsNoAlgorithm(t *testing.T) {
	is := newIssuer(t)
	der, err := x509.MarshalPKIXPublicKey(&is.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ks, err := NewKeys([]VerifyKey{{Material: &is.rsa.PublicKey}})
	if err != nil {
		t.Fatal(err)
	}
	if ks.Verify(sign(t, "HS256", der, nil, jwt.MapClaims{}), now) {
		t.Error("the public key was taken for a secret (RFC 8725, 2.1)")
	}
	none := sign(t, "none", jwt.UnsafeAllowNoneSignatureType, nil, jwt.MapClaims{"org": "acme"})
	if ks.Verify(none, now) || ks.Verify(strings.TrimRight(none, "."), now) {
		t.Error("a token without signature was taken")
	}
}

func TestATokenIsCheckedWithTheKeyItNames(t *testing.T) {
	is := newIssuer(t)
	for _, c := range []struct {
		name string
		head map[string]any
		key  VerifyKey
		want bool
	}{
		{"no names", nil, VerifyKey{}, true},
		{"the same name", map[string]any{"kid": "a"}, VerifyKey{ID: "a"}, true},
		{"another name", map[string]any{"kid": "b"}, VerifyKey{ID: "a"}, false},
		{"a key without name", map[string]any{"kid": "b"}, VerifyKey{}, true},
		{"a token without name", nil, VerifyKey{ID: "a"}, true},
		{"a name that is none", map[string]any{"kid": 7}, VerifyKey{}, false},
		{"its algorithm", nil, VerifyKey{Alg: "RS256"}, true},
		{"another algorithm", nil, VerifyKey{Alg: "PS256"}, false},
		{"an extension", map[string]any{"crit": []string{"b64"}, "b64": false}, VerifyKey{}, false},
	} {
		c.key.Material = &is.rsa.PublicKey
		ks, err := NewKeys([]VerifyKey{{ID: "first", Material: is.hmac}, c.key})
		if err != nil {
			t.Fatal(err)
		}
		if got := ks.Verify(sign(t, "RS256", is.rsa, c.head, jwt.MapClaims{}), now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestTimesOfATokenCountWithAMinuteOfLeeway(t *testing.T) {
	is := newIssuer(t)
	ks, err := NewKeys([]VerifyKey{{Material: is.hmac}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		claims jwt.MapClaims
		want   bool
	}{
		{jwt.MapClaims{}, true},
		{jwt.MapClaims{"exp": now + 1, "nbf": now - 1}, true},
		{jwt.MapClaims{"exp": now - 59}, true},
		{jwt.MapClaims{"exp": now - 60}, false},
		{jwt.MapClaims{"exp": now - 59.5}, true},
		{jwt.MapClaims{"exp": 1e300}, true},
		{jwt.MapClaims{"nbf": now + 60}, true},
		{jwt.MapClaims{"nbf": now + 61}, false},
		{jwt.MapClaims{"exp": "never"}, false},
		{jwt.MapClaims{"exp": nil}, false},
		{jwt.MapClaims{"nbf": []int{1}}, false},
	} {
		if got := ks.Verify(sign(t, "HS256", is.hmac, nil, c.claims), now); got != c.want {
			t.Errorf("%v: %v", c.claims, got)
		}
	}
}

func TestAKeyOfAForgedTokenIsNoKey(t *testing.T) {
	is := newIssuer(t)
	ks, err := NewKeys([]VerifyKey{{Material: is.ed.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseKey("jwt:org", Scope{Verify: ks})
	if err != nil {
		t.Fatal(err)
	}
	rt, want, err := Bind(&roost.Route{Keys: []roost.KeyProgram{p}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, "EdDSA", is.ed, nil, jwt.MapClaims{"org": "acme"})
	for token, key := range map[string]string{good: "acme", jwtOf(`{"org":"acme"}`): "", good[:len(good)-8]: ""} {
		r := request("GET", "", "/", want, "Authorization: Bearer "+token)
		if got, ok := Extract(rt, r, nil, now); string(got) != key || ok != (key != "") {
			t.Errorf("%s: %q, %v", token, got, ok)
		}
	}
}

func TestKeysThatCannotVerifyAreRefused(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, keys := range map[string][]VerifyKey{
		"0 keys":                  nil,
		"17 keys":                 make([]VerifyKey, 17),
		"a string is not a key":   {{Material: "secret"}},
		"signs with curve P-224":  {{Material: &p224.PublicKey}},
		`"RS256" is not one of`:   {{Material: []byte("x"), Alg: "RS256"}},
		`"none" is not one of a `: {{Material: []byte("x"), Alg: "none"}},
	} {
		if _, err := NewKeys(keys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func BenchmarkVerifyES256(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	ks, err := NewKeys([]VerifyKey{{Material: &k.PublicKey}})
	if err != nil {
		b.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"org": "acme", "exp": now + 600}).SignedString(k)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ks.Verify(token, now) {
			b.Fatal("not verified")
		}
	}
}
