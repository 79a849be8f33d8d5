package health_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/health"
)

var update = flag.Bool("update", false, "write what is seen into the transcripts")

// Each file of testdata is a transcript: a configuration, then one event a line, at its time, and after a bar what the
// node says then.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if got == string(text) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := strings.Split(string(text), "\n")
			for i, line := range strings.Split(got, "\n") {
				if i >= len(want) || line != want[i] {
					t.Errorf("line %d:\n got %s\nwant %s", i+1, line, want[i])
				}
			}
		})
	}
}

func replay(text string) (string, error) {
	var out strings.Builder
	var cfg roost.HealthSettings
	var n health.Node
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		line, _, _ = strings.Cut(line, "|")
		line = strings.TrimRight(line, " ")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			fmt.Fprintln(&out, line)
			continue
		}
		var err error
		if words[0] == "config" {
			cfg, err = config(words[1:])
			fmt.Fprintln(&out, line)
		} else {
			var says string
			says, err = event(&n, &cfg, line)
			fmt.Fprintf(&out, "%-72s| %s\n", line, says)
		}
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return out.String(), nil
}

func config(words []string) (cfg roost.HealthSettings, err error) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		d, _ := time.ParseDuration(value)
		num, _ := strconv.Atoi(value)
		switch name {
		case "kind":
			cfg.Kind = roost.HealthKind(slices.Index([]string{"tcp", "http", "none"}, value))
		case "rise":
			cfg.Rise = num
		case "fall":
			cfg.Fall = num
		case "slowstart":
			cfg.SlowStart = d
		case "burst":
			cfg.Burst = num
		case "eject":
			cfg.Eject = d
		default:
			return cfg, fmt.Errorf("no setting %q", name)
		}
	}
	return cfg, nil
}

func event(n *health.Node, cfg *roost.HealthSettings, line string) (string, error) {
	line, quoted, _ := strings.Cut(line, `"`)
	reason := strings.TrimSuffix(quoted, `"`)
	words := strings.Fields(line)
	at, err := time.ParseDuration(words[0])
	if err != nil {
		return "", err
	}
	now := start + int64(at)
	var changed bool
	switch what := strings.Join(words[1:min(3, len(words))], " "); {
	case words[1] == "tick":
		changed = n.Tick(cfg, now)
	case what == "probe ok":
		changed = n.Probed(cfg, now, health.Probe{OK: true})
	case what == "probe fail":
		changed = n.Probed(cfg, now, health.Probe{Reason: reason})
	case words[1] == "seen":
		p := health.Passive{LastReason: reason}
		for _, w := range words[2:] {
			name, value, _ := strings.Cut(w, "=")
			to := map[string]*uint64{"connect": &p.ConnectFail, "broken": &p.Broken, "errors": &p.Errors, "good": &p.Good}[name]
			if to == nil {
				return "", fmt.Errorf("nothing is called %q", name)
			}
			if *to, err = strconv.ParseUint(value, 10, 64); err != nil {
				return "", err
			}
		}
		changed = n.Seen(cfg, now, p)
	default:
		return "", fmt.Errorf("no event %q", what)
	}
	says := fmt.Sprintf("%s %d", n.Verdict, n.Factor(cfg, now))
	if n.Since != 0 {
		says += fmt.Sprintf(" since %v", time.Duration(n.Since-start))
	}
	if changed {
		says += " changed"
	}
	if n.Reason != "" {
		says += " (" + n.Reason + ")"
	}
	return says, nil
}

// start is when transcripts and histories begin.
const start = 1_790_000_000_000_000_000

// Histories at random, against what must hold whatever happens.
func TestEveryHistoryKeepsThePromises(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cfg := roost.HealthSettings{
			Kind: roost.HealthKind(rnd.IntN(3)), Rise: rnd.IntN(4), Fall: rnd.IntN(4), Burst: rnd.IntN(4),
			SlowStart: time.Duration(rnd.IntN(3)) * 7 * time.Second, Eject: time.Duration(rnd.IntN(3)) * 5 * time.Second,
		}
		var n health.Node
		now := int64(start)
		row := uint64(0) // errors in a row, by the documented approximation
		lastVerdict, lastFactor := n.Verdict, uint32(1000)
		fails, passes := 0, 0
		for range 200 {
			now += int64(rnd.IntN(3000)) * int64(time.Millisecond)
			before := n.Verdict
			var changed, cause, probed, passed bool
			switch rnd.IntN(5) {
			case 0, 1:
				if cfg.Kind == roost.HealthNone {
					continue
				}
				probed, passed = true, rnd.IntN(3) > 0
				if passed {
					passes, fails = passes+1, 0
				} else {
					passes, fails = 0, fails+1
				}
				cause = !passed && (before == roost.Unproven || fails >= cfg.Fall)
				changed = n.Probed(&cfg, now, health.Probe{OK: passed, Reason: "probe"})
			case 2:
				p := health.Passive{ConnectFail: uint64(max(0, rnd.IntN(8)-6)), Broken: uint64(rnd.IntN(2)), Errors: uint64(rnd.IntN(2)), Good: uint64(rnd.IntN(2))}
				if row += p.Broken + p.Errors; p.Good > 0 {
					row = 0
				}
				cause = p.ConnectFail > 0 || cfg.Burst > 0 && row >= uint64(cfg.Burst)
				changed = n.Seen(&cfg, now, p)
			default:
				changed = n.Tick(&cfg, now)
			}
			factor := n.Factor(&cfg, now)
			switch {
			case before != roost.Dead && (n.Verdict == roost.Dead) != cause:
				t.Fatalf("seed %d: %v became %v, cause %v", seed, before, n.Verdict, cause)
			case n.Verdict == roost.Dead && (factor != 0 || n.Reason == ""):
				t.Fatalf("seed %d: dead with factor %d, reason %q", seed, factor, n.Reason)
			case n.Verdict != roost.Dead && (factor < 100 || factor > 1000):
				t.Fatalf("seed %d: %v with factor %d", seed, n.Verdict, factor)
			case n.Verdict == roost.Well && n.Reason != "":
				t.Fatalf("seed %d: well, but %q", seed, n.Reason)
			case n.Verdict == roost.Ailing && !(probed && !passed) && before != roost.Ailing:
				t.Fatalf("seed %d: ailing from %v without a failed probe", seed, before)
			case before == roost.Dead && n.Verdict != roost.Dead && cfg.Kind != roost.HealthNone && passes < cfg.Rise:
				t.Fatalf("seed %d: back after %d good probes, rise is %d", seed, passes, cfg.Rise)
			case changed != (n.Verdict != lastVerdict || factor != lastFactor):
				t.Fatalf("seed %d: changed is %v: %v %d, before %v %d", seed, changed, n.Verdict, factor, lastVerdict, lastFactor)
			}
			if before == roost.Dead && n.Verdict != roost.Dead {
				row = 0
			}
			if before != roost.Dead && n.Verdict == roost.Dead && !probed {
				passes = 0
			}
			lastVerdict, lastFactor = n.Verdict, factor
		}
		// When nothing fails any more, the node comes back whole within the longest ejection, its probes and slow
		// start.
		end := now + 32*int64(cfg.Eject) + int64(cfg.SlowStart) + int64(10*time.Second)
		for ; now < end; now += int64(time.Second) {
			n.Tick(&cfg, now)
			if cfg.Kind != roost.HealthNone {
				n.Probed(&cfg, now, health.Probe{OK: true})
			}
		}
		if n.Tick(&cfg, now); n.Factor(&cfg, now) != 1000 {
			t.Fatalf("seed %d: %v with factor %d long after the last failure", seed, n.Verdict, n.Factor(&cfg, now))
		}
	}
}
