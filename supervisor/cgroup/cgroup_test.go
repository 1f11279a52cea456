package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// system is a root with the given files.
func system(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLimits(t *testing.T) {
	const gib = 1 << 30
	for name, c := range map[string]struct {
		files map[string]string
		want  Limits
	}{
		"no cgroups at all": {nil, Limits{}},
		"version 2": {map[string]string{
			"proc/self/cgroup":                  "0::/user/app\n",
			"proc/self/mountinfo":               "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			"sys/fs/cgroup/user/app/cpu.max":    "150000 100000\n",
			"sys/fs/cgroup/user/app/memory.max": "1073741824\n",
			"sys/fs/cgroup/user/cpu.max":        "max 100000\n",
		}, Limits{1.5, gib}},
		"version 2, the tighter limit is above": {map[string]string{
			"proc/self/cgroup":                  "0::/user/app\n",
			"proc/self/mountinfo":               "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/user/app/cpu.max":    "max 100000\n",
			"sys/fs/cgroup/user/app/memory.max": "max\n",
			"sys/fs/cgroup/user/cpu.max":        "100000 50000\n",
			"sys/fs/cgroup/user/memory.max":     "1073741824\n",
		}, Limits{2, gib}},
		"version 2 in a container with a namespace": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"proc/self/mountinfo":      "31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			"sys/fs/cgroup/cpu.max":    "50000 100000\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}, Limits{0.5, 0}},
		"version 1 in a container, whose own group is mounted": {map[string]string{
			"proc/self/cgroup": "4:memory:/docker/1a\n1:cpu,cpuacct:/docker/1a\n0::/\n",
			"proc/self/mountinfo": "32 31 0:29 /docker/1a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n" +
				"35 31 0:32 /docker/1a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n" +
				"41 31 0:38 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "300000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":  "1073741824\n",
		}, Limits{3, gib}},
		"version 1 in a container, whose paths are the host's": {map[string]string{
			"proc/self/cgroup":                    "1:cpu:/kubepods/b\n",
			"proc/self/mountinfo":                 "32 31 0:29 /kubepods/a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  "100000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, Limits{1, 0}},
		"version 1 without limits": {map[string]string{
			"proc/self/cgroup": "4:memory:/\n1:cpu:/\n",
			"proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
				"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, Limits{}},
		"files that make no sense": {map[string]string{
			"proc/self/cgroup":         "0::/\nnonsense\n::\n",
			"proc/self/mountinfo":      "nonsense - \n31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/cpu.max":    "1 0\n",
			"sys/fs/cgroup/memory.max": "-5\n",
		}, Limits{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Read(system(t, c.files)); got != c.want {
				t.Errorf("%+v, and not %+v", got, c.want)
			}
		})
	}
}
