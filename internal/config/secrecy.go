package config

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/pki"
)

// readNodeTLS reads how a pool's nodes are spoken to; nil is clear text.
func (d *decoder) readNodeTLS(v value) *roost.NodeTLS {
	t := &roost.NodeTLS{MinVersion: tls.VersionTLS12}
	switch {
	case d.asked != nil:
		d.readNodeSecrecy(v, t)
		return nil
	case !v.written() || isNull(v.n):
		return nil
	case v.n.Kind == yaml.ScalarNode:
		if on, ok := d.boolean(v); !ok || !on {
			return nil
		}
	default:
		d.readNodeSecrecy(v, t)
	}
	t.ID = sha256.Sum256(fmt.Appendf(nil, "%q %v %d %q %q %q", t.ServerName, t.Insecure, t.MinVersion, t.CA, t.Cert, []byte(t.Key)))
	return t
}

// readNodeSecrecy declares the settings of TLS to nodes.
func (d *decoder) readNodeSecrecy(v value, t *roost.NodeTLS) {
	verify := true
	var verifyAt, caAt, cert, key value
	d.section(v,
		d.toggle("verify", "true", &verify, "Nodes must have a good certificate. `false` encrypts to whoever answers, which keeps out listeners, and nobody else.").noted(&verifyAt),
		setting{name: "server_name", kind: "host", read: func(v value) {
			text, ok := d.text(v)
			if !ok {
				return
			}
			if _, err := netip.ParseAddr(text); err != nil {
				if at, why := notAHostname(text); why != "" {
					d.fail(v.at(at), CodeValue, "write for example app.internal", "%s is not a host: %s", quoted(text), why)
					return
				}
			}
			t.ServerName = lowerASCII(text)
		}, doc: "The name that nodes' certificates are for, and that they are asked for (SNI). Without it each node's own host: a name, or an IP address, which is not asked for; `localhost` for a unix socket."},
		setting{name: "ca", kind: "files", read: func(v value) {
			caAt = v
			d.oneOrMore(v, maxList, func(v value) {
				text, ok := d.watched(v, "the authorities")
				if !ok {
					return
				}
				if _, err := pki.Certificates(text); err != nil {
					d.fail(v, CodeFile, "", "the authorities cannot be used: %v", err)
				}
				t.CA = append(append(t.CA, text...), '\n')
			})
		}, doc: "The authorities that sign nodes' certificates, PEM. Without them those that this machine trusts."},
		setting{name: "cert", kind: "file", read: func(v value) { cert = v; t.Cert, _ = d.watched(v, "the certificate") },
			doc: "The certificate that is shown to nodes that ask for one (mTLS), and the chain behind it, PEM."},
		setting{name: "key", kind: "file", read: func(v value) {
			key = v
			t.Key, _ = d.watched(v, "the key")
			v.remark("the key in the file is not shown")
		}, doc: "The private key of `cert`, PEM."},
		choice(d, "min_version", "1.2", []string{"1.2", "1.3"}, []uint16{tls.VersionTLS12, tls.VersionTLS13}, &t.MinVersion,
			"The oldest TLS that is spoken with nodes."),
	)
	t.Insecure = !verify
	switch {
	case d.asked != nil:
	case t.Insecure && caAt.written():
		d.fail(verifyAt, CodeConflict, "leave one of them out", "without verification nobody looks at ca")
	case cert.written() && !key.written():
		d.fail(cert, CodeMissing, "write key: FILE", "the certificate has no key")
	case key.written() && !cert.written():
		d.fail(key, CodeMissing, "write cert: FILE", "the key has no certificate")
	case t.Cert != nil && t.Key != nil:
		if pair, err := tls.X509KeyPair(t.Cert, t.Key); err != nil {
			d.fail(cert, CodeFile, "", "the certificate and its key cannot be used: %v", err)
		} else {
			d.checkDates(cert, pair.Leaf)
		}
	}
}

// watched reads a file that belongs to the configuration: a change of it is a reload.
func (d *decoder) watched(v value, what string) ([]byte, bool) {
	name := d.fileName(v)
	if name == "" {
		return nil, false
	}
	text, err := d.read(name)
	if err != nil {
		d.fail(v, CodeFile, "", "%s cannot be read: %v", what, err)
		return nil, false
	}
	if !slices.Contains(d.files, name) {
		d.files = append(d.files, name)
		fmt.Fprintf(d.digest, "\x00%s", text)
	}
	return text, true
}
