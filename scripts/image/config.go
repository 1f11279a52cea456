package main

import (
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// user is nobody's number on most machines, the same as in distroless images and in k8s/base.
const user = 65532

const source = "https://github.com/nekoctl/neko"

// described is what an image says of itself.
type described struct {
	Version  string // of its labels, as the packages have it: 1.0.0
	Revision string // the commit
	Created  time.Time
}

// labels are those of OCI's image specification; manifests have the same as annotations.
func (r described) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         "neko",
		"org.opencontainers.image.description":   "nekoctl, a process supervisor, and neko-api, a GraphQL API of threat intelligence",
		"org.opencontainers.image.source":        source,
		"org.opencontainers.image.documentation": source + "/blob/main/docs/containers.md",
		"org.opencontainers.image.licenses":      "MIT",
		"org.opencontainers.image.version":       r.Version,
		"org.opencontainers.image.revision":      r.Revision,
	}
}

// config is how a container of it starts. The Dockerfile says the same in its own words, and a test in
// scripts/container holds the two together.
func (r described) config() v1.Config {
	return v1.Config{
		User: "65532:65532",
		Env: []string{
			"PATH=/:/usr/local/bin:/usr/bin:/bin", // programs in an image FROM this one are found, too
			"NEKO_HOME=/var/lib/neko",
			"NEKO_API_LISTEN=0.0.0.0:4000",
		},
		Entrypoint:   []string{"/nekoctl", "start", "--no-daemon"},
		ExposedPorts: map[string]struct{}{"4000/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/neko": {}},
		WorkingDir:   "/",
		Healthcheck: &v1.HealthConfig{
			Test:        []string{"CMD", "/nekoctl", "--quiet", "ping"},
			Interval:    10 * time.Second,
			Timeout:     5 * time.Second,
			StartPeriod: 10 * time.Second,
			Retries:     3,
		},
		Labels: r.labels(),
	}
}
