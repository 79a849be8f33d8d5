package differ

import (
	"fmt"
	"strconv"
	"strings"
)

// Case is one connection of a client: what it sends and what the node answers.
type Case struct {
	Name    string
	Line    int // in the corpus
	Steps   []Step
	Answers []Answer
	Alone   bool   // no other request is behind what is sent
	Patient bool   // the client waits for as many answers as a lenient proxy may give: to one that ends idle connections soon
	Hurry   bool   // the client ends its side without waiting for answers
	Splits  bool   // it is worth to be cut everywhere
	Differs string // why Roost gives it another meaning than HAProxy and nginx together
	Want    string // the meaning that it has for Roost, in brief
}

// Step is one thing that the client does. When all are done it ends its side.
type Step struct {
	Do   Do
	Text string // to send
	N    int    // whole answers to await
}

// Do is the kind of a step.
type Do uint8

const (
	Send  Do = iota
	Fence    // wait until the proxy has read what was sent
	Await    // wait for answers
)

// After is what each case sends behind all else, unless it says alone: who takes the boundaries of messages for others than
// they are takes this for something else too.
const after = "GET /after HTTP/1.1\r\nHost: after\r\n\r\n"

// Sent is all that the client sends.
func (c *Case) Sent() string {
	var s strings.Builder
	for _, step := range c.Steps {
		s.WriteString(step.Text)
	}
	return s.String()
}

// Cut is the case with its bytes in two pieces; false where it has no more than i bytes.
func (c *Case) Cut(i int) (*Case, bool) {
	all := c.Sent()
	if i >= len(all) {
		return nil, false
	}
	cut := *c
	cut.Steps = []Step{{Text: all[:i]}, {Do: Fence}, {Text: all[i:]}}
	return &cut, true
}

// Short is the case with no more than i bytes from its client; false where it has no more.
func (c *Case) Short(i int) (*Case, bool) {
	all := c.Sent()
	if i >= len(all) {
		return nil, false
	}
	short := *c
	short.Steps, short.Alone = []Step{{Text: all[:i]}}, true
	return &short, true
}

// Broken is the case with a node that ends after i bytes of its first answer; false where it has no more.
func (c *Case) Broken(i int) (*Case, bool) {
	if len(c.Answers) == 0 || i >= len(c.Answers[0].Text) {
		return nil, false
	}
	broken := *c
	broken.Answers = []Answer{{Text: c.Answers[0].Text[:i], After: Ends}}
	return &broken, true
}

// Corpus reads cases. A case begins with its name behind "## ", and has lines that begin with
//
//	>  a line that the client sends, CRLF behind it
//	>| the same without CRLF
//	<  a line of the node's answer; "<<" alone begins the answer to the next request
//	<| the same without CRLF
//	~  what else happens: fence, await N, alone, hurry, splits; of the answer at hand: early (what
//	   stands above is said before the body has come), ends, resets
//	!  why Roost differs from others
//	=  the meaning, in brief
//
// and comments, which begin with "# ". In what is sent, backslashes stand for what they do in Go, and \{N*text} for N
// times the text.
func Corpus(text string) (all []*Case, err error) {
	var c *Case
	finish := func() {
		if c == nil {
			return
		}
		if !c.Alone {
			c.send(after)
		}
		all = append(all, c)
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		mark, rest, _ := strings.Cut(line, " ")
		if mark == "##" {
			finish()
			c = &Case{Name: rest, Line: n}
			continue
		}
		if mark == "" || mark == "#" {
			continue
		}
		if c == nil {
			return nil, fmt.Errorf("line %d: before the first case", n)
		}
		switch mark {
		case ">", ">|":
			s, err := unquote(rest)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if mark == ">" {
				s += "\r\n"
			}
			c.send(s)
		case "<<":
			c.Answers = append(c.Answers, Answer{})
		case "<", "<|":
			s, err := unquote(rest)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if mark == "<" {
				s += "\r\n"
			}
			c.answer().Text += s
		case "~":
			switch word, arg, _ := strings.Cut(rest, " "); word {
			case "fence":
				c.Steps = append(c.Steps, Step{Do: Fence})
			case "await":
				k, err := strconv.Atoi(arg)
				if err != nil {
					return nil, fmt.Errorf("line %d: %w", n, err)
				}
				c.Steps = append(c.Steps, Step{Do: Await, N: k})
			case "alone":
				c.Alone = true
			case "hurry":
				c.Hurry = true
			case "splits":
				c.Splits = true
			case "early":
				a := c.answer()
				a.Early, a.Text = a.Early+a.Text, ""
			case "ends":
				c.answer().After = Ends
			case "resets":
				c.answer().After = Resets
			default:
				return nil, fmt.Errorf("line %d: %q is nothing that happens", n, word)
			}
		case "!":
			c.Differs = strings.TrimSpace(c.Differs + " " + rest)
		case "=":
			c.Want += rest + "\n"
		default:
			return nil, fmt.Errorf("line %d: begins with %q", n, mark)
		}
	}
	finish()
	return all, nil
}

// send adds to what is sent at once.
func (c *Case) send(s string) {
	if k := len(c.Steps); k == 0 || c.Steps[k-1].Do != Send {
		c.Steps = append(c.Steps, Step{})
	}
	c.Steps[len(c.Steps)-1].Text += s
}

// answer is the answer at hand.
func (c *Case) answer() *Answer {
	if len(c.Answers) == 0 {
		c.Answers = append(c.Answers, Answer{})
	}
	return &c.Answers[len(c.Answers)-1]
}

// Rewrite is the corpus with other meanings.
func Rewrite(text string, want map[string]string) string {
	var out strings.Builder
	name := ""
	finish := func() {
		for line := range strings.Lines(want[name]) {
			out.WriteString("= " + line)
		}
	}
	between := ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "= "):
			continue
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "# "):
			between += line // it may belong to the next case
			continue
		case strings.HasPrefix(line, "## "):
			finish()
			name = strings.TrimSuffix(line[3:], "\n")
		}
		out.WriteString(between + line)
		between = ""
	}
	finish()
	return out.String() + between
}

// unquote resolves backslashes.
func unquote(s string) (string, error) {
	var out strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			out.WriteString(s)
			break
		}
		out.WriteString(s[:i])
		s = s[i:]
		switch {
		case strings.HasPrefix(s, `\{`):
			count, rest, ok := strings.Cut(s[2:], "*")
			part, rest, closed := strings.Cut(rest, "}")
			n, err := strconv.Atoi(count)
			if !ok || !closed || err != nil {
				return "", fmt.Errorf(`\{ without N*text}`)
			}
			more, err := unquote(part)
			if err != nil {
				return "", err
			}
			out.WriteString(strings.Repeat(more, n))
			s = rest
		case strings.HasPrefix(s, `\N`):
			out.WriteString(`\N`)
			s = s[2:]
		default:
			c, _, rest, err := strconv.UnquoteChar(s, 0)
			if err != nil {
				return "", fmt.Errorf("%q: %w", s, err)
			}
			if c > 0xff {
				return "", fmt.Errorf("%q is no byte", c)
			}
			out.WriteByte(byte(c))
			s = rest
		}
	}
	return out.String(), nil
}
