package std

import (
	"crypto/x509"

	"roost"
)

// namesOf are the names by which routes know a client.
func namesOf(c *x509.Certificate) *roost.CertNames {
	n := &roost.CertNames{CommonName: c.Subject.CommonName, Orgs: c.Subject.Organization,
		OrgUnits: c.Subject.OrganizationalUnit, DNS: c.DNSNames}
	for _, u := range c.URIs {
		n.URIs = append(n.URIs, u.String())
	}
	return n
}
