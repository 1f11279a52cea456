package supervisor

import (
	"crypto/rand"
	"fmt"
	"strconv"

	"github.com/nekoctl/neko/supervisor/spec"
)

// What PM2 gives the processes that it starts beside their environment: all that it
// lists of them. Programs look at pm_id, name, status and the like.

// pm2Variables are those that the environment of the app goes over.
func (m *master) pm2Variables(p *process) map[string]string {
	env := p.spec.PM2Variables()
	if p.spec.Node == spec.NodeCluster {
		env["env"] = "[object Object]"
	}
	return env
}

// pm2Changes are those that differ from process to process, as they are when it starts.
func (m *master) pm2Changes(p *process) map[string]string {
	s, app := p.slot, p.spec
	restarts := s.restarts
	if s.starting == p && s.serving != nil { // it is counted when the reload has come off
		restarts++
	}
	paths := m.logPaths(app, s)
	env := map[string]string{
		"unique_id": s.app.uniqueID, "pm_id": strconv.Itoa(s.id), "status": "launching",
		"restart_time": strconv.Itoa(restarts), "unstable_restarts": strconv.Itoa(s.unstable),
		"created_at": strconv.FormatInt(s.createdAt.UnixMilli(), 10), "pm_uptime": strconv.FormatInt(p.startedAt.UnixMilli(), 10),
		"pm_out_log_path": paths[0], "pm_err_log_path": paths[1],
	}
	if paths[2] != "" {
		env["pm_log_path"] = paths[2]
	}
	if path := app.PIDFileOf(s.index, s.id); path != "" {
		env["pm_pid_path"] = path
	}
	if app.Node == spec.NodeCluster {
		env["axm_actions"] = ""
		for _, name := range []string{"axm_monitor", "axm_options", "axm_dynamic"} {
			env[name] = "[object Object]"
		}
	}
	return env
}

// newUUID is a random one, of version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
