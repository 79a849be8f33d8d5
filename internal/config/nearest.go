package config

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean proposes the word among known that word was probably meant to be; "" when none is near.
func didYouMean(word string, known []string) string {
	if n := nearest(word, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return ""
}

// nearest returns the known word at the smallest edit distance, if that is at most a third of the word's length. Of
// equals the first counts. What other proxies call a thing is near too.
func nearest(word string, known []string) string {
	word = strings.ToLower(word)
	const longest = 40 // nobody misspells one so long by a third, and the distance takes the product of the lengths
	if word == "" || len(word) > longest {
		return ""
	}
	best, at := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	for _, k := range elsewhere(word) {
		if best == "" && slices.Contains(known, k) {
			best = k
		}
	}
	return best
}

// elsewhere translates from the words of other proxies.
func elsewhere(word string) []string {
	switch word {
	case "services", "upstreams", "clusters", "backends":
		return []string{"pools", "nodes"}
	case "servers", "endpoints", "targets", "members", "peers", "instances":
		return []string{"nodes"}
	case "entrypoints", "frontends", "servers_in", "ports":
		return []string{"listeners"}
	case "rules", "routers":
		return []string{"routes"}
	case "listen", "bind", "port", "url", "host", "addr":
		return []string{"address", "listen"}
	case "service", "upstream", "backend", "cluster":
		return []string{"pool"}
	case "replicas", "nodes_per_key", "candidates":
		return []string{"homes"}
	case "hash", "affinity", "sticky", "hash_key":
		return []string{"key"}
	case "healthcheck", "health_check", "check":
		return []string{"health"}
	case "http", "tcp", "path", "uri", "endpoint":
		return []string{"probe"}
	case "every":
		return []string{"interval"}
	}
	return nil
}

// distance counts insertions, deletions, changes and swaps of neighbours (optimal string alignment).
func distance(a, b string) int {
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		two, one, row = one, row, two
		row[0] = i + 1
		for j := range len(b) {
			change := one[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, one[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
