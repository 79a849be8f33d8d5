package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The effective configuration is written while the file is read: each value has a node in it, its echo, and whoever takes
// the value says there what it took it for. So it has every setting, and reading it again gives the same configuration:
// paths are absolute, variables replaced, defaults filled in. Of a secret it names the file.

// say notes what a value was taken for, so that it is read as just that: a ${ in it is no variable.
func (v value) say(text string) {
	if v.echo == nil {
		return
	}
	n := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.ReplaceAll(text, "${", "$${")}
	if _, err := strconv.ParseUint(text, 10, 64); err == nil || text == "true" || text == "false" {
		n.Tag = "" // what is a number or truth for every reader needs no quotes; what is one for some gets them
	}
	*v.echo = n
}

// sayNull notes a value that was left empty and means something by that.
func (v value) sayNull() {
	if v.echo != nil {
		*v.echo = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
}

// remark writes a comment behind a value.
func (v value) remark(text string) {
	if v.echo != nil {
		v.echo.LineComment = "# " + text
	}
}

// sayNothing takes back what was said of a value, and of all inside it.
func (v value) sayNothing() {
	if v.echo != nil {
		*v.echo = yaml.Node{}
	}
}

// sayList notes a list, which may stay empty.
func (v value) sayList() {
	if v.echo != nil && v.echo.Kind == 0 {
		v.echo.Kind = yaml.SequenceNode
	}
}

// echoOf is where the value of a setting inside v is noted. It stays out of the file until something is said.
func (v value) echoOf(name string) *yaml.Node {
	if v.echo == nil {
		return nil
	}
	n := &yaml.Node{}
	v.echo.Kind = yaml.MappingNode
	v.echo.Content = append(v.echo.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, n)
	return n
}

// echoItem is where an item of a list is noted.
func (v value) echoItem() *yaml.Node {
	if v.echo == nil {
		return nil
	}
	n := &yaml.Node{}
	v.echo.Content = append(v.echo.Content, n)
	return n
}

// said drops what nothing was said of. It reports whether something is left.
func said(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		var kept []*yaml.Node
		for _, c := range n.Content {
			if said(c) {
				kept = append(kept, c)
			}
		}
		n.Content = kept
	case yaml.MappingNode:
		var kept []*yaml.Node
		for i := 0; i < len(n.Content); i += 2 {
			if said(n.Content[i+1]) {
				kept = append(kept, n.Content[i], n.Content[i+1])
			}
		}
		n.Content = kept
		return len(kept) > 0
	}
	return n.Kind != 0
}

// effective writes down all that was said.
func effective(root *yaml.Node) []byte {
	said(root)
	text, err := yaml.Dump(root, yaml.WithV4Defaults())
	if err != nil {
		panic("config: dump the effective configuration: " + err.Error()) // of plain nodes it never fails
	}
	return text
}
