package roost_test

import (
	"net/netip"
	"testing"

	"roost"
)

func TestForbiddenAreLinkLocalAndMetadataAddressesOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"169.254.169.254":        true,
		"169.254.0.0":            true,
		"169.254.255.255":        true,
		"169.253.255.255":        false,
		"169.255.0.0":            false,
		"::ffff:169.254.169.254": true,
		"fe80::1":                true,
		"fe80::1%eth0":           true,
		"febf:ffff::1":           true,
		"fec0::1":                false,
		"fd00:ec2::254":          true,
		"fd00:ec2::254%eth0":     true,
		"fd00:ec2::253":          false,
		"127.0.0.1":              false,
		"::1":                    false,
		"10.0.0.1":               false,
		"192.168.1.1":            false,
		"203.0.113.9":            false,
	} {
		if got := roost.Forbidden(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Forbidden(%s) = %v, want %v", addr, got, want)
		}
	}
	if roost.Forbidden(netip.Addr{}) {
		t.Error("the zero address, of a unix socket, is forbidden")
	}
}
