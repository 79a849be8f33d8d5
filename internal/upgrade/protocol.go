package upgrade

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
)

// What parent and child say to each other is a promise between versions: fields may be added, none may change.
//
// The parent sets Variable to pipes. The child writes one report, a line. The parent answers one word: wordServe or
// wordStop. An answer that ends without a word means that the parent has died; then the child is all there is, and serves.

// Variable is the environment variable by which a child knows its parent.
const Variable = "ROOST_UPGRADE"

// pipes are descriptors of the child, as JSON in Variable.
type pipes struct {
	Report int `json:"report"` // to be written
	Answer int `json:"answer"` // to be read
	Stderr int `json:"stderr"` // the standard error to have once it is ready; until then, the parent reads along
}

// report is what a child says.
type report struct {
	Version string `json:"version,omitempty"`
	PID     int    `json:"pid,omitempty"` // not always the process that was started, which may be a wrapper
	Error   string `json:"error,omitempty"`
}

const (
	wordServe = "serve\n"
	wordStop  = "stop\n"
)

const (
	// maxReport bounds a report, whose error may list every mistake of a configuration.
	maxReport = 64 << 10
	// maxSaid bounds what is kept of a child's standard error: a Go panic's first lines, or the end of a log.
	maxSaid = 4 << 10
)

// errGivenUp ends a child whose parent does not wait for it any more.
var errGivenUp = errors.New("the process to be replaced has given up waiting, and goes on serving")

// readReport returns io.EOF when there is none.
func readReport(from io.Reader) (report, error) {
	line, err := bufio.NewReader(io.LimitReader(from, maxReport)).ReadBytes('\n')
	if err != nil {
		if len(line) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return report{}, err
	}
	var rep report
	if err := json.Unmarshal(line, &rep); err != nil {
		return report{}, err
	}
	if rep.Error == "" && rep.PID <= 0 {
		return report{}, errors.New("it has no process id")
	}
	return rep, nil
}

// Parent is the process that started this one to be replaced by it. A nil *Parent is none: its methods do nothing.
type Parent struct{ report, answer, stderr *os.File }

// FromParent returns the process that this one replaces, or nil when it was started in an ordinary way. It is called once,
// early, and clears the environment of it.
func FromParent() *Parent {
	text := os.Getenv(Variable)
	os.Unsetenv(Variable)
	var p pipes
	if text == "" || json.Unmarshal([]byte(text), &p) != nil {
		return nil
	}
	// A wrapper may have closed what the environment still speaks of, and something else stand there now.
	if p.Stderr < 3 || !isPipe(p.Report) || !isPipe(p.Answer) {
		return nil
	}
	open := func(fd int) *os.File {
		syscall.CloseOnExec(fd)
		return os.NewFile(uintptr(fd), Variable)
	}
	return &Parent{report: open(p.Report), answer: open(p.Answer), stderr: open(p.Stderr)}
}

func isPipe(fd int) bool {
	var s syscall.Stat_t
	return fd > 2 && syscall.Fstat(fd, &s) == nil && s.Mode&syscall.S_IFMT == syscall.S_IFIFO
}

// Ready says that everything is open and can serve, and waits for the parent's word to begin. An error means that the parent
// has given up: this process must end without having served. When the parent has died, there is none.
func (p *Parent) Ready(version string) error {
	if p == nil {
		return nil
	}
	defer p.close()
	if err := become(p.stderr); err != nil {
		return err
	}
	p.say(report{Version: version, PID: os.Getpid()}) // whether it was heard, the answer tells
	word, err := bufio.NewReader(p.answer).ReadString('\n')
	if word == wordServe || word == "" && errors.Is(err, io.EOF) {
		return nil
	}
	return errGivenUp
}

// Fail says why this process cannot start.
func (p *Parent) Fail(err error) {
	if p == nil {
		return
	}
	defer p.close()
	text := err.Error()
	p.say(report{Error: strings.ToValidUTF8(text[:min(len(text), maxReport/8)], "")}) // JSON makes at most 6 bytes of one
}

func (p *Parent) say(r report) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = p.report.Write(append(line, '\n'))
	return err
}

func (p *Parent) close() {
	for _, f := range []*os.File{p.report, p.answer, p.stderr} {
		f.Close()
	}
}

// tail keeps the last lines written to it.
type tail struct {
	mu   sync.Mutex // guards both: a child that is never quiet still writes when they are read
	text []byte
	cut  bool // it begins within a line
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxSaid; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.text)
	if _, whole, ok := strings.Cut(text, "\n"); t.cut && ok && whole != "" {
		text = whole
	}
	return strings.ToValidUTF8(strings.TrimSpace(text), "?")
}
