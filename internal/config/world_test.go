package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roost/internal/pki/pkitest"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/CONFIGURATION.md")

// today is the time of all tests, so that certificates of fixed dates can be valid.
func today() time.Time { return time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC) }

// certificate makes a certificate of a name and its key, both PEM.
func certificate(t testing.TB, name string, from, to time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return block(t, "CERTIFICATE", der, nil), private(t, k)
}

func private(t testing.TB, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return block(t, "PRIVATE KEY", der, err)
}

func public(t testing.TB, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	return block(t, "PUBLIC KEY", der, err)
}

func block(t testing.TB, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// testWorld has certificates, keys and variables of known names, and nothing else of this machine.
func testWorld(t testing.TB) world {
	t.Helper()
	files := map[string][]byte{"secret": bytes.Repeat([]byte("s"), 33), "short": []byte("hush\n"), "text": []byte("hello\n")}
	add := func(name string, from, to time.Time) {
		files[name+".pem"], files[name+".key"] = certificate(t, name+".example.com", from, to)
	}
	now := today()
	add("good", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0))
	add("other", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0))
	add("expired", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	add("future", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC))
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	files["ed.pub"] = public(t, pub)
	files["both.pub"] = append(append([]byte("a comment\n"), files["ed.pub"]...), files["good.pem"]...)
	files["ticket.48"], files["ticket.80"] = []byte(strings.Repeat("012345", 8)), []byte(strings.Repeat("0123456789", 8))
	leaf := pkitest.New(t, "ca").Issue(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0) }, "good.example.com")
	files["good.pem"], files["good.key"] = leaf.PEM, leaf.KeyPEM
	files["good.ocsp"] = leaf.Staple(t, pkitest.Good, now.Add(-time.Hour), now.Add(time.Hour))
	files["old.ocsp"] = leaf.Staple(t, pkitest.Good, now.AddDate(0, 0, -8), now.AddDate(0, 0, -1))
	files["weak.pub"] = public(t, &weak.PublicKey)
	return world{
		dir:   "/etc/roost",
		state: "/var/lib/roost",
		env: func(name string) (string, bool) {
			v, ok := map[string]string{"HOMES": "many", "EMPTY": "", "TWO": "2", "HOST": "10.0.0.7"}[name]
			return v, ok
		},
		read: func(path string) ([]byte, error) {
			if b, ok := files[strings.TrimPrefix(path, "/etc/roost/")]; ok {
				return b, nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
		stat: func(path string) (fs.FileInfo, error) {
			if path == "/etc/roost" || path == "/var/log" {
				return os.Stat(".")
			}
			return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
		},
		now: today,
	}
}

// golden compares with a file, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (write it with -update and read it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (rewrite it with -update and read the diff); got:\n%s", name, got)
	}
}

func TestBadFilesAreExplained(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	w := testWorld(t)
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg, ds := parse(filepath.Base(name), text, w)
			if (cfg == nil) != ds.Failed() {
				t.Errorf("configuration %v, failed %v", cfg != nil, ds.Failed())
			}
			if len(ds) == 0 {
				t.Fatal("nothing was found")
			}
			checkPlaces(t, text, ds)
			var b bytes.Buffer
			if err := ds.Text(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", b.Bytes())
			b.Reset()
			if err := ds.JSON(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".json", b.Bytes())
		})
	}
}

// checkPlaces wants every diagnostic to point into the text, in order.
func checkPlaces(t *testing.T, text []byte, ds Diagnostics) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
	last := Diagnostic{}
	for _, g := range ds {
		if g.Code == "" || g.Message == "" || g.Severity != Error && g.Severity != Warning {
			t.Errorf("incomplete: %+v", g)
		}
		if g.Line < 0 || g.Line > len(lines) || g.Line == 0 && g.Col != 0 || g.Line > 0 && (g.Col < 1 || g.Col > len([]rune(lines[g.Line-1]))+1) {
			t.Errorf("%d:%d is not in the text: %+v", g.Line, g.Col, g)
		}
		if g.Line < last.Line || g.Line == last.Line && g.Col < last.Col {
			t.Errorf("%d:%d after %d:%d", g.Line, g.Col, last.Line, last.Col)
		}
		last = g
	}
}
