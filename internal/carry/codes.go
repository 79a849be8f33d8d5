package carry

import "roost/internal/h1"

// Codes are all the reason codes of our own answers: what Record.Reason and the bodies of answers can hold. There are no
// others, so a metric by code is bounded.
func Codes() []string {
	codes := []string{
		"body_timeout", "body_too_large", "body_too_slow", "client_gone", "head_timeout", "key_missing",
		"listener_retired", "method_connect", "method_trace", "no_route", "node_forbidden", "node_head_too_large",
		"node_protocol", "node_refused", "node_reset", "node_timeout", "node_tls", "node_unreachable", "node_unresolved",
		"out_of_resources", "owner_unreachable", "peek_timeout", "pool_empty", "pool_full", "proxy_invalid",
		"proxy_untrusted", "tls_hello_invalid", "tls_on_clear_text", "too_many_connections",
	}
	unknown := h1.Reason(0).Code()
	for r := h1.Reason(1); r.Code() != unknown; r++ {
		codes = append(codes, r.Code())
	}
	return codes
}
