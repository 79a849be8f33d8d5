package listen

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"roost"
)

func TestAChangedCertificateIsServedAtOnce(t *testing.T) {
	dir := t.TempDir()
	j := newJournal(t)
	file, want := issue(t, dir, "a.example")
	c := openCerts(t, j, file)
	run(t, c)
	address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
	// The first change may be seen by the first look; the later ones must be noticed.
	for range 3 {
		if got := shown(t, address, "a.example"); got != want {
			t.Fatalf("certificate %d before the change, want %d", got, want)
		}
		_, want = issue(t, dir, "a.example")
		j.wait("certificate reloaded")
	}
	if got := shown(t, address, "a.example"); got != want {
		t.Fatalf("certificate %d, want %d", got, want)
	}
}

func TestABadNewFileLeavesTheOldCertificate(t *testing.T) {
	dir := t.TempDir()
	bad, first := issue(t, filepath.Join(dir, "1"), "a.example")
	other, _ := issue(t, filepath.Join(dir, "2"), "b.example")
	j := newJournal(t)
	c := openCerts(t, j, bad, other)
	run(t, c)
	address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
	write(t, bad.Cert, []byte("half a certif"))
	if line := j.wait("changed certificate cannot be used"); !strings.Contains(line, bad.Cert) {
		t.Errorf("the log does not name the file: %s", line)
	}
	if got := shown(t, address, "a.example"); got != first {
		t.Errorf("certificate %d, want the old one, %d", got, first)
	}
	// The others go on being renewed.
	_, want := issue(t, filepath.Join(dir, "2"), "b.example")
	j.wait("certificate reloaded")
	if got := shown(t, address, "b.example"); got != want {
		t.Errorf("certificate %d of the other name, want %d", got, want)
	}
	if err := os.Remove(bad.Cert); err != nil {
		t.Fatal(err)
	}
	j.wait("no such file")
	_, want = issue(t, filepath.Join(dir, "1"), "a.example")
	j.wait("certificate reloaded")
	if got := shown(t, address, "a.example"); got != want {
		t.Errorf("certificate %d after the repair, want %d", got, want)
	}
}

func TestAFaultIsToldOnce(t *testing.T) {
	file, _ := issue(t, t.TempDir(), "a.example")
	j := newJournal(t)
	c := openCerts(t, j, file)
	for _, text := range []string{"one", "one", "-----BEGIN CERTIFICATE-----"} { // the last one is bad for the same reason
		write(t, file.Cert, []byte(text))
		c.reload()
	}
	if got := len(j.lines); got != 1 {
		t.Errorf("%d lines, want 1", got)
	}
	if err := os.Remove(file.Cert); err != nil {
		t.Fatal(err)
	}
	c.reload()
	j.wait("failed to find any PEM data")
	j.wait("no such file") // another reason is news
}

func TestOtherFilesAreWatchedOnceTheyReplaceTheFirst(t *testing.T) {
	dir := t.TempDir()
	one, _ := issue(t, filepath.Join(dir, "1"), "a.example")
	two, _ := issue(t, filepath.Join(dir, "2"), "a.example")
	j := newJournal(t)
	c := openCerts(t, j, one)
	run(t, c)
	issue(t, filepath.Join(dir, "1"), "a.example")
	j.wait("certificate reloaded") // the first directory is being watched
	if err := c.Replace(&roost.TLS{Certificates: []roost.CertFile{two}}); err != nil {
		t.Fatal(err)
	}
	_, want := issue(t, filepath.Join(dir, "2"), "a.example")
	j.wait("certificate reloaded")
	if got := shown(t, serve(t, c.TLS(0, roost.ClientAuthOff, nil)), "a.example"); got != want {
		t.Errorf("certificate %d, want %d", got, want)
	}
}

func TestSessionsResumeAcrossAReload(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, first := issue(t, dir, "a.example")
			j := newJournal(t)
			c := openCerts(t, j, file)
			run(t, c)
			address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
			client := &tls.Config{ServerName: "a.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for i, resumed := range []bool{false, true, true} {
				if i == 2 {
					issue(t, dir, "a.example")
					j.wait("certificate reloaded")
				}
				state, err := shake(address, client)
				if err != nil {
					t.Fatal(err)
				}
				if state.DidResume != resumed {
					t.Errorf("handshake %d: resumed %v, want %v", i, state.DidResume, resumed)
				}
				if got := state.PeerCertificates[0].SerialNumber.Int64(); got != first {
					t.Errorf("handshake %d: certificate %d, want that of the session, %d", i, got, first)
				}
			}
		})
	}
}
