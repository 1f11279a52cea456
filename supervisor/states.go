package supervisor

import (
	"slices"

	"github.com/nekoctl/neko/supervisor/control"
)

// transitions is the whole life of a slot, in PM2's words. The state is derived
// from what the slot has (see slot.observe), so this table cannot be violated
// by forgetting to set it; a change that is not in it is a bug and is reported
// as one.
var transitions = map[control.State][]control.State{
	control.Stopped: {
		control.Launching,      // start, restart
		control.WaitingRestart, // the program cannot be run
		control.Errored,        // and there is no other attempt
		control.Stopping,       // stop, where it had ended by itself and a spare has not left yet
	},
	control.Launching: {
		control.Online,         // READY=1, seen accepting, or just running
		control.WaitingRestart, // it ended or took too long; another attempt follows
		control.Errored,        // that was the last attempt
		control.Stopping,       // stop, restart, scale-down
		control.Stopped,        // it ended by itself, and is to have no successor
	},
	control.Online: {
		control.Launching,      // it crashed and its replacement is on the way
		control.WaitingRestart, // it crashed again so soon that the next waits
		control.Errored,        // it crashed too often
		control.Stopping,       // stop, restart, scale-down: it drains
		control.Stopped,        // it ended by itself, and is to have no successor
	},
	control.Stopping: {
		control.Stopped,        // the last process is gone
		control.Launching,      // restart; or start before the stop was complete
		control.Online,         // scale-up, as it was just retiring
		control.WaitingRestart, // restart, and the program cannot be run any more
		control.Errored,        // and there is no other attempt
	},
	control.WaitingRestart: {
		control.Launching, // the delay is over; or start, restart, reload
		control.Online,    // the delay is over, and its spare takes over
		control.Errored,   // the program is not there any more
		control.Stopped,   // stop, delete, scale-down
		control.Stopping,  // the same, as a failed attempt has not left yet
	},
	control.Errored: {
		control.Launching,      // start, restart, reload
		control.WaitingRestart, // the same, and the program cannot be run
		control.Stopped,        // stop, delete, scale-down
		control.Stopping,       // the same, as a failed attempt has not left yet
	},
}

// legal says whether a slot may go from one state to another.
func legal(from, to control.State) bool { return slices.Contains(transitions[from], to) }
