package carry

// equalFold tells whether a is lower, in any case. lower holds no upper case letters; both are field names, tokens or
// the like, where setting bit 5 maps no two characters but letters to one that stands there.
func equalFold(a, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// sameFold tells whether a and b are equal but for the case of letters.
func sameFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// cutList takes the first element of a comma-separated list, without white space around it.
func cutList(list string) (first, rest string) {
	for i := 0; i < len(list); i++ {
		if list[i] == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), ""
}

// cutLast takes the last element of a comma-separated list, without white space around it.
func cutLast(list string) (rest, last string) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == ',' {
			return list[:i], trim(list[i+1:])
		}
	}
	return "", trim(list)
}

// trim cuts optional white space (RFC 9110, 5.6.3).
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// number reads a decimal number of at most 18 digits.
func number(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}
