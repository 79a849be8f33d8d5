package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"roost"
	"roost/internal/api"
)

const problemType = "application/problem+json"

// maxMistakes bounds how much of one wrong body is told: a body of 64 KiB can have ten thousand unknown fields.
const maxMistakes = 20

// failure is a problem as an error: what handlers return, and what everything else that goes wrong becomes. Its type is
// about:blank (RFC 9457, 4.2.1): the code says which one it is.
type failure struct{ api.Problem }

func (f *failure) Error() string             { return f.Detail }
func (f *failure) GetStatus() int            { return f.Status }    // for huma
func (f *failure) ContentType(string) string { return problemType } // for huma

func refuse(status int, code, format string, args ...any) *failure {
	return &failure{api.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}}
}

// write answers with the problem.
func (f *failure) write(w http.ResponseWriter) {
	body := f.json()
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.Status)
	w.Write(body) // fails when the client is gone
}

func (f *failure) json() []byte {
	var b bytes.Buffer
	if err := writeJSON(&b, f); err != nil {
		panic(err) // strings and numbers always marshal
	}
	return b.Bytes()
}

// statuses are the HTTP statuses of ChangeErrors. Nothing writes to it.
var statuses = map[string]int{
	roost.CodeNoPool: http.StatusNotFound, roost.CodeNoNode: http.StatusNotFound, roost.CodeNoPin: http.StatusNotFound,
	roost.CodeListedByFile: http.StatusConflict, roost.CodeLastNode: http.StatusConflict, roost.CodeNodeExists: http.StatusConflict,
	roost.CodeRevMoved:  http.StatusPreconditionFailed,
	roost.CodeBadChange: http.StatusUnprocessableEntity,
	roost.CodeStoreAway: http.StatusServiceUnavailable, roost.CodeEnding: http.StatusServiceUnavailable,
}

// failed makes a failure of an Options function's error. Errors that are none of the above have the given status and code.
func failed(err error, status int, code string) error {
	var c *roost.ChangeError
	switch {
	case errors.As(err, &c) && statuses[c.Code] != 0:
		return refuse(statuses[c.Code], c.Code, "%s", c.Text)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, api.CodeUnfinished,
			"the balancer ended, or took too long, before this was done; look before you ask again")
	}
	return refuse(status, code, "%s", err)
}

// transform makes our problems of huma's own errors, which are about parameters and bodies.
func transform(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := api.CodeInvalid
	switch {
	case m.Status == http.StatusBadRequest:
		code = api.CodeBadBody
	case m.Status >= 500:
		code = api.CodeInternal
	}
	f := refuse(m.Status, code, "%s", m.Detail)
	for _, e := range m.Errors { // without e.Value, which repeats what was sent
		f.Errors = append(f.Errors, roost.Mistake{Path: e.Location, Code: code, Message: e.Message})
	}
	slices.SortFunc(f.Errors, func(a, b roost.Mistake) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	more := ""
	if n := len(f.Errors) - maxMistakes; n > 0 {
		f.Errors, more = f.Errors[:maxMistakes], fmt.Sprintf("; and %d more", n)
	}
	var lines []string
	for _, e := range f.Errors {
		lines = append(lines, e.Path+": "+e.Message)
	}
	if lines != nil {
		f.Detail = strings.Join(lines, "; ") + more
	}
	return f, nil
}

// writeJSON is JSON for scripts, not for pages: no character is escaped for HTML's sake.
func writeJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
