//go:build !race

package std

const raced = false
