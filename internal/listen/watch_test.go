package listen

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"roost"
)

// never keeps the poll out of a test of notices.
const never = 24 * time.Hour

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// turn makes a symbolic link lead elsewhere, in one step.
func turn(t *testing.T, to, name string) {
	t.Helper()
	link(t, to, name+".new")
	rename(t, name+".new", name)
}

func in(dir string) roost.CertFile {
	return roost.CertFile{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
}

// Each way is given a directory and makes a certificate stand there: the first time as an installation would, then as a
// renewal would.
var ways = []struct {
	name string
	file func(dir string) roost.CertFile
	put  func(t *testing.T, dir, version string) int64
}{
	{"written in place", in, func(t *testing.T, dir, version string) int64 {
		_, serial := issue(t, dir, "a.example")
		return serial
	}},
	{"renamed over", in, func(t *testing.T, dir, version string) int64 {
		fresh, serial := issue(t, filepath.Join(dir, version), "a.example")
		rename(t, fresh.Cert, in(dir).Cert)
		rename(t, fresh.Key, in(dir).Key)
		return serial
	}},
	{"a link beside the files turned, as in a mounted ConfigMap", in, func(t *testing.T, dir, version string) int64 {
		_, serial := issue(t, filepath.Join(dir, ".."+version), "a.example")
		turn(t, ".."+version, filepath.Join(dir, "..data"))
		if version == "1" {
			link(t, "..data/tls.crt", in(dir).Cert)
			link(t, "..data/tls.key", in(dir).Key)
		}
		return serial
	}},
	{"a link above the files turned",
		func(dir string) roost.CertFile { return in(filepath.Join(dir, "now", "deep")) },
		func(t *testing.T, dir, version string) int64 {
			_, serial := issue(t, filepath.Join(dir, version, "deep"), "a.example")
			turn(t, version, filepath.Join(dir, "now"))
			return serial
		}},
	{"written where a link leads to",
		func(dir string) roost.CertFile { return in(filepath.Join(dir, "live")) },
		func(t *testing.T, dir, version string) int64 {
			archive, serial := issue(t, filepath.Join(dir, "archive"), "a.example")
			if version == "1" {
				if err := os.Mkdir(filepath.Join(dir, "live"), 0o700); err != nil {
					t.Fatal(err)
				}
				link(t, archive.Cert, in(filepath.Join(dir, "live")).Cert)
				link(t, archive.Key, in(filepath.Join(dir, "live")).Key)
			}
			return serial
		}},
}

func TestAChangedCertificateIsServedAtOnce(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			j := newJournal(t)
			want := way.put(t, dir, "1")
			c := openCerts(t, j, way.file(dir))
			c.poll = never
			run(t, c)
			address := serve(t, c.TLS(0, false))
			// The first change may be seen by the first look; the later ones must be noticed.
			for _, version := range []string{"2", "3", "4"} {
				if got := shown(t, address, "a.example"); got != want {
					t.Fatalf("certificate %d before change %s, want %d", got, version, want)
				}
				want = way.put(t, dir, version)
				j.wait("certificate reloaded")
			}
			if got := shown(t, address, "a.example"); got != want {
				t.Fatalf("certificate %d, want %d", got, want)
			}
		})
	}
}

func TestAChangedCertificateIsSeenByThePollWhenNothingCanBeWatched(t *testing.T) {
	dir := t.TempDir()
	file, _ := issue(t, dir, "a.example")
	j := newJournal(t)
	c := openCerts(t, j, file)
	c.poll = 10 * time.Millisecond
	c.watcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("no watch is left") }
	run(t, c)
	j.wait("no watch is left")
	_, want := issue(t, dir, "a.example")
	j.wait("certificate reloaded")
	if got := shown(t, serve(t, c.TLS(0, false)), "a.example"); got != want {
		t.Errorf("certificate %d, want %d", got, want)
	}
}

func TestABadNewFileLeavesTheOldCertificate(t *testing.T) {
	dir := t.TempDir()
	bad, first := issue(t, filepath.Join(dir, "1"), "a.example")
	other, _ := issue(t, filepath.Join(dir, "2"), "b.example")
	j := newJournal(t)
	c := openCerts(t, j, bad, other)
	c.poll = 10 * time.Millisecond
	run(t, c)
	address := serve(t, c.TLS(0, false))
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

func TestADirectoryThatIsNeverQuietDoesNotHideAChange(t *testing.T) {
	dir := t.TempDir()
	file, _ := issue(t, dir, "a.example")
	j := newJournal(t)
	c := openCerts(t, j, file)
	c.poll = never
	run(t, c)
	issue(t, dir, "a.example")
	noise := time.NewTicker(settle / 10)
	defer noise.Stop()
	for limit := time.Now().Add(20 * settleMax); !j.has("certificate reloaded"); <-noise.C {
		if time.Now().After(limit) {
			t.Fatal("the change was never seen")
		}
		write(t, filepath.Join(dir, "noise"), nil)
	}
}

func TestOtherFilesAreWatchedOnceTheyReplaceTheFirst(t *testing.T) {
	dir := t.TempDir()
	one, _ := issue(t, filepath.Join(dir, "1"), "a.example")
	two, _ := issue(t, filepath.Join(dir, "2"), "a.example")
	j := newJournal(t)
	c := openCerts(t, j, one)
	c.poll = never
	run(t, c)
	issue(t, filepath.Join(dir, "1"), "a.example")
	j.wait("certificate reloaded") // the first directory is being watched
	if err := c.Replace([]roost.CertFile{two}); err != nil {
		t.Fatal(err)
	}
	_, want := issue(t, filepath.Join(dir, "2"), "a.example")
	j.wait("certificate reloaded")
	if got := shown(t, serve(t, c.TLS(0, false)), "a.example"); got != want {
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
			address := serve(t, c.TLS(0, false))
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
