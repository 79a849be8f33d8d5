package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyed is a world with more files.
func keyed(t *testing.T, more map[string][]byte) world {
	t.Helper()
	w := testWorld(t)
	read := w.read
	w.read = func(path string) ([]byte, error) {
		if b, ok := more[strings.TrimPrefix(path, "/etc/roost/")]; ok {
			return b, nil
		}
		return read(path)
	}
	return w
}

func jwks(t *testing.T, keys ...map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestTokensAreCheckedWithKeysOfEveryForm signs with each key and asks the route for the claim.
func TestTokensAreCheckedWithKeysOfEveryForm(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(strings.Repeat("hmac", 8))
	point, err := ecKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &rsaKey.PublicKey, rsaKey)
	files := map[string][]byte{
		"rsa.crt": block(t, "CERTIFICATE", der, err),
		"rsa.pub": public(t, &rsaKey.PublicKey), "rsa1.pub": block(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey), nil),
		"ec.pub": public(t, &ecKey.PublicKey), "ed.pub": public(t, edPub), "hmac": append(append([]byte{}, secret...), "\r\n"...),
		"all.jwks": jwks(t,
			map[string]any{"kty": "RSA", "kid": "r", "use": "sig", "n": b64(rsaKey.N.Bytes()), "e": b64(big.NewInt(int64(rsaKey.E)).Bytes())},
			map[string]any{"kty": "EC", "kid": "e", "crv": "P-384", "alg": "ES384", "x": b64(point[1:49]), "y": b64(point[49:])},
			map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(edPub)},
			map[string]any{"kty": "oct", "k": b64(secret)},
			map[string]any{"kty": "EC", "crv": "secp256k1"}, // not known: passed over
			map[string]any{"kty": "RSA", "use": "enc", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"},
		),
	}
	one, _, _ := strings.Cut(string(files["all.jwks"])[len(`{"keys":[`):], "},")
	files["one.jwk"] = []byte(one + "}")
	sign := func(m jwt.SigningMethod, key any) string {
		tok, err := jwt.NewWithClaims(m, jwt.MapClaims{"org": "acme", "exp": time.Now().Unix() + 60}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	tokens := map[string]string{"rsa": sign(jwt.SigningMethodPS256, rsaKey), "ec": sign(jwt.SigningMethodES384, ecKey), "ed": sign(jwt.SigningMethodEdDSA, edKey),
		"hmac": sign(jwt.SigningMethodHS256, secret)}
	for setting, takes := range map[string]string{
		"verify: rsa.crt": "rsa", "verify: rsa.pub": "rsa", "verify: rsa1.pub": "rsa", "verify: ec.pub": "ec", "verify: [ ed.pub, ec.pub ]": "ed ec",
		"secret: hmac": "hmac", "verify: all.jwks": "rsa ec ed hmac", "verify: one.jwk": "rsa ec ed hmac"[:3], "verify: ed.pub, secret: hmac": "ed hmac", "regex: .*": "rsa ec ed hmac",
	} {
		text := fmt.Sprintf("routes: [ { key: { from: 'jwt:org', %s } } ]\npools: { fn: { nodes: [ 'a:1' ] } }", setting)
		cfg, ds := parse("roost.yaml", []byte(text), keyed(t, files))
		if cfg == nil {
			t.Errorf("%s: %v", setting, ds)
			continue
		}
		if got := cfg.Routes[0].Keys[0].Unverified(); got != (setting == "regex: .*") {
			t.Errorf("%s: unverified %v", setting, got)
		}
		for name, token := range tokens {
			key, _ := ask(t, cfg, "web", "GET", "lb", "/", "Authorization: Bearer "+token)
			if want := strings.Contains(takes, name); (key == "acme") != want {
				t.Errorf("%s: the token by %s gave %q", setting, name, key)
			}
		}
	}
}

func TestKeysThatCannotBeTrustedAreRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	many := map[string][]byte{
		"private.pem": private(t, ec), "empty": nil, "broken.jwks": []byte(`{"keys":[`), "none.jwks": []byte(`{"keys":[]}`), "broken.pem": block(t, "PUBLIC KEY", []byte("x"), nil),
		"off-curve.jwks": jwks(t, map[string]any{"kty": "EC", "kid": "k1", "crv": "P-256", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"private.jwks":   jwks(t, map[string]any{"kty": "EC", "crv": "P-256", "d": "AA"}),
		"short.jwks":     jwks(t, map[string]any{"kty": "oct", "k": "AAAA"}),
		"bad-rsa.jwks":   jwks(t, map[string]any{"kty": "RSA", "n": "!", "e": "AQAB"}),
		"weak-rsa.jwks":  jwks(t, map[string]any{"kty": "RSA", "n": b64([]byte{255, 1}), "e": "AQAB"}),
		"bad-ed.jwks":    jwks(t, map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
		"alg.jwks":       jwks(t, map[string]any{"kty": "oct", "alg": "RS256", "k": b64(make([]byte, 32))}),
	}
	for setting, want := range map[string]string{
		"verify: private.pem": "private key", "verify: empty": "neither PEM nor JWKS", "verify: text": "neither PEM nor JWKS", "verify: weak.pub": "1024 bits",
		"verify: broken.pem": "cannot be used", "verify: broken.jwks": "read JWKS", "verify: none.jwks": "no key for signatures", "verify: off-curve.jwks": "key 1 (k1)",
		"verify: private.jwks": "private key", "verify: short.jwks": "32 bytes", "verify: bad-rsa.jwks": "RSA key", "verify: weak-rsa.jwks": "16 bits",
		"verify: bad-ed.jwks": "Ed25519", "verify: alg.jwks": `"RS256" is not one of`, "secret: good.pem": "PEM file", "secret: short": "4 bytes", "secret: missing": "file does not exist",
		"verify: ''": "no name",
	} {
		text := fmt.Sprintf("routes: [ { key: { from: 'jwt:org', %s } } ]\npools: { fn: { nodes: [ 'a:1' ] } }", setting)
		cfg, ds := parse("roost.yaml", []byte(text), keyed(t, many))
		if cfg != nil || len(ds) != 1 || !strings.Contains(ds[0].Message, want) || ds[0].Line != 1 {
			t.Errorf("%s: %+v, want %q", setting, ds, want)
		}
	}
}

func TestOnlyOrdinaryFilesAreReadAsKeys(t *testing.T) {
	if _, err := readSmall(os.DevNull); err == nil {
		t.Error("a device was read")
	}
	if _, err := readSmall(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}
