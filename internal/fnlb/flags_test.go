package fnlb

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"roost/internal/config"
)

func TestFlagsTakeOneDashOrTwoAndHaveFnlbsDefaults(t *testing.T) {
	f, err := Parse([]string{"--nodes", "a:1, b:2,", "-listen=:8081", "-hc-timeout", "2"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Shared() || f.DB != "sqlite3://:memory:" || f.HC.Path != "/version" || f.HC.Interval != 3*time.Second || f.HC.Timeout != 2*time.Second ||
		f.HC.Unhealthy != 2 || f.HC.Healthy != 1 || f.HC.MinVersion != "0.0.235" || f.Shutdown < 24*time.Hour {
		t.Errorf("%+v", f)
	}
	if want := []string{"a:1", "b:2"}; !reflect.DeepEqual(f.Nodes, want) {
		t.Errorf("nodes %q", f.Nodes)
	}
	if f, err = Parse([]string{"-mgmt-listen", "127.0.0.1:8082", "-shutdown-timeout", "7"}, io.Discard); err != nil || f.Shared() || f.Shutdown != 7*time.Second {
		t.Errorf("%+v %v", f, err)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out strings.Builder
	if _, err := Parse([]string{"-h"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("nodes listen mgmt-listen db shutdown-timeout hc-interval hc-path hc-unhealthy hc-healthy hc-timeout min-api-version zipkin namespace label-selector target-port") {
		if !strings.Contains(out.String(), "-"+name) {
			t.Errorf("-%s is not in the help", name)
		}
	}
}

func TestWhatCannotBeIsRefusedWithItsFlag(t *testing.T) {
	for _, args := range []string{"-hc-interval 0", "-hc-timeout 0", "-hc-unhealthy 0", "-hc-healthy 101", "-hc-path version", "-shutdown-timeout -1",
		"-db k8s", "-hc-interval x", "-admin 127.0.0.1:7070", "-nope", "nodes"} {
		_, err := Parse(strings.Fields(args), io.Discard)
		if name, _, _ := strings.Cut(args, " "); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestFlagsWithoutEffectAreNamed(t *testing.T) {
	got := Ignored([]string{"-zipkin", "http://z", "--target-port=80", "-nodes", "a:1"})
	if want := []string{"-zipkin", "-target-port"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTheConfigurationBehindTheFlagsIsAcceptedAndMeansThem(t *testing.T) {
	for _, args := range []string{"", "-mgmt-listen :8082", "-rewrite-endpoints=false", "-rewrite-endpoints=false -mgmt-listen :8082", "-hc-path /${x} -hc-interval 1"} {
		f, err := Parse(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		text, err := f.Config(SocketsIn("/tmp/fnlb", 7), "info")
		if err != nil {
			t.Fatal(err)
		}
		cfg, diags := config.Parse("fnlb", text)
		var said strings.Builder
		diags.Text(&said)
		if diags.Failed() {
			t.Fatalf("%s: %s\n%s", args, said.String(), text)
		}
		at := -1
		for i, p := range cfg.Pools {
			if p.ID == Pool {
				at = i
			}
		}
		if at < 0 || cfg.Store != "memory" || cfg.Admin.Address != "" || cfg.Admin.Socket != "" {
			t.Fatalf("%s: %+v", args, cfg)
		}
		h := cfg.Pools[at].Health
		if h.Path != f.HC.Path || h.Interval != f.HC.Interval || h.Timeout != f.HC.Timeout || h.Rise != 1 || h.Fall != 2 || h.MinVersion != "0.0.235" {
			t.Errorf("%s: %+v", args, h)
		}
	}
}
