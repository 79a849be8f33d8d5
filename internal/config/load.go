package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxDepth bounds nesting: the format itself is six deep.
	maxDepth = 64
	// maxMarks bounds what separates values: the YAML library needs some hundred bytes for each.
	maxMarks = 1_000_000
)

// load turns the text into the node of its one document. It returns nil when it cannot, and says why.
func (d *decoder) load(text []byte) *yaml.Node {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors write it; it means nothing in UTF-8
	if !d.legible(text) {
		return nil
	}
	l, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth), loaderlimits.AliasNone())))
	if err != nil {
		d.syntax(err)
		return nil
	}
	var doc, next yaml.Node
	if err := l.Load(&doc); err == io.EOF || err == nil && (len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null") {
		d.add(Diagnostic{Code: CodeMissing, File: d.file, Message: "the file is empty", Fix: `it needs at least a pool, as in "pools: { fn: { nodes: [ \"10.0.0.11:8080\" ] } }"`})
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	if err := l.Load(&next); err == nil {
		d.add(Diagnostic{Code: CodeYAML, File: d.file, Line: next.Line, Col: next.Column, Message: "a second document begins here",
			Fix: "a configuration is one document; remove the ---"})
		return nil
	} else if err != io.EOF {
		d.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// legible reports whether the text is such that its lines are what every reader takes for lines.
func (d *decoder) legible(text []byte) bool {
	if len(text) > MaxFile {
		d.add(Diagnostic{Code: CodeTooLarge, File: d.file, Message: fmt.Sprintf("the file is larger than %d MiB", MaxFile>>20)})
		return false
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		d.add(Diagnostic{Code: CodeEncoding, File: d.file, Line: 1, Col: 1, Message: "the file is UTF-16", Fix: "save it as UTF-8"})
		return false
	}
	d.lines = strings.Split(string(text), "\n")
	for i, l := range d.lines {
		d.lines[i] = strings.TrimSuffix(l, "\r")
	}
	marks, line, col := 0, 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if why := illegible(r, size, text[i:]); why != "" {
			d.add(Diagnostic{Code: CodeEncoding, File: d.file, Line: line, Col: col, Message: why})
			return false
		}
		i += size
		col++
		if strings.ContainsRune("\n,[{:", r) {
			marks++
		}
		if r == '\n' {
			line, col = line+1, 1
		}
	}
	if marks > maxMarks {
		d.add(Diagnostic{Code: CodeTooLarge, File: d.file, Message: "the file has too many values"})
		return false
	}
	return true
}

// illegible says why a character cannot stand in a configuration, or "".
func illegible(r rune, size int, text []byte) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("the byte %#02x is not UTF-8; save the file as UTF-8", text[0])
	case r == '\r' && !bytes.HasPrefix(text, []byte("\r\n")):
		return "a lone carriage return ends a line for some programs only; end lines by a line feed"
	case r == 0x85 || r == 0x2028 || r == 0x2029:
		return fmt.Sprintf("the character %U ends a line for some programs only; remove it", r)
	case r == 0xfeff:
		return "a byte order mark stands inside the text; remove it"
	case r < ' ' && r != '\t' && r != '\n' && r != '\r' || 0x7f <= r && r <= 0x9f || r == 0xfffe || r == 0xffff:
		return fmt.Sprintf("the control character %U cannot stand in YAML; remove it", r)
	}
	return ""
}

// syntax reports what the YAML parser stopped at. It stops at the first fault.
func (d *decoder) syntax(err error) {
	g := Diagnostic{Code: CodeSyntax, File: d.file, Message: "this is not YAML: " + err.Error()}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		g.Message = "this is not YAML: " + le.Message
		mark := le.Mark
		if mark.Line == 0 {
			mark = le.ContextMark
		}
		if le.ContextMsg != "" && mark != le.ContextMark && le.ContextMark.Line > 0 {
			g.Message += fmt.Sprintf(" (%s that began in line %d)", le.ContextMsg, le.ContextMark.Line)
			if mark.Line >= len(d.lines) { // at the end of the text: where it began says more
				mark = le.ContextMark
			}
		}
		g.Line, g.Col = min(mark.Line, len(d.lines)), mark.Column
	}
	if g.Line > 0 {
		g.Col = min(g.Col, utf8.RuneCountInString(d.lines[g.Line-1])+1)
		g.Fix = syntaxFix(d.lines[g.Line-1], g.Col, g.Message)
	}
	d.add(g)
}

// syntaxFix guesses from the line, and from what the parser said, what its author has to do.
func syntaxFix(line string, col int, message string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	rest := []rune(line)[min(max(col-1, 0), utf8.RuneCountInString(line)):]
	switch {
	case strings.Contains(message, "quoted scalar") && strings.Contains(message, "end of stream"):
		return "close the quote"
	case strings.Contains(indent, "\t"):
		return "a tab cannot indent; use spaces"
	case len(rest) > 0 && strings.ContainsRune("@`%&*!|>", rest[0]):
		return fmt.Sprintf("a text that begins with %c needs quotes", rest[0])
	case strings.Contains(line, "{"):
		return `texts with braces need quotes, as in "{app}/{fn}"`
	case strings.Count(line, ": ") > 1:
		return `a text that holds ": " needs quotes`
	case strings.Contains(message, "expected key"):
		return "it must begin below the first of its block"
	}
	return ""
}
