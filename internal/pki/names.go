package pki

import (
	"crypto/x509"
	"strings"

	"roost"
)

// Names are those in a client's certificate, of the chains that a handshake verified (tls.ConnectionState.VerifiedChains);
// nil when it verified none: what nobody vouches for yields no key.
func Names(verified [][]*x509.Certificate) *roost.CertNames {
	if len(verified) == 0 || len(verified[0]) == 0 {
		return nil
	}
	c := verified[0][0]
	n := &roost.CertNames{CommonName: c.Subject.CommonName, Orgs: c.Subject.Organization, OrgUnits: c.Subject.OrganizationalUnit,
		DNS: c.DNSNames, Emails: c.EmailAddresses}
	for _, u := range c.URIs {
		n.URIs = append(n.URIs, u.String())
	}
	if len(n.URIs) == 1 { // with several it is no SVID (X509-SVID, 2)
		n.SPIFFE, _ = SPIFFE(n.URIs[0])
	}
	return n
}

const (
	maxSPIFFE = 2048 // bytes of an ID (SPIFFE-ID, 2.3)
	maxDomain = 255  // bytes of its trust domain (SPIFFE-ID, 2.1)
)

// SPIFFE takes a SPIFFE ID of a workload apart: trust domain and path, as in example.org/ns/a/sa/b. ok is false for what is
// none by the letter of SPIFFE-ID, 2, and for the ID of a trust domain itself, which no workload may have (X509-SVID, 2).
func SPIFFE(uri string) (id string, ok bool) {
	const scheme = "spiffe://"
	if len(uri) > maxSPIFFE || len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return "", false
	}
	id = uri[len(scheme):]
	domain, path, _ := strings.Cut(id, "/")
	if domain == "" || len(domain) > maxDomain || strings.IndexFunc(domain, notOf(false)) >= 0 {
		return "", false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.IndexFunc(part, notOf(true)) >= 0 {
			return "", false
		}
	}
	return id, true
}

// notOf finds what cannot stand in a trust domain, or with upper in a segment of a path.
func notOf(upper bool) func(rune) bool {
	return func(c rune) bool {
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
		return !plain && (!upper || c < 'A' || c > 'Z')
	}
}
