package edge

// What tests see of the inside.
var (
	Calls = calls
	Few   = few
)
