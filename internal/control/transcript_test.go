package control

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/intent"
)

var update = flag.Bool("update", false, "rewrite the transcripts; read the diff")

// TestTranscripts replays each file of testdata against a world. A file is blocks of directives, a line of four dashes,
// and what the world did; a block ends with an empty line. The directives:
//
//	configure [cluster=NAME] [digest=N]     the following pool, node, pin, listener and route lines are the configuration
//	edit VERB POOL ...                      an operator's change, made by intent.Apply: add, remove, weight, drain, down,
//	                                        undrain, pin, unpin, homes
//	list SOURCE POOL [NODE=ADDRESS]...      what a source lists in a pool
//	restart                                 another process begins, with the edits and the tables that were kept
//	probe POOL NODE [@ADDRESS] ok|REASON    a probe ends, of another address than the node has if given
//	count POOL NODE|- FIELD=N...            requests end: Live's tallies and gauges grow by N
//	run DURATION                            time passes, with ten ticks a second
//	homes POOL KEY...                       where keys are at home
//	status                                  what Status says
func TestTranscripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := stage{t: t, w: NewWorld(roost.Incarnation{0xa1, 0xb2, 0xc3, 0xd4}), kept: map[roost.PoolID]*roost.Table{}}
			var got strings.Builder
			for i, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				if i > 0 {
					got.WriteString("\n")
				}
				directives, _, _ := strings.Cut(block+"\n", "----\n")
				got.WriteString(directives)
				if out := s.play(directives); directives != "" && !onlyComments(directives) {
					got.WriteString("----\n" + out)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != string(text) {
				t.Errorf("the world went another way (-update rewrites); it did:\n%s", got.String())
			}
		})
	}
}

func onlyComments(s string) bool {
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// stage is a world and the time in it.
type stage struct {
	t      *testing.T
	w      *World
	now    time.Duration
	out    strings.Builder
	edits  *roost.Edits
	cfg    *roost.Config
	listed []roost.Listing
	kept   map[roost.PoolID]*roost.Table
}

func (s *stage) play(directives string) string {
	s.out.Reset()
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(directives), "\n"), func(l string) bool { return l == "" || l[0] == '#' })
	for i, line := range lines {
		f := strings.Fields(line)
		switch f[0] {
		case "configure":
			s.cfg = parseConfig(s.t, f[1:], lines[i+1:])
			s.step(Configured{s.cfg})
		case "pool", "node", "pin", "route", "listener": // of the configure line above
		case "edit":
			s.edit(parseChange(s.t, f[1:], s.now))
		case "list":
			l := roost.Listing{Source: roost.Source{Kind: f[1]}, Pool: roost.PoolID(f[2])}
			for _, n := range f[3:] {
				id, addr, _ := strings.Cut(n, "=")
				l.Nodes = append(l.Nodes, roost.Node{ID: roost.NodeID(id), Addr: addr, Weight: roost.WeightOne})
			}
			s.listed = append(slices.DeleteFunc(s.listed, func(o roost.Listing) bool { return o.Pool == l.Pool && o.Source == l.Source }), l)
			s.step(Listed{l})
		case "restart":
			s.w = NewWorld(roost.Incarnation{0xe5, 0xf6, 0x07, 0x18}, slices.Collect(maps.Values(s.kept))...)
			s.listed = nil
			if s.edits != nil {
				s.step(Edited{s.edits})
			}
		case "probe":
			r := roost.ProbeResult{Pool: roost.PoolID(f[1]), Node: roost.NodeID(f[2]), At: int64(s.now)}
			if n := s.node(f[1], f[2]); n != nil {
				r.Addr = n.conf.Addr
			}
			words := f[3:]
			if addr, ok := strings.CutPrefix(words[0], "@"); ok {
				r.Addr, words = addr, words[1:]
			}
			if r.Reason = strings.Join(words, " "); r.Reason == "ok" {
				r.OK, r.Reason = true, ""
			}
			s.step(Probed{r})
		case "count":
			s.count(f[1], f[2], f[3:])
		case "run":
			d, err := time.ParseDuration(f[1])
			if err != nil {
				s.t.Fatal(line, err)
			}
			for end := s.now + d; s.now < end; {
				s.now += tickEvery
				s.step(Tick{})
			}
		case "homes":
			s.homes(f[1], f[2:])
		case "status":
			s.status()
		default:
			s.t.Fatalf("no directive %q", line)
		}
	}
	return s.out.String()
}

func (s *stage) printf(format string, args ...any) {
	fmt.Fprintf(&s.out, "%-7s", strconv.FormatFloat(s.now.Seconds(), 'f', -1, 64)+"s")
	s.out.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// step takes one event and writes down what follows.
func (s *stage) step(e Event) {
	for _, a := range s.w.Step(int64(s.now), e) {
		switch a := a.(type) {
		case Publish:
			s.printf("publish %d", a.Seq)
			for i := range a.Pools {
				s.printf("  %s", describe(&a.Pools[i]))
			}
		case Keep:
			as := ""
			if was := s.kept[a.Pool]; was != nil && was.Digest == a.Digest {
				as = " as it was"
			}
			s.kept[a.Pool] = a.Table
			s.printf("keep %s %d.%d.%d%s", a.Pool, a.Epoch.Era, a.Epoch.Term, a.Epoch.Seq, as)
		case Listeners:
			for id, v := range a.Views {
				s.printf("listener %d %s", id, describeListener(&v))
			}
		case Targets:
			var ts []string
			for _, t := range a.Nodes {
				ts = append(ts, fmt.Sprintf("%s/%s=%s", t.Pool, t.Node, t.Addr))
			}
			s.printf("targets %s", strings.Join(ts, " "))
		case Urge:
			s.printf("urge %s/%s", a.Pool, a.Node)
		case Refuse:
			s.printf("refuse: %v", a.Err)
		case Log:
			if a.Message == "new table" { // what is in it is place's to test
				a.Attrs = slices.DeleteFunc(slices.Clone(a.Attrs), func(a slog.Attr) bool { return a.Key == "digest" || a.Key == "slots" })
			}
			s.printf("%v %s: %s", a.Level, a.Message, slog.GroupValue(a.Attrs...))
		}
	}
}

// edit makes a change as the admin API does.
func (s *stage) edit(c roost.Change) {
	next, err := intent.Apply(s.cfg, s.edits, s.listed, c)
	switch ce := (*roost.ChangeError)(nil); {
	case errors.As(err, &ce):
		s.printf("not changed: %s: %s", ce.Code, ce.Text)
	case err != nil:
		s.t.Fatal(err)
	case next == s.edits:
		s.printf("nothing to change")
	default:
		s.edits = next
		s.step(Edited{next})
	}
}

func describeListener(v *roost.ListenerView) string {
	if v.Name == "" {
		return "unused"
	}
	words := []string{v.Name}
	if v.Retired {
		words = append(words, "retired")
	}
	for _, r := range v.Routes {
		words = append(words, fmt.Sprintf("%s=%s/%d", r.Name, r.PoolID, r.Pool))
	}
	return strings.Join(words, " ")
}

func describe(p *roost.PoolView) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d.%d.%d:", p.ID, p.Table.Epoch.Era, p.Table.Epoch.Term, p.Table.Epoch.Seq)
	for i := range p.Nodes {
		n := &p.Nodes[i]
		fmt.Fprintf(&b, " %s=%d/%v", n.ID, n.Weight, n.Verdict)
		if n.Duty != roost.Up {
			fmt.Fprintf(&b, "/%v", n.Duty)
		}
		if n.Cut {
			b.WriteString("/cut")
		}
		if p.Liveness.IsDead(roost.NodeRef(i)) {
			b.WriteString("/agreed")
		}
	}
	fmt.Fprintf(&b, "; weight %d of %d", p.Weight, p.Takers)
	return b.String()
}

func (s *stage) pool(id string) *pool {
	for _, p := range append(slices.Clone(s.w.pools), s.w.leaving...) {
		if p.conf.ID == roost.PoolID(id) {
			return p
		}
	}
	return nil
}

func (s *stage) node(pool, id string) *node {
	if p := s.pool(pool); p != nil {
		return p.known[roost.NodeID(id)]
	}
	return nil
}

func (s *stage) count(pool, id string, fields []string) {
	p, n := s.pool(pool), s.node(pool, id)
	if id == "-" {
		n = &node{live: &roost.Live{}}
	}
	if p == nil || n == nil {
		s.printf("nothing is kept of %s/%s", pool, id)
		return
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		by, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			s.t.Fatal(f, err)
		}
		switch name {
		case "requests":
			n.live.Requests.Add(uint64(by))
		case "connect_fail":
			n.live.Requests.Add(uint64(by))
			n.live.ConnectFail.Add(uint64(by))
		case "broken":
			n.live.Requests.Add(uint64(by))
			n.live.Broken.Add(uint64(by))
		case "errors":
			n.live.Requests.Add(uint64(by))
			n.live.Errors.Add(uint64(by))
		case "double_ends":
			n.live.DoubleEnds.Add(uint64(by))
		case "in_flight":
			n.live.InFlight.Add(by)
			p.live.InFlight.Add(by)
		case "conns":
			n.live.Conns.Add(by)
		case "early_errors": // counted before their requests are
			n.live.Errors.Add(uint64(by))
		case "waiting":
			p.live.Waiting.Add(by)
		default:
			s.t.Fatalf("no counter %q", name)
		}
	}
	s.printf("%s/%s: in flight %d, connections %d, requests %d; pool: in flight %d, waiting %d", pool, id, n.live.InFlight.Load(),
		n.live.Conns.Load(), n.live.Requests.Load(), p.live.InFlight.Load(), p.live.Waiting.Load())
}

func (s *stage) homes(pool string, keys []string) {
	for _, key := range keys {
		p := s.pool(pool)
		var ids []string
		for _, r := range p.table.Homes(p.view.Liveness, p.table.Hash.Sum([]byte(key)), nil) {
			ids = append(ids, string(p.table.Roster[r].ID))
		}
		s.printf("%s: %s", key, strings.Join(ids, " "))
	}
}

func (s *stage) status() {
	st := s.w.facts.Status(int64(s.now))
	var listeners []string
	for _, l := range st.Listeners {
		listeners = append(listeners, l.Name+"="+l.Address)
	}
	s.printf("%s config=%s revision=%d snapshot=%d listeners=%v", st.Cluster, st.Config, st.Revision, st.Snapshot, listeners)
	for _, p := range st.Pools {
		s.printf("  %s: %d homes, %d pins, panic %v, in flight %d", p.ID, p.Homes, p.Pins, p.Panic, p.InFlight)
		for _, note := range p.Notes {
			s.printf("    note: %s", note)
		}
		for _, n := range p.Nodes {
			s.printf("    %s %s by %s %s %s since %v %v/%v in flight %d requests %d connect %d broken %d errors %d %s%s", n.ID, n.Address,
				cmp.Or(strings.Join(n.Sources, ","), "nobody"), n.Duty, n.Verdict, n.Since.Sub(time.Unix(0, 0)), n.Effective, n.Weight, n.InFlight, n.Requests,
				n.ConnectFail, n.Broken, n.Errors, n.Reason, describeHeld(n.Held))
		}
	}
}

func describeHeld(h *roost.Held) string {
	if h == nil {
		return ""
	}
	s := fmt.Sprintf("held by %s since %v", h.Cause, h.Since.Sub(time.Unix(0, 0)))
	if h.Deadline != nil {
		s += fmt.Sprintf(" until %v", h.Deadline.Sub(time.Unix(0, 0)))
	}
	return s
}

// parseChange reads an edit directive.
func parseChange(t *testing.T, f []string, now time.Duration) roost.Change {
	verb, pool, f := f[0], roost.PoolID(f[1]), f[2:]
	hold := func(kind roost.HoldKind) roost.Change {
		c := roost.SetHold{Pool: pool, Node: roost.NodeID(f[0]), Hold: roost.Hold{Kind: kind, Since: roost.Stamp{Wall: uint64(now)}}}
		for _, word := range f[1:] {
			if c.Force = c.Force || word == "force"; word != "force" {
				d, err := time.ParseDuration(word)
				if err != nil {
					t.Fatal(err)
				}
				c.Hold.Deadline = d
			}
		}
		return c
	}
	switch verb {
	case "add":
		return roost.AddNode{Pool: pool, Node: parseNode(t, f)}
	case "remove":
		return roost.RemoveNode{Pool: pool, Node: roost.NodeID(f[0])}
	case "weight":
		return roost.SetWeight{Pool: pool, Node: roost.NodeID(f[0]), Weight: uint32(number(t, f[1]))}
	case "drain":
		return hold(roost.Draining)
	case "down":
		return hold(roost.Down)
	case "undrain":
		return roost.LiftHold{Pool: pool, Node: roost.NodeID(f[0])}
	case "pin":
		return roost.SetPin{Pool: pool, Pin: parsePin(f)}
	case "unpin":
		return roost.RemovePin{Pool: pool, Key: f[0]}
	case "homes":
		return roost.SetHomes{Pool: pool, Homes: uint8(number(t, f[0]))}
	}
	t.Fatalf("no change %q", verb)
	return nil
}

func parsePin(f []string) roost.PinIntent {
	pin := roost.PinIntent{Key: f[0]}
	for _, id := range f[1:] {
		pin.Nodes = append(pin.Nodes, roost.NodeID(id))
	}
	return pin
}

// parseConfig reads the lines below a configure directive, up to the next directive.
func parseConfig(t *testing.T, args, lines []string) *roost.Config {
	cfg := &roost.Config{Cluster: "test"}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "cluster":
			cfg.Cluster = value
		case "digest":
			cfg.Digest = roost.Digest{byte(number(t, value))}
		}
	}
	for _, line := range lines {
		f := strings.Fields(line)
		switch f[0] {
		case "pool":
			cfg.Pools = append(cfg.Pools, parsePool(t, f[1:]))
		case "node":
			p := &cfg.Pools[len(cfg.Pools)-1]
			p.Intent.Nodes = append(p.Intent.Nodes, parseNode(t, f[1:]))
		case "pin":
			p := &cfg.Pools[len(cfg.Pools)-1]
			p.Intent.Pins = append(p.Intent.Pins, parsePin(f[1:]))
		case "listener": // NAME ADDRESS [ID]
			l := roost.Listener{ID: roost.ListenerID(len(cfg.Listeners)), Name: f[1], Address: f[2]}
			if len(f) > 3 {
				l.ID = roost.ListenerID(number(t, f[3]))
			}
			cfg.Listeners = append(cfg.Listeners, l)
		case "route": // NAME POOL
			r := &roost.Route{Name: f[1], PoolID: roost.PoolID(f[2])}
			for i := range cfg.Pools {
				if cfg.Pools[i].ID == r.PoolID {
					r.Pool = roost.PoolRef(i)
				}
			}
			l := &cfg.Listeners[len(cfg.Listeners)-1]
			l.Routes = append(l.Routes, r)
			cfg.Routes = append(cfg.Routes, r)
		default:
			return cfg
		}
	}
	return cfg
}

func parsePool(t *testing.T, f []string) roost.Pool {
	p := roost.Pool{ID: roost.PoolID(f[0]), Intent: roost.Intent{Policy: roost.Policy{Homes: 2, WalkFloor: roost.DefaultWalkFloor}},
		Health: roost.HealthSettings{Kind: roost.HealthTCP, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 2, Burst: 5,
			Eject: time.Second}}
	for _, a := range f[1:] {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "homes":
			p.Intent.Policy.Homes = uint8(number(t, value))
		case "health":
			p.Health.Kind = map[string]roost.HealthKind{"tcp": roost.HealthTCP, "none": roost.HealthNone}[value]
		case "fall":
			p.Health.Fall = number(t, value)
		case "rise":
			p.Health.Rise = number(t, value)
		case "slow_start":
			p.Health.SlowStart = time.Duration(number(t, value)) * time.Second
		default:
			t.Fatalf("no pool setting %q", a)
		}
	}
	return p
}

func parseNode(t *testing.T, f []string) roost.Node {
	n := roost.Node{ID: roost.NodeID(f[0]), Addr: f[1], Weight: roost.WeightOne, Sources: []roost.Source{{Kind: "file"}}}
	for _, a := range f[2:] {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "weight":
			n.Weight = uint32(number(t, value))
		case "draining":
			n.Holds = append(n.Holds, roost.Hold{Kind: roost.Draining, Cause: "operator"})
		case "sleeps":
			n.Sleeps = true
		case "down":
			n.Holds = append(n.Holds, roost.Hold{Kind: roost.Down, Cause: "operator"})
		default:
			t.Fatalf("no node setting %q", a)
		}
	}
	return n
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
