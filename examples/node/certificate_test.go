package node

import (
	"testing"

	"github.com/nekoctl/neko/scripts/load"
)

// certificate is the environment of a server that has one.
func certificate(t *testing.T) []string {
	t.Helper()
	cert, key, err := load.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return []string{"TLS_CERT=" + cert, "TLS_KEY=" + key}
}
