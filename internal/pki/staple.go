package pki

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // names of issuers are compared by it (RFC 5019, 2.1.1)
	_ "crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// MaxStaple bounds a response: one with a whole chain of its signer has some 5 KiB, and every handshake carries it.
const MaxStaple = 16 << 10

// Staple is what an authority says of one certificate (OCSP, RFC 6960): it is good.
type Staple struct {
	From, Until time.Time // when that holds; a zero Until: newer words are always to be had
}

// The parts of a response (RFC 6960, 4.2.1) that are looked at.
type (
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  ocspBytes `asn1:"explicit,tag:0,optional"`
	}
	ocspBytes struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	ocspBasic struct {
		Data      ocspData
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Certs     []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	ocspData struct {
		Version    int `asn1:"explicit,tag:0,default:0,optional"`
		Responder  asn1.RawValue
		Produced   time.Time `asn1:"generalized"`
		Singles    []ocspSingle
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	ocspSingle struct {
		ID         ocspID
		Good       asn1.Flag        `asn1:"tag:0,optional"`
		Revoked    ocspRevoked      `asn1:"tag:1,optional"`
		Unknown    asn1.Flag        `asn1:"tag:2,optional"`
		From       time.Time        `asn1:"generalized"`
		Until      time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	ocspID struct {
		Hash            pkix.AlgorithmIdentifier
		IssuerName, Key []byte
		Serial          *big.Int
	}
	ocspRevoked struct {
		At     time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}
)

// ParseStaple reads a response, DER, and finds in it what it says of leaf. The error says why it cannot be stapled, whatever
// the time.
func ParseStaple(der []byte, leaf *x509.Certificate) (Staple, error) {
	if len(der) > MaxStaple {
		return Staple{}, fmt.Errorf("it has %d bytes; a response has at most %d", len(der), MaxStaple)
	}
	var r ocspResponse
	var b ocspBasic
	if rest, err := asn1.Unmarshal(der, &r); err != nil || len(rest) > 0 {
		return Staple{}, errors.New("it is not an OCSP response (DER)")
	}
	if r.Status != 0 {
		return Staple{}, fmt.Errorf("the authority answered with an error (OCSP status %d)", r.Status)
	}
	if !r.Bytes.Type.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}) {
		return Staple{}, errors.New("it is not a basic OCSP response")
	}
	if rest, err := asn1.Unmarshal(r.Bytes.Response, &b); err != nil || len(rest) > 0 {
		return Staple{}, errors.New("it is not a basic OCSP response")
	}
	for i := range b.Data.Singles {
		s := &b.Data.Singles[i]
		switch {
		case !s.ID.names(leaf):
		case bool(s.Good):
			return Staple{s.From, s.Until}, nil
		case !s.Revoked.At.IsZero():
			return Staple{}, fmt.Errorf("the authority revoked the certificate on %s", s.Revoked.At.Format(time.DateOnly))
		default:
			return Staple{}, errors.New("the authority does not know the certificate")
		}
	}
	return Staple{}, errors.New("it is for another certificate")
}

// names tells whether the ID is that of leaf: of its issuer's name and its serial number. The issuer's key, which tells two
// issuers of one name apart, is not at hand.
func (id *ocspID) names(leaf *x509.Certificate) bool {
	var hash crypto.Hash
	switch oid := id.Hash.Algorithm; {
	case oid.Equal(asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}):
		hash = crypto.SHA1
	case oid.Equal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}):
		hash = crypto.SHA256
	default:
		return false
	}
	h := hash.New()
	h.Write(leaf.RawIssuer)
	return id.Serial != nil && id.Serial.Cmp(leaf.SerialNumber) == 0 && bytes.Equal(h.Sum(nil), id.IssuerName)
}

// Stale says why the staple cannot be shown at now; nil: it can.
func (s Staple) Stale(now time.Time) error {
	switch {
	case !s.Until.IsZero() && now.After(s.Until):
		return fmt.Errorf("it ended on %s", s.Until.UTC().Format(time.DateTime))
	case now.Before(s.From):
		return fmt.Errorf("it begins on %s", s.From.UTC().Format(time.DateTime))
	}
	return nil
}
