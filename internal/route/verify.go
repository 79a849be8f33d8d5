package route

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// leeway is how far the clocks of issuer and balancer may be apart, in seconds.
	leeway = 60
	// maxKeys bounds the signatures that are tried for one token: an issuer publishes two or three.
	maxKeys = 16
)

// VerifyKey is a key that signatures are checked with.
type VerifyKey struct {
	ID       string // a token that names a key (kid) is checked with that one and with those that have no ID
	Alg      string // the only algorithm it is for; "" all that its type allows
	Material any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or []byte for HMAC
}

// Keys checks JWTs. It is a roost.Verifier.
//
// Trap: a check costs about 0.1 ms (ES256, BenchmarkVerifyES256), paid by every request of the route, forged ones
// included.
type Keys struct{ keys []verifyKey }

type verifyKey struct {
	VerifyKey
	methods []jwt.SigningMethod
}

// NewKeys takes the keys of one issuer. The algorithms that a token may name follow from the keys' types and nothing
// else: "none" is never among them, and a public key is never taken for an HMAC secret (RFC 8725, 3.1).
func NewKeys(keys []VerifyKey) (*Keys, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%d keys; from 1 to %d can be used", len(keys), maxKeys)
	}
	ks := &Keys{}
	for _, k := range keys {
		methods, err := methods(k.Material)
		if err != nil {
			return nil, err
		}
		if k.Alg != "" {
			m := byName(methods, k.Alg)
			if m == nil {
				return nil, fmt.Errorf("algorithm %q is not one of a %T", k.Alg, k.Material)
			}
			methods = []jwt.SigningMethod{m}
		}
		ks.keys = append(ks.keys, verifyKey{k, methods})
	}
	return ks, nil
}

// methods are the algorithms of a key's type (RFC 7518, 3.1; RFC 8037, 3.1).
func methods(k any) ([]jwt.SigningMethod, error) {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
			jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512}, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []jwt.SigningMethod{jwt.SigningMethodES256}, nil
		case 384:
			return []jwt.SigningMethod{jwt.SigningMethodES384}, nil
		case 521:
			return []jwt.SigningMethod{jwt.SigningMethodES512}, nil
		}
		return nil, fmt.Errorf("no algorithm signs with curve %s", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return []jwt.SigningMethod{jwt.SigningMethodEdDSA}, nil
	case []byte:
		return []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512}, nil
	}
	return nil, fmt.Errorf("a %T is not a key for signatures", k)
}

func byName(methods []jwt.SigningMethod, alg string) jwt.SigningMethod {
	for _, m := range methods {
		if m.Alg() == alg {
			return m
		}
	}
	return nil
}

// Verify reports whether one of the keys signed the token and now lies between nbf and exp, where they are given. now
// is in Unix seconds.
func (ks *Keys) Verify(token string, now int64) bool {
	head, claims, sig, ok := split(token)
	if !ok {
		return false
	}
	var buf [256]byte
	alg, kind := findClaim(buf[:0], head, "alg")
	if kind != claimText {
		return false
	}
	kid, kind := findClaim(alg[len(alg):], head, "kid")
	if kind != claimText && kind != claimNone {
		return false
	}
	// Extensions that must be understood are not (RFC 7515, 4.1.11).
	if _, kind := findClaim(nil, head, "crit"); kind != claimNone {
		return false
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(sig)
	if err != nil {
		return false
	}
	return ks.signed(string(alg), string(kid), token[:len(head)+1+len(claims)], signature) && timely(claims, now)
}

func (ks *Keys) signed(alg, kid, text string, signature []byte) bool {
	for i := range ks.keys {
		k := &ks.keys[i]
		if kid != "" && k.ID != "" && kid != k.ID {
			continue
		}
		if m := byName(k.methods, alg); m != nil && m.Verify(text, signature, k.Material) == nil {
			return true
		}
	}
	return false
}

// timely checks exp and nbf (RFC 7519, 4.1.4 and 4.1.5); they may have fractions.
func timely(claims string, now int64) bool {
	exp, hasExp, ok1 := date(claims, "exp")
	nbf, hasNbf, ok2 := date(claims, "nbf")
	t := float64(now)
	return ok1 && ok2 && (!hasExp || t < exp+leeway) && (!hasNbf || t >= nbf-leeway)
}

func date(claims, name string) (at float64, has, ok bool) {
	var buf [64]byte
	text, kind := findClaim(buf[:0], claims, name)
	if kind == claimNone {
		return 0, false, true
	}
	at, err := strconv.ParseFloat(string(text), 64)
	return at, true, kind == claimNumber && err == nil
}
