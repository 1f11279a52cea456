package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestManyCanSaveAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dump.pm2")
	var writers sync.WaitGroup
	for range 20 {
		writers.Go(func() {
			if err := writeDump(path, []byte("[]")); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if text, err := os.ReadFile(path); err != nil || string(text) != "[]" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
