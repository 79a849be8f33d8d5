package listen

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"roost/internal/pki"
)

// maxFile bounds one file of TLS. The longest real chains have some 20 KiB, and all authorities of a system 300; more is
// a wrong file.
const maxFile = 1 << 20

// kept is what was made of some files when they were last good.
type kept[T any] struct {
	what  string
	files []string
	add   func(to T, file []byte) (T, error) // what to and the contents of one file are together
	value T
	sum   [sha256.Size]byte // of the files
	fault string            // why they cannot be used now, as logged; "" when they can
}

// read makes a new value of the files, if they changed.
func (k *kept[T]) read() (changed bool, err error) {
	sum := sha256.New()
	var value T
	for _, f := range k.files {
		text, err := readSmall(f)
		if err == nil {
			value, err = k.add(value, text)
		}
		if err != nil {
			return false, fmt.Errorf("%s %s: %w", k.what, f, err)
		}
		fmt.Fprintf(sum, "%d\n", len(text))
		sum.Write(text)
	}
	if [sha256.Size]byte(sum.Sum(nil)) == k.sum {
		return false, nil
	}
	k.value, k.sum = value, [sha256.Size]byte(sum.Sum(nil))
	return true, nil
}

// reload is read for one whose old value stays when the new one cannot be used. That is logged, once for each reason.
func (k *kept[T]) reload(log *slog.Logger) (changed bool) {
	changed, err := k.read()
	fault := ""
	if err != nil {
		if fault = err.Error(); fault != k.fault {
			log.Error("changed file cannot be used; what it held before stays", "err", err)
		}
	}
	k.fault = fault
	return changed
}

func addAuthorities(pool *x509.CertPool, file []byte) (*x509.CertPool, error) {
	certs, err := pki.Certificates(file)
	if pool == nil {
		pool = x509.NewCertPool()
	}
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, err
}

func addTicketKey(keys [][32]byte, file []byte) ([][32]byte, error) {
	key, err := pki.TicketKey(file)
	return append(keys, key), err
}

func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, bare(err)
	case !info.Mode().IsRegular(): // a pipe would block
		return nil, errors.New("not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("has %d bytes; it may have at most %d", info.Size(), maxFile)
	}
	data, err := os.ReadFile(file)
	return data, bare(err)
}

// bare drops the path from an error whose reader is told it already.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
