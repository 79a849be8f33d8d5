package config

import (
	"fmt"
	"hash"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/route"
)

// maxValues bounds how many values are read: a file within MaxFile holds as many nodes, but aliases of aliases can stand
// for any number.
const maxValues = 1 << 18

// maxText bounds the bytes of all values, aliases expanded, for the same reason: the effective configuration has them all.
const maxText = 4 * MaxFile

// decoder reads the nodes of one configuration. What is wrong is added to found, and reading goes on.
type decoder struct {
	world
	file   string
	source roost.Source
	lines  []string
	flags  map[*yaml.Node]origin // where a node comes from; nil for files
	digest hash.Hash             // of the text, and of the environment that it uses
	left   int                   // values that may still be read
	room   int                   // bytes that the rest of them may have
	files  []string              // that were read beside the text, and are read at a reload only
	found  Diagnostics
	wrong  map[*yaml.Node]bool // texts that have an error: what follows from it is not said
	asked  *[]setting          // not nil: read nothing, only tell the settings
}

// value is one setting as written.
type value struct {
	n    *yaml.Node // never an alias; nil: not written
	near *yaml.Node // where to point when it is not written: what it would be part of
	path string     // as diagnostics name it: pools.fn.health
	kind string     // what may be written, in words
	off  int        // a place inside the text: bytes before it
	echo *yaml.Node // where the effective configuration says what it was taken for; nil: nowhere

	preset bool // nobody wrote it: a default
}

// at is the place off bytes into a text.
func (v value) at(off int) value {
	v.off = off
	return v
}

func (v value) written() bool { return v.n != nil }

// given reports whether somebody wrote it: it is not a default.
func (v value) given() bool { return v.n != nil && !v.preset }

// fail adds an error. fix may be "".
func (d *decoder) fail(v value, code Code, fix, format string, args ...any) {
	d.report(v, Diagnostic{Severity: Error, Code: code, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (d *decoder) warn(v value, code Code, fix, format string, args ...any) {
	d.report(v, Diagnostic{Severity: Warning, Code: code, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// fault adds what package route found wrong in a text.
func (d *decoder) fault(v value, code Code, err error) {
	se, ok := err.(*route.SyntaxError)
	if !ok {
		d.fail(v, code, "", "%v", err)
		return
	}
	d.fail(v.at(se.Off), code, didYouMean(se.Got, se.Known), "%s", se.Msg)
}

func (d *decoder) report(v value, g Diagnostic) {
	n := v.n
	if n == nil || v.preset {
		n = v.near
	}
	if v.n != nil && v.n.Kind == yaml.ScalarNode && g.Severity == Error {
		if d.wrong[n] {
			return
		}
		if d.wrong == nil {
			d.wrong = map[*yaml.Node]bool{}
		}
		d.wrong[n] = true
	}
	g.Path = v.path
	if flag, ok := d.flags[n]; ok {
		g.Path = flag.name
		if flag.typed {
			g.excerpt, g.Col = n.Value, 1+utf8.RuneCountInString(n.Value[:min(v.off, len(n.Value))])
		}
	} else if d.flags == nil {
		g.File = d.file
		if n != nil {
			g.Line, g.Col = n.Line, n.Column+d.inside(n, v.off)
		}
	}
	d.add(g)
}

// inside is how many characters behind its beginning a scalar's byte off stands in the file, when it stands there as it
// is: on the same line, without escapes or environment variables before it. Else 0: the beginning is near enough.
func (d *decoder) inside(n *yaml.Node, off int) int {
	if off == 0 || n.Kind != yaml.ScalarNode || n.Line < 1 || n.Line > len(d.lines) || off > len(n.Value) {
		return 0
	}
	quote := 0
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		quote = 1
	}
	line := []rune(d.lines[n.Line-1])
	from := n.Column - 1 + quote
	if from > len(line) || !strings.HasPrefix(string(line[from:]), n.Value[:off]) {
		return 0
	}
	return quote + utf8.RuneCountInString(n.Value[:off])
}

// add keeps a diagnostic, within the limit of their number.
func (d *decoder) add(g Diagnostic) {
	if g.Severity == "" {
		g.Severity = Error
	}
	switch {
	case len(d.found) > maxDiagnostics:
		return
	case len(d.found) == maxDiagnostics:
		g = Diagnostic{Severity: Error, Code: CodeTooMany, File: d.file, Line: len(d.lines), Col: 1, Message: fmt.Sprintf("there is more; these are the first %d", maxDiagnostics)}
	case g.Line > 0 && g.Line <= len(d.lines):
		g.excerpt = d.lines[g.Line-1]
	}
	d.found = append(d.found, g)
}

// setting is one name of a section.
type setting struct {
	name   string
	kind   string // what may be written, in words
	def    string // the default as it would be written; "": none
	doc    string // what it means, and why the default is what it is
	must   bool
	nested bool // a section or collection: read even when it is not written, for the defaults inside
	read   func(value)
}

// noted remembers the value of the setting.
func (s setting) noted(at *value) setting {
	read := s.read
	s.read = func(v value) {
		*at = v
		read(v)
	}
	return s
}

// section reads settings under their names. What is not written gets its default. Settings are read in the order of
// their declaration, not of the file.
func (d *decoder) section(v value, settings ...setting) {
	if d.asked != nil {
		d.tell(v, settings)
		return
	}
	names := make([]string, len(settings))
	for i := range settings {
		names[i] = settings[i].name
	}
	written := d.members(v, func(key value) bool {
		for _, n := range names {
			if n == key.n.Value {
				return true
			}
		}
		fix := didYouMean(key.n.Value, names)
		if fix == "" {
			fix = belongs(key.n.Value)
		}
		d.fail(key, CodeUnknown, fix, "unknown setting %s", quoted(key.n.Value))
		return false
	})
	for i := range settings {
		s := &settings[i]
		m, ok := find(written, s.name)
		if !ok {
			m.value = value{near: v.here(), path: join(v.path, s.name), preset: true}
		}
		m.value.kind, m.value.echo = s.kind, v.echoOf(s.name)
		switch {
		case ok:
			s.read(m.value)
		case s.def != "":
			m.value.n = &yaml.Node{Kind: yaml.ScalarNode, Value: s.def}
			s.read(m.value)
		case s.nested:
			s.read(m.value)
		case s.must:
			d.fail(value{near: v.here(), path: v.path}, CodeMissing, "", "%q is missing; wanted: %s", s.name, s.kind)
		}
	}
}

// tell notes the settings of a section, and of those inside it, instead of reading them.
func (d *decoder) tell(v value, settings []setting) {
	for _, s := range settings {
		read, name := s.read, s.name
		s.name = join(v.path, name)
		*d.asked = append(*d.asked, s)
		if s.nested {
			read(value{path: s.name})
		}
	}
}

// settings tells all settings that there are, by their paths.
func settings() []setting {
	var all []setting
	(&decoder{asked: &all}).root(value{})
	return all
}

// belongs says where a setting stands that was looked for in the wrong place.
func belongs(name string) string {
	var places []string
	for _, s := range settings() {
		if place, ok := strings.CutSuffix(s.name, "."+name); ok {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return ""
	}
	return "it is a setting of " + strings.Join(places, ", and of ")
}

// here is where to point for what is missing in v. The whole file is nowhere.
func (v value) here() *yaml.Node {
	if v.path == "" {
		return nil
	}
	if v.n != nil {
		return v.n
	}
	return v.near
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// member is one entry of a mapping.
type member struct{ key, value value }

func find(ms []member, name string) (member, bool) {
	for _, m := range ms {
		if m.key.n.Value == name {
			return m, true
		}
	}
	return member{}, false
}

// members returns the entries of a mapping whose keys are texts, not twice there, and taken by known; what is not is
// reported. Nothing and null are an empty mapping.
func (d *decoder) members(v value, known func(key value) bool) []member {
	if !v.written() || isNull(v.n) || !d.spend(v) {
		return nil
	}
	if v.n.Kind != yaml.MappingNode {
		d.wrongKind(v)
		return nil
	}
	var ms []member
	seen := map[string]int{}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, n := v.n.Content[i], v.n.Content[i+1]
		key := value{n: k, path: v.path}
		switch {
		case k.Kind != yaml.ScalarNode:
			d.fail(key, CodeKind, "", "the name of a setting must be a plain text")
		case k.Value == "<<" && k.Style == 0:
			d.fail(key, CodeYAML, "give a block an anchor (&name) and use the whole of it elsewhere (*name)", "merge keys are not supported")
		case !d.plain(key):
		case seen[k.Value] > 0:
			d.fail(key, CodeDuplicate, fmt.Sprintf("the first is in line %d", seen[k.Value]), "%s is there twice", quoted(k.Value))
		case known(key):
			ms = append(ms, member{key, d.value(n, join(v.path, clip(k.Value)))})
		}
		if seen[k.Value] == 0 {
			seen[k.Value] = max(k.Line, 1)
		}
	}
	return ms
}

// each reads a mapping of freely named things, at most most of them.
func (d *decoder) each(v value, what string, most int, read func(key, val value)) {
	if d.asked != nil {
		read(value{}, value{path: join(v.path, what)})
		return
	}
	if v.written() && v.n.Kind == yaml.MappingNode && !d.atMost(v, len(v.n.Content)/2, most) {
		return
	}
	for _, m := range d.members(v, func(value) bool { return true }) {
		if !d.weigh(m.key, m.key.n.Value) {
			return
		}
		m.key.path, m.value.echo = m.value.path, v.echoOf(m.key.n.Value)
		read(m.key, m.value)
	}
}

// items reads a list of at most most entries.
func (d *decoder) items(v value, most int, read func(value)) {
	if d.asked != nil {
		read(value{path: v.path + "[]"})
		return
	}
	if !v.written() {
		return
	}
	if v.sayList(); isNull(v.n) {
		return
	}
	if v.n.Kind != yaml.SequenceNode {
		d.wrongKind(v)
		return
	}
	if !d.atMost(v, len(v.n.Content), most) || !d.spend(v) {
		return
	}
	for i, n := range v.n.Content {
		item := d.value(n, fmt.Sprintf("%s[%d]", v.path, i))
		item.kind, item.echo = v.kind, v.echoItem()
		read(item)
	}
}

// oneOrMore reads a list, or a single value that stands for a list of one.
func (d *decoder) oneOrMore(v value, most int, read func(value)) {
	if v.written() && v.n.Kind != yaml.SequenceNode && !isNull(v.n) {
		read(v)
		return
	}
	d.items(v, most, read)
}

func (d *decoder) atMost(v value, n, most int) bool {
	if n > most {
		d.fail(v, CodeTooMany, "", "there are %d; at most %d can be used", n, most)
	}
	return n <= most
}

// value follows an alias. Chains of aliases cannot be: an anchor stands on a node that is none.
func (d *decoder) value(n *yaml.Node, path string) value {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return value{n: n, path: path}
}

// spend counts a value against the limit, and refuses what has an explicit tag.
func (d *decoder) spend(v value) bool {
	if d.left--; d.left == 0 {
		d.fail(v, CodeTooLarge, "", "the aliases expand to more than %d values", maxValues)
	}
	return d.left > 0 && d.plain(v)
}

// weigh counts the bytes of a text against the limit.
func (d *decoder) weigh(v value, text string) bool {
	if d.room >= 0 && d.room < len(text) {
		d.fail(v, CodeTooLarge, "", "the aliases expand to more than %d MiB", maxText>>20)
	}
	d.room -= len(text)
	return d.room >= 0
}

// plain refuses tags: types follow from the settings, and a tag that is ignored is a trap.
func (d *decoder) plain(v value) bool {
	if v.n.Style&yaml.TaggedStyle == 0 {
		return true
	}
	d.fail(v, CodeYAML, "remove it", "the tag %s has no meaning here", clip(v.n.Tag))
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (d *decoder) wrongKind(v value) {
	is := map[yaml.Kind]string{yaml.SequenceNode: "a list", yaml.MappingNode: "a block of settings", yaml.ScalarNode: "a plain value"}[v.n.Kind]
	fix := ""
	if v.n.Kind == yaml.MappingNode && len(v.n.Content) == 2 && isNull(v.n.Content[1]) {
		fix = fmt.Sprintf(`a text in braces needs quotes, as in "{%s}"`, clip(v.n.Content[0].Value))
	}
	if isNull(v.n) {
		is = "empty"
	}
	d.fail(v, CodeKind, fix, "this is %s; wanted: %s", is, v.kind)
}

// quoted shows a text of the operator's in a message.
func quoted(s string) string { return fmt.Sprintf("%q", clip(s)) }

// clip shortens what would drown the message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}
