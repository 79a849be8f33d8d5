package config

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// text reads a plain value, its environment variables replaced.
func (d *decoder) text(v value) (string, bool) {
	if !v.written() || !d.spend(v) {
		return "", false
	}
	if v.n.Kind != yaml.ScalarNode || isNull(v.n) {
		d.wrongKind(v)
		return "", false
	}
	text, ok := v.n.Value, true
	if !v.preset && d.env != nil && strings.Contains(text, "${") {
		text, ok = d.expand(v)
	}
	if !ok || !d.weigh(v, text) {
		return "", false
	}
	if !utf8.ValidString(text) { // a flag or a variable: files are
		d.fail(v, CodeEncoding, "", "%s is not UTF-8", quoted(text))
		return "", false
	}
	v.say(text)
	return text, true
}

// expand replaces ${NAME} and ${NAME:-default}; $${ stands for ${ itself.
func (d *decoder) expand(v value) (string, bool) {
	text := v.n.Value
	var b strings.Builder
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], "$${") {
			b.WriteString("${")
			i += 3
			continue
		}
		if !strings.HasPrefix(text[i:], "${") {
			b.WriteByte(text[i])
			i++
			continue
		}
		inner, _, ok := strings.Cut(text[i+2:], "}")
		if !ok {
			d.fail(v.at(i), CodeEnvironment, "write $${ for the characters themselves", "this ${ is never closed")
			return "", false
		}
		name, def, hasDef := strings.Cut(inner, ":-")
		if !isVariable(name) {
			d.fail(v.at(i), CodeEnvironment, "write ${NAME} or ${NAME:-default}, and $${ for the characters themselves", "%s is not the name of an environment variable", quoted(name))
			return "", false
		}
		val, set := d.env(name)
		if !set && !hasDef {
			d.fail(v.at(i), CodeEnvironment, fmt.Sprintf("set it, or write ${%s:-default}", name), "the environment variable %s is not set", name)
			return "", false
		}
		if !set || val == "" && hasDef { // as in a shell
			val = def
		}
		fmt.Fprintf(d.digest, "\x00%s=%s", name, val)
		b.WriteString(val)
		i += 2 + len(inner) + 1
	}
	return b.String(), true
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// duration declares a setting that is a span of time from lo to hi.
func (d *decoder) duration(name, def string, lo, hi time.Duration, into *time.Duration, doc string) setting {
	return setting{name: name, kind: fmt.Sprintf("duration, %s to %s", span(lo), span(hi)), def: def, doc: doc, read: func(v value) {
		text, ok := d.text(v)
		if !ok {
			return
		}
		t, err := time.ParseDuration(text)
		switch {
		case err != nil && strings.Trim(text, "0123456789") == "" && text != "":
			d.fail(v, CodeValue, "write for example "+clip(text)+"s", "%s is not a duration: it has no unit", quoted(text))
		case err != nil:
			d.fail(v, CodeValue, "write for example 5m, 30s or 250ms", "%s is not a duration", quoted(text))
		case t < lo || t > hi:
			d.fail(v, CodeRange, "", "%s is out of range, which is %s to %s", quoted(text), span(lo), span(hi))
		default:
			*into = t
		}
	}}
}

// span writes a duration as an operator would: 24h, not 24h0m0s.
func span(t time.Duration) string {
	switch {
	case t > 0 && t%time.Hour == 0:
		return fmt.Sprintf("%dh", t/time.Hour)
	case t > 0 && t%time.Minute == 0:
		return fmt.Sprintf("%dm", t/time.Minute)
	}
	return t.String()
}

// count declares a setting that is a whole number from lo to hi.
func (d *decoder) count(name, def string, lo, hi int, into *int, doc string) setting {
	return setting{name: name, kind: fmt.Sprintf("whole number, %d to %d", lo, hi), def: def, doc: doc, read: func(v value) {
		if text, ok := d.text(v); ok {
			*into, _ = d.number(v, text, lo, hi)
		}
	}}
}

func (d *decoder) number(v value, text string, lo, hi int) (n int, ok bool) {
	n, err := strconv.Atoi(text)
	if err != nil {
		d.fail(v, CodeValue, "", "%s is not a whole number", quoted(text))
		return 0, false
	}
	if n < lo || n > hi {
		d.fail(v, CodeRange, "", "%s is out of range, which is %d to %d", quoted(text), lo, hi)
		return 0, false
	}
	return n, true
}

// unlimited is written where a limit may be lifted. Zero is not: it would read as nothing.
const unlimited = "unlimited"

// size declares a setting that is a number of bytes from lo to hi; with open it may be unlimited, which is 0.
func (d *decoder) size(name, def string, lo, hi int64, open bool, into *int64, doc string) setting {
	kind := fmt.Sprintf("size, %s to %s", bytesText(lo), bytesText(hi))
	if open {
		kind += ", or " + unlimited
	}
	return setting{name: name, kind: kind, def: def, doc: doc, read: func(v value) {
		text, ok := d.text(v)
		if !ok {
			return
		}
		if open && text == unlimited {
			*into = 0
			return
		}
		n, ok := parseSize(text)
		switch {
		case open && ok && n == 0:
			d.fail(v, CodeRange, "write "+unlimited, "0 would let nothing through")
		case !ok:
			d.fail(v, CodeValue, "write for example 64KiB, 10MiB or a number of bytes", "%s is not a size", quoted(text))
		case n < lo || n > hi:
			d.fail(v, CodeRange, "", "%s is out of range, which is %s to %s", quoted(text), bytesText(lo), bytesText(hi))
		default:
			*into = n
		}
	}}
}

// parseSize reads a number of bytes, KiB, MiB, GiB or TiB. KB and MB are refused: half of the world means 1,000 by them.
func parseSize(text string) (int64, bool) {
	digits := strings.TrimRight(text, "KMGTiB")
	shift, ok := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[text[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !ok || n < 0 || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

func bytesText(n int64) string {
	for shift, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 1<<(10*(shift+1)) || n&(1<<(10*(shift+1))-1) != 0 {
			return fmt.Sprintf("%d%s", n>>(10*shift), unit)
		}
	}
	return fmt.Sprintf("%dTiB", n>>40)
}

// toggle declares a setting that is true or false.
func (d *decoder) toggle(name, def string, into *bool, doc string) setting {
	return setting{name: name, kind: "true or false", def: def, doc: doc, read: func(v value) {
		if b, ok := d.boolean(v); ok {
			*into = b
		}
	}}
}

func (d *decoder) boolean(v value) (b, ok bool) {
	text, ok := d.text(v)
	if ok && text != "true" && text != "false" {
		fix := ""
		switch strings.ToLower(text) {
		case "yes", "on", "1", "y":
			fix = "write true"
		case "no", "off", "0", "n":
			fix = "write false"
		}
		d.fail(v, CodeValue, fix, "%s is neither true nor false", quoted(text))
		return false, false
	}
	return text == "true", ok
}

// choice declares a setting that is one of some words, in the order of the values they stand for.
func choice[T any](d *decoder, name, def string, words []string, values []T, into *T, doc string) setting {
	return setting{name: name, kind: strings.Join(words, ", "), def: def, doc: doc, read: func(v value) {
		text, ok := d.text(v)
		if !ok {
			return
		}
		for i, w := range words {
			if w == text {
				*into = values[i]
				return
			}
		}
		d.fail(v, CodeUnknown, didYouMean(text, words), "%s is not one of %s", quoted(text), strings.Join(words, ", "))
	}}
}

// named declares a setting that is a name; into gets it.
func (d *decoder) named(name, def string, into *string, doc string) setting {
	return setting{name: name, kind: "name", def: def, doc: doc, read: func(v value) {
		if text, ok := d.text(v); ok && d.isName(v, text) {
			*into = text
		}
	}}
}

// maxName bounds names: they stand in every log line and metric. It is also the limit of a DNS label.
const maxName = 63

// isName reports whether text can name a thing: it stands in logs, metrics, URLs and commands without quotes.
func (d *decoder) isName(v value, text string) bool {
	if text == "" || len(text) > maxName {
		d.fail(v, CodeValue, "", "a name has 1 to %d characters, this has %d", maxName, len(text))
		return false
	}
	for i := range len(text) {
		c := text[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			d.fail(v.at(i), CodeValue, "", "%s is not a name: use letters and digits, and - _ . behind the first", quoted(text))
			return false
		}
	}
	return true
}

// networks declares a setting that lists networks.
func (d *decoder) networks(name string, into *[]netip.Prefix, doc string) setting {
	return setting{name: name, kind: "networks such as 10.0.0.0/8, or addresses", doc: doc, read: func(v value) {
		d.oneOrMore(v, maxList, func(v value) {
			text, ok := d.text(v)
			if !ok {
				return
			}
			p, err := netip.ParsePrefix(text)
			if a, aerr := netip.ParseAddr(text); aerr == nil {
				p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
			}
			if err != nil || p.Addr().Zone() != "" {
				d.fail(v, CodeValue, "write for example 10.0.0.0/8 or 192.0.2.7", "%s is not a network", quoted(text))
				return
			}
			*into = append(*into, p.Masked())
		})
	}}
}
