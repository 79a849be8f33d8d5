package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const (
	tokenBytes = 32   // 256 bits: nobody guesses it, however fast the answers come
	minToken   = 16   // characters; an operator's own token may be shorter than ours, but not a word
	maxToken   = 4096 // bytes of a token's file
)

// Token is a bearer token (RFC 6750), of which only the hash is kept: it cannot be shown by mistake. The zero Token fits
// nothing.
type Token struct {
	sum   [sha256.Size]byte
	known bool
}

func (Token) String() string { return "(a token)" }

// OpenToken reads the token from a file, and makes the file, for its owner alone, when there is none.
func OpenToken(path string) (t Token, created bool, err error) {
	text, err := readToken(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeToken(path)
		created = err == nil
		if errors.Is(err, fs.ErrExist) { // another process was faster
			text, err = readToken(path)
		}
	}
	if err != nil {
		return Token{}, false, err
	}
	return Token{sha256.Sum256([]byte(text)), true}, created, nil
}

// readToken reads an existing file. None of its errors shows what stands in it.
func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return "", fmt.Errorf("read the admin token: %s is not a file", path)
	case mode&0o027 != 0: // its group may read it: operators may have one
		return "", fmt.Errorf("read the admin token: others can read or change %s (its mode is %#o): chmod 600 %s, and make a new token if they may have read it",
			path, mode.Perm(), path)
	case info.Size() > maxToken:
		return "", fmt.Errorf("read the admin token: %s has %d bytes, which is no token", path, info.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	text := strings.TrimSpace(string(raw))
	switch {
	case text == "":
		return "", fmt.Errorf("read the admin token: %s is empty; remove it, and the next start makes a new one", path)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("read the admin token: %s holds more than one word of plain characters", path)
	case len(text) < minToken:
		return "", fmt.Errorf("read the admin token: the one in %s is shorter than %d characters, and can be guessed", path, minToken)
	}
	return text, nil
}

// makeToken writes a new token into a new file, which is there whole or not at all.
func makeToken(path string) (string, error) {
	var raw [tokenBytes]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with O_EXCL and mode 0600
	if err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // fails when it is there, unlike a rename
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	return text, nil
}

// syncDir makes a new name in a directory last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bearer is the token that a request shows, "" when it shows none, or several.
func bearer(r *http.Request) string {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return ""
	}
	scheme, text, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(text)
}

// fits compares in a time that depends on neither token.
func (t Token) fits(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return t.known && subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1
}
