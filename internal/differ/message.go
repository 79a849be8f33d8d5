package differ

import (
	"fmt"
	"strconv"
	"strings"
)

// Message is a request or a response as a strict reader of RFC 9112 understands it.
type Message struct {
	Start    string // the first line
	Fields   []string
	Body     string
	Trailers []string
	Framing  string // none, length, chunks, close or tunnel
	Whole    bool   // its end was seen
	Wrong    string // why it has no meaning, and nothing behind it has
}

// messages reads all of b. over: no more will come. methods, if not nil, are those of the requests that the messages answer.
func messages(b string, over bool, methods []string) (all []Message) {
	answers := methods != nil
	for b != "" {
		m := Message{}
		method := ""
		if answers && len(methods) > 0 {
			method = methods[0]
		}
		n, _ := m.read(b, over, answers, method)
		if !answers && strings.HasPrefix("\r\n", b) {
			return all // the empty line that may stand before a request
		}
		if answers && !m.interim() && len(methods) > 0 {
			methods = methods[1:]
		}
		all = append(all, m)
		if !m.Whole || m.Wrong != "" {
			return all
		}
		b = b[n:]
	}
	return all
}

// read reads the message at the beginning of b: how long it is, and whether its head is there.
func (m *Message) read(b string, over, answer bool, method string) (n int, head bool) {
	from := 0
	if !answer && strings.HasPrefix(b, "\r\n") {
		from = 2 // RFC 9112, 2.2
	}
	end := strings.Index(b[from:], "\r\n\r\n")
	if end < 0 {
		m.Start, _, _ = strings.Cut(b[from:], "\r\n")
		return 0, false
	}
	lines := strings.Split(b[from:from+end], "\r\n")
	n = from + end + 4
	m.Start, m.Fields = lines[0], lines[1:]
	if m.Wrong = m.judge(answer); m.Wrong != "" {
		return n, true
	}
	rest := b[n:]
	switch m.Framing = m.framing(answer, method); m.Framing {
	case "none":
		m.Whole = true
	case "length":
		length, _ := strconv.Atoi(m.Field("Content-Length"))
		m.Body = rest[:min(length, len(rest))]
		m.Whole = len(m.Body) == length
		n += len(m.Body)
	case "chunks":
		n += m.chunks(rest)
	case "close", "tunnel":
		m.Body, m.Whole = rest, over
		n += len(rest)
	}
	return n, true
}

// judge is what is wrong with a head; "" if nothing.
func (m *Message) judge(answer bool) string {
	for _, l := range append([]string{m.Start}, m.Fields...) {
		if i := strings.IndexFunc(l, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
			return "a control character"
		}
	}
	if answer {
		ok := len(m.Start) >= len("HTTP/1.1 200") && strings.HasPrefix(m.Start, "HTTP/1.") && m.Start[8] == ' ' && m.Status() >= 100
		if !ok {
			return "no status line"
		}
	} else if parts := strings.Split(m.Start, " "); len(parts) != 3 || !token(parts[0]) || parts[1] == "" || !strings.HasPrefix(parts[2], "HTTP/1.") || len(parts[2]) != 8 || !digits(parts[2][7:]) {
		return "no request line"
	}
	for _, f := range m.Fields {
		if name, _, ok := strings.Cut(f, ":"); !ok || !token(name) {
			return "a field line without a name"
		}
	}
	lengths, codings := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(codings) > 0 && len(lengths) > 0:
		return "a length beside a coding"
	case len(lengths) > 1, len(lengths) == 1 && (!digits(lengths[0]) || len(lengths[0]) > 18):
		return "no length"
	case len(codings) > 1, len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return "no coding that frames"
	case len(codings) == 1 && !answer && strings.HasSuffix(m.Start, "1.0"):
		return "a coding in HTTP/1.0"
	}
	return ""
}

// framing is how the body's end is found (RFC 9112, 6.3).
func (m *Message) framing(answer bool, method string) string {
	status := m.Status()
	switch {
	case answer && status == 101:
		return "tunnel"
	case answer && (method == "HEAD" || status < 200 || status == 204 || status == 304):
		return "none"
	case m.Field("Transfer-Encoding") != "":
		return "chunks"
	case len(m.values("Content-Length")) > 0:
		return "length"
	case answer:
		return "close"
	}
	return "none"
}

// chunks reads a chunked body (RFC 9112, 7.1): how much of b was read.
func (m *Message) chunks(b string) int {
	for at := 0; ; {
		line, _, ok := strings.Cut(b[at:], "\r\n")
		size, _, _ := strings.Cut(line, ";")
		switch {
		case strings.ContainsAny(line, "\n\x00") || strings.Contains(line, "\r") && ok:
			m.Wrong = "a control character in a chunk's size"
			return at
		case !ok:
			return at
		}
		n, err := strconv.ParseUint(strings.TrimRight(size, " \t"), 16, 62)
		if err != nil || len(size) > 0 && (size[0] == '+' || strings.Contains(size, "_")) || size != strings.TrimRight(size, " \t") && len(size) == len(line) {
			m.Wrong = "no chunk size"
			return at
		}
		at += len(line) + 2
		if n == 0 {
			return m.trailers(b, at)
		}
		if uint64(len(b)-at) < n {
			m.Body += b[at:]
			return len(b)
		}
		m.Body += b[at : at+int(n)]
		at += int(n)
		if rest := b[at:]; !strings.HasPrefix("\r\n", rest[:min(2, len(rest))]) {
			m.Wrong = "a chunk without an end"
			return at
		} else if len(rest) < 2 {
			return at
		}
		at += 2
	}
}

func (m *Message) trailers(b string, at int) int {
	for {
		line, _, ok := strings.Cut(b[at:], "\r\n")
		if name, _, colon := strings.Cut(line, ":"); strings.ContainsAny(line, "\n\x00") || ok && line != "" && (!colon || !token(name)) {
			m.Wrong = "no trailer line"
			return at
		}
		if !ok {
			return at
		}
		at += len(line) + 2
		if line == "" {
			m.Whole = true
			return at
		}
		m.Trailers = append(m.Trailers, line)
	}
}

// Field is the value of the first field of that name.
func (m *Message) Field(name string) string {
	if v := m.values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (m *Message) values(name string) (all []string) {
	for _, f := range m.Fields {
		if n, v, _ := strings.Cut(f, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.Trim(v, " \t"))
		}
	}
	return all
}

// Status is a response's.
func (m *Message) Status() int {
	if len(m.Start) < len("HTTP/1.1 200") {
		return 0
	}
	n, _ := strconv.Atoi(m.Start[9:12])
	return n
}

func (m *Message) interim() bool {
	s := m.Status()
	return s >= 100 && s < 200 && s != 101
}

// method is a request's, and "" where it does not even come to its end.
func (m *Message) method() string {
	if method, _, ok := strings.Cut(m.Start, " "); ok {
		return method
	}
	return ""
}

// persistent tells whether a request leaves its connection open.
func (m *Message) persistent() bool {
	options := strings.ToLower(strings.Join(m.values("Connection"), ","))
	return !strings.Contains(options, "close") && (!strings.HasSuffix(m.Start, "/1.0") || strings.Contains(options, "keep-alive"))
}

// asked is what a request asks for: the method, and the target in origin form.
func (m *Message) asked() string {
	method, rest, _ := strings.Cut(m.Start, " ")
	target, _, _ := strings.Cut(rest, " ")
	if _, after, ok := strings.Cut(target, "://"); ok && target[0] != '/' {
		i := strings.IndexAny(after, "/?")
		switch {
		case i < 0 && method == "OPTIONS":
			target = "*"
		case i < 0:
			target = "/"
		default:
			target = "/" + strings.TrimPrefix(after[i:], "/")
		}
	}
	return method + " " + target
}

// extensions are the fields of a message that a case has put there to be looked at: those whose names begin with "X-".
func (m *Message) extensions() (s string) {
	for _, f := range m.Fields {
		if n, v, _ := strings.Cut(f, ":"); len(n) > 2 && strings.EqualFold(n[:2], "X-") && !strings.HasPrefix(strings.ToLower(n), "x-forwarded-") {
			s += fmt.Sprintf(" %s=%q", strings.ToLower(n), strings.Trim(v, " \t"))
		}
	}
	return s
}

func (m *Message) brief() string {
	var s strings.Builder
	if m.Status() == 0 {
		s.WriteString(m.Start)
		s.WriteString(m.extensions())
	} else {
		s.WriteString(m.Start[len("HTTP/1.1 "):])
		s.WriteString(m.extensions())
	}
	switch {
	case m.Wrong != "":
		return s.String() + ": ambiguous: " + m.Wrong
	case !m.Whole:
		return s.String() + " cut"
	}
	if m.Field("Connection") != "" {
		fmt.Fprintf(&s, " (%s)", m.Field("Connection"))
	}
	if _, code, ok := strings.Cut(m.Body, `{"error":{"code":"`); ok {
		code, _, _ = strings.Cut(code, `"`)
		return s.String() + " " + code
	}
	if m.Framing != "none" {
		fmt.Fprintf(&s, " %s %s", m.Framing, quote(m.Body))
	}
	for _, t := range m.Trailers {
		fmt.Fprintf(&s, " trailer %q", t)
	}
	return s.String()
}

// exact is the message in full, but for its date.
func (m *Message) exact() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%q", m.Start)
	for _, f := range m.Fields {
		if !strings.HasPrefix(f, "Date:") {
			fmt.Fprintf(&s, " %q", f)
		}
	}
	if m.Wrong != "" {
		fmt.Fprintf(&s, " ambiguous: %s", m.Wrong)
	}
	fmt.Fprintf(&s, " %s %s %q", m.Framing, quote(m.Body), m.Trailers)
	return s.String()
}

func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
