package admin

// Token is a bearer token, of which only the hash is kept: it cannot be shown by mistake. The zero Token fits nothing.
type Token struct {
	sum   [32]byte
	known bool
}

// OpenToken reads the token from a file, and makes the file when there is none.
func OpenToken(path string) (t Token, created bool, err error) { return Token{}, false, nil }
