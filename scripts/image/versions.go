package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
)

// beside are the arguments of scripts/licenses for what the image has and no program is linked with.
func (s sources) beside() ([]string, error) {
	zones, err := s.zonesVersion()
	if err != nil {
		return nil, err
	}
	authorities, err := authoritiesVersion()
	return []string{"-data", "tzdata@" + zones + "=Public Domain", "-data", "mozilla-ca-certificates@" + authorities + "=MPL-2.0"}, err
}

// zonesVersion is that of Go's time zones, as the script says that has made them.
func (s sources) zonesVersion() (string, error) {
	root, err := s.GoRoot()
	if err != nil {
		return "", err
	}
	script, err := os.ReadFile(filepath.Join(root, "lib", "time", "update.bash"))
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^DATA=(\w+)$`).FindSubmatch(script)
	if found == nil {
		return "", fmt.Errorf("lib/time/update.bash of %s does not say DATA=", root)
	}
	return string(found[1]), nil
}

// authoritiesVersion is that of the module with Mozilla's roots, which is linked into this program.
func authoritiesVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("this program does not know its modules")
	}
	for _, dep := range info.Deps {
		if dep.Path == "golang.org/x/crypto/x509roots/fallback" {
			return dep.Version, nil
		}
	}
	return "", errors.New("this program has no module with Mozilla's roots")
}
