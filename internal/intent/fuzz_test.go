package intent

import (
	"net"
	"strings"
	"testing"

	"roost/internal/config"
)

// FuzzAddress holds what may be listed against what package config makes of the same text: what config gives is taken,
// and what is taken is canonical already and can be split by who dials it.
func FuzzAddress(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		n, err := config.Node(text)
		if err == nil {
			if why := flaw(&n, true); why != "" {
				t.Errorf("%q: config gives %+v: %s", text, n, why)
			}
		}
		if addressFlaw(text, true) != "" {
			return
		}
		if err == nil && !strings.ContainsAny(text, "=*") && n.Addr != text {
			t.Errorf("%q is taken as it stands, and config gives %q", text, n.Addr)
		}
		if _, _, err := net.SplitHostPort(text); err != nil && !strings.HasPrefix(text, "unix:/") {
			t.Errorf("%q is taken and cannot be dialled: %v", text, err)
		}
	})
}
