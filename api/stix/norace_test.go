//go:build !race

package stix

const underRace = false
