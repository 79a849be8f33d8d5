package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"roost/internal/api"
)

// maxBody bounds a request body: an explain request with the 16 KiB of a long head fits several times.
const maxBody = 64 << 10

// readBody reads the whole body before anything looks at it, so that what comes after meets no error of the network. It
// returns nil when all is well.
func readBody(w http.ResponseWriter, r *http.Request, wanted bool) *failure {
	if r.ContentLength > maxBody {
		return refuse(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "the body has %d bytes; at most %d are read", r.ContentLength, maxBody)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &long):
		return refuse(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "the body has more than %d bytes, which is all that is read", maxBody)
	case errors.As(err, &slow) && slow.Timeout():
		return refuse(http.StatusRequestTimeout, api.CodeBadRequest, "the body did not arrive within %v", readTimeout)
	case err != nil:
		return refuse(http.StatusBadRequest, api.CodeBadRequest, "the body cannot be read: %v", err)
	case len(body) > 0 && !wanted:
		return refuse(http.StatusBadRequest, api.CodeBadBody, "%s %s takes no body", r.Method, r.URL.Path)
	case len(body) > 0 && !isJSON(r.Header):
		return refuse(http.StatusUnsupportedMediaType, api.CodeMediaType,
			"the body is read as JSON only: send Content-Type: application/json, not %q", strings.Join(r.Header.Values("Content-Type"), ", "))
	case !utf8.Valid(body): // encoding/json would put U+FFFD for what is none: another key
		return refuse(http.StatusBadRequest, api.CodeBadBody, "the body is not UTF-8, as JSON is (RFC 8259, 8.1)")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// isJSON tells whether a head announces JSON. No web page can send that to another origin without asking first, as CORS
// calls it, and we never say yes.
func isJSON(h http.Header) bool {
	fields := h.Values("Content-Type")
	if len(fields) != 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(fields[0])
	charset, given := params["charset"]
	return err == nil && kind == jsonType && (!given || strings.EqualFold(charset, "utf-8"))
}

// format is JSON for huma.
func format() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			var b bytes.Buffer
			if err := writeJSON(&b, v); err != nil {
				return err
			}
			w.Write(b.Bytes()) // fails when the client is gone
			return nil
		},
		Unmarshal: readJSON,
	}
}

// readJSON is stricter than encoding/json: a name that stands twice in an object, or is written in another case, is an
// error, since two readers could understand such a text differently (RFC 8259, 4). huma calls it twice for a body: into
// an any, to validate it, and into the type.
func readJSON(text []byte, v any) error {
	if _, first := v.(*any); first {
		if err := checkNames(text); err != nil {
			return err
		}
	} else if err := checkCase(text, reflect.TypeOf(v)); err != nil {
		return err
	}
	err := json.Unmarshal(text, v)
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) { // says nothing of Go's types, as its own text does
		return errors.New(strings.TrimPrefix(kind.Field+": "+kind.Value+" does not fit", ": "))
	}
	return err
}

// checkNames refuses an object that has a name twice.
func checkNames(text []byte) error {
	type object struct {
		names map[string]bool // nil: an array
		value bool            // the next token is a value, not a name
	}
	var open []object
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return nil // the end, or an error that json.Unmarshal tells better
		}
		in := len(open) - 1
		name, isString := token.(string)
		switch {
		case in >= 0 && open[in].names != nil && !open[in].value && isString:
			if open[in].names[name] {
				return fmt.Errorf("%q stands twice in one object", name)
			}
			open[in].names[name], open[in].value = true, true
			continue
		case in >= 0:
			open[in].value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, object{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

// checkCase refuses names that encoding/json would take for those of t although their case differs. Bodies are flat.
func checkCase(text []byte, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names map[string]json.RawMessage
	if t.Kind() != reflect.Struct || json.Unmarshal(text, &names) != nil {
		return nil
	}
	known := map[string]bool{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		known[name] = true
	}
	for name := range names {
		if !known[name] {
			return fmt.Errorf("unexpected property %q; case matters", name)
		}
	}
	return nil
}

// lists replaces lists that are nil, and would become null, by empty ones: scripts iterate over them. v points to what a
// function of Options made for this answer, so that it may be written to.
func lists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			lists(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			t, f := v.Type().Field(i), v.Field(i)
			left := f.IsZero() && strings.Contains(t.Tag.Get("json"), ",omitempty")
			if t.IsExported() && !left {
				lists(f)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return // bytes are no list
		}
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			lists(v.Index(i))
		}
	}
}
