package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"roost"
	"roost/internal/pki"
	"roost/internal/route"
)

const (
	// minRSA is the shortest RSA key that signatures are checked with (RFC 7518, 3.3).
	minRSA = 2048
	// minSecret is the shortest HMAC secret, in bytes (RFC 7518, 3.2, for HS256).
	minSecret = 32
)

// checkCertificate reports what a handshake would stumble over.
func (d *decoder) checkCertificate(cert, key, ocsp value, f roost.CertFile) {
	certPEM, err := d.read(f.Cert)
	if err != nil {
		d.fail(cert, CodeFile, "", "the certificate cannot be read: %v", err)
	}
	keyPEM, keyErr := d.read(f.Key)
	if keyErr != nil {
		d.fail(key, CodeFile, "", "the key cannot be read: %v", keyErr)
	}
	if err != nil || keyErr != nil {
		return
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		d.fail(cert, CodeFile, "", "the certificate and its key cannot be used: %v", err)
		return
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		d.fail(cert, CodeFile, "", "the certificate cannot be used: %v", err)
		return
	}
	d.checkDates(cert, leaf)
	if f.OCSP == "" {
		return
	}
	der, err := d.read(f.OCSP)
	if err != nil {
		d.fail(ocsp, CodeFile, "", "the response to staple cannot be read: %v", err)
		return
	}
	staple, err := pki.ParseStaple(der, leaf)
	if err == nil {
		err = staple.Stale(d.now())
	}
	if err != nil { // it may be on its way; handshakes do without
		d.warn(ocsp, CodeCertificate, "", "the response to staple is left out: %v", err)
	}
}

// checkDates warns of a certificate that is of no use now.
func (d *decoder) checkDates(v value, leaf *x509.Certificate) {
	switch now := d.now(); {
	case now.After(leaf.NotAfter):
		d.warn(v, CodeCertificate, "", "the certificate expired on %s", leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		d.warn(v, CodeCertificate, "", "the certificate is not valid before %s", leaf.NotBefore.Format(time.DateTime))
	}
}

// secret reads an HMAC secret.
func (d *decoder) secret(v value) []route.VerifyKey {
	text, ok := d.keyFile(v)
	if !ok {
		return nil
	}
	v.remark("the secret in the file is not shown")
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		d.fail(v, CodeFile, "write verify: FILE for public keys", "this is a PEM file, not a secret; a public key as a secret would let everybody sign")
		return nil
	}
	if len(text) < minSecret {
		d.fail(v, CodeFile, "", "the secret has %d bytes; below %d it can be guessed", len(text), minSecret)
		return nil
	}
	return []route.VerifyKey{{Material: text}}
}

// publicKeys reads the keys of a PEM or JWKS file.
func (d *decoder) publicKeys(v value) []route.VerifyKey {
	text, ok := d.keyFile(v)
	if !ok {
		return nil
	}
	read := pemKeys
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) > 0 && t[0] == '{' {
		read = jwksKeys
	}
	keys, err := read(text)
	if err != nil {
		d.fail(v, CodeFile, "", "the keys cannot be used: %v", err)
		return nil
	}
	return keys
}

func (d *decoder) keyFile(v value) ([]byte, bool) { return d.watched(v, "the key") }

func pemKeys(text []byte) ([]route.VerifyKey, error) {
	var keys []route.VerifyKey
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		k, err := pemKey(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Type, err)
		}
		keys = append(keys, route.VerifyKey{Material: k})
	}
	if len(keys) == 0 {
		return nil, errors.New("this is neither PEM nor JWKS")
	}
	return keys, nil
}

func pemKey(b *pem.Block) (any, error) {
	switch b.Type {
	case "PUBLIC KEY":
		k, err := x509.ParsePKIXPublicKey(b.Bytes)
		return k, errors.Join(err, strongEnough(k))
	case "RSA PUBLIC KEY":
		k, err := x509.ParsePKCS1PublicKey(b.Bytes)
		if err != nil {
			return nil, err
		}
		return k, strongEnough(k)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, strongEnough(c.PublicKey)
	}
	return nil, errors.New("a public key or certificate is wanted here; a private key belongs to who signs alone")
}

func strongEnough(k any) error {
	if k, ok := k.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return fmt.Errorf("the RSA key has %d bits; below %d it can be broken", k.N.BitLen(), minRSA)
	}
	return nil
}

// jwk is a key of RFC 7517, with the members of RFC 7518, 6 and RFC 8037, 2.
type jwk struct {
	Kty, Kid, Alg, Use, Crv, N, E, X, Y, K string
	D                                      string // of a private key
}

// jwksKeys reads a key set, or one key. Keys that are not for signatures, or of a type that is not known, are passed
// over, as RFC 7517, 5 asks for.
func jwksKeys(text []byte) ([]route.VerifyKey, error) {
	var set struct {
		Keys []jwk
		jwk
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read JWKS: %w", err)
	}
	if set.Keys == nil && set.Kty != "" {
		set.Keys = []jwk{set.jwk}
	}
	var keys []route.VerifyKey
	for i := range set.Keys {
		k := &set.Keys[i]
		material, err := k.material()
		if err == nil {
			err = strongEnough(material)
		}
		if err != nil {
			return nil, fmt.Errorf("key %d (%s): %w", i+1, clip(k.Kid), err)
		}
		if material != nil && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, route.VerifyKey{ID: k.Kid, Alg: k.Alg, Material: material})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key for signatures")
	}
	return keys, nil
}

// material makes the key; nil is one of a type that is not known.
func (k *jwk) material() (any, error) {
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
	e := base64.RawURLEncoding.Strict()
	switch {
	case k.D != "":
		return nil, errors.New("this is a private key, which belongs to who signs alone")
	case k.Kty == "RSA":
		n, err1 := e.DecodeString(k.N)
		exp, err2 := e.DecodeString(k.E)
		if err1 != nil || err2 != nil || len(n) == 0 || len(exp) == 0 || len(exp) > 4 {
			return nil, errors.New("n and e are not numbers of an RSA key")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(exp).Int64())}, nil
	case k.Kty == "EC" && curves[k.Crv] != nil:
		x, err1 := e.DecodeString(k.X)
		y, err2 := e.DecodeString(k.Y)
		c := curves[k.Crv]
		size := (c.Params().BitSize + 7) / 8
		if err1 != nil || err2 != nil || len(x) != size || len(y) != size {
			return nil, fmt.Errorf("x and y are not coordinates on %s", k.Crv)
		}
		return ecdsa.ParseUncompressedPublicKey(c, append(append([]byte{4}, x...), y...))
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		x, err := e.DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("x is not an Ed25519 key")
		}
		return ed25519.PublicKey(x), nil
	case k.Kty == "oct":
		secret, err := e.DecodeString(k.K)
		if err != nil || len(secret) < minSecret {
			return nil, fmt.Errorf("k is not a secret of at least %d bytes", minSecret)
		}
		return secret, nil
	}
	return nil, nil
}
