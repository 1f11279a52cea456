package supervisor

import (
	"encoding/json"
)

// hearProgram is what a program has said by process.send.
func (m *master) hearProgram(p *process, text json.RawMessage) {
	if string(text) == `"ready"` {
		m.saysReady(p)
	}
}
