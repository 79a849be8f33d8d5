package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"roost"
)

// NodeConfig is what connections to the nodes of a pool have in common. ForNode makes of it that of one node. The error
// says which of its files cannot be used.
func NodeConfig(t *roost.NodeTLS) (*tls.Config, error) {
	conf := &tls.Config{ServerName: t.ServerName, MinVersion: t.MinVersion, InsecureSkipVerify: t.Insecure}
	if t.CA != nil {
		authorities, err := Certificates(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read authorities of nodes: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		for _, c := range authorities {
			conf.RootCAs.AddCert(c)
		}
	}
	if t.Cert != nil {
		own, err := tls.X509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read certificate for nodes: %w", err)
		}
		conf.Certificates = []tls.Certificate{own}
	}
	return conf, nil
}

// ForNode is conf for the node at addr (host:port or unix:/path), with which protocol is spoken (ALPN, RFC 7301); "" offers
// none. Where the pool gives no name, the certificate must be for the host of the address: a name, or an IP address, which
// is not sent (RFC 6066, 3); localhost for a unix socket.
func ForNode(conf *tls.Config, addr, protocol string) *tls.Config {
	conf = conf.Clone()
	if conf.ServerName == "" {
		conf.ServerName = hostOf(addr)
	}
	if protocol != "" {
		conf.NextProtos = []string{protocol}
	}
	return conf
}

func hostOf(addr string) string {
	if strings.HasPrefix(addr, "unix:") {
		return "localhost"
	}
	host := addr[:max(strings.LastIndexByte(addr, ':'), 0)]
	host, _, _ = strings.Cut(strings.Trim(host, "[]"), "%") // a zone is this machine's word
	return host
}

// maxNames is how many of a certificate's names are told where none of them is the right one.
const maxNames = 3

// Explain words why a handshake with a node failed, for operators.
func Explain(err error) error {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		noTLS   tls.RecordHeaderError
	)
	const refused = "remote error: tls: "
	switch text := err.Error(); {
	case errors.As(err, &name):
		return fmt.Errorf("TLS with the node: its certificate is for %s, not for %s", shown(name.Certificate), name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("TLS with the node: the certificate of %s is valid only from %s to %s", shown(invalid.Cert),
			invalid.Cert.NotBefore.UTC().Format(time.DateTime), invalid.Cert.NotAfter.UTC().Format(time.DateTime))
	case errors.As(err, &unknown) && unknown.Cert != nil:
		return fmt.Errorf("TLS with the node: its certificate is signed by an unknown authority, %q", unknown.Cert.Issuer.String())
	case errors.As(err, &noTLS):
		return errors.New("TLS with the node: it does not speak TLS")
	case strings.HasPrefix(text, refused):
		return fmt.Errorf("TLS with the node: it refused ours: %s", text[len(refused):])
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("TLS with the node: it closed the connection in the handshake")
	}
	return fmt.Errorf("TLS with the node: %w", err)
}

// shown lists the names of a certificate.
func shown(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return fmt.Sprintf("%q", c.Subject.CommonName)
	case len(names) > maxNames:
		names = append(names[:maxNames], "others")
	}
	return strings.Join(names, ", ")
}
