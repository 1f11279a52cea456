package nodeipc

import "encoding/json"

// The messages of programs that PM2 knows, by their type; Ready is the bare string.
const (
	Ready   = "ready"
	Metrics = "axm:monitor"
	Action  = "axm:action"
	Reply   = "axm:reply"
)

// Statement is a message of a program: of @pm2/io, or Ready, or one without a type.
type Statement struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// Said reads what a program has sent.
func Said(text json.RawMessage) (s Statement) {
	if string(text) == `"ready"` {
		return Statement{Type: Ready}
	}
	var any struct {
		Type any             `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(text, &any) != nil {
		return s
	}
	if kind, ok := any.Type.(string); ok && kind != Ready {
		s.Type, s.Data = kind, any.Data
	}
	return s
}

// Metrics are those of a message, by their names, as @pm2/io has them: value, type,
// unit, historic.
func (s Statement) Metrics() (all map[string]json.RawMessage) {
	_ = json.Unmarshal(s.Data, &all) // else there are none
	return all
}

// Action is the name of one that can be triggered.
func (s Statement) Action() string {
	var v struct {
		Name string `json:"action_name"`
	}
	_ = json.Unmarshal(s.Data, &v)
	return v.Name
}

// Reply is what a triggered action has returned.
func (s Statement) Reply() (action string, value json.RawMessage) {
	var v struct {
		Name   string          `json:"action_name"`
		Return json.RawMessage `json:"return"`
	}
	_ = json.Unmarshal(s.Data, &v)
	if len(v.Return) == 0 {
		v.Return = json.RawMessage("null")
	}
	return v.Name, v.Return
}

// Trigger runs an action of @pm2/io in the program, as PM2 asks for it: by its bare name,
// or with its parameter.
func (c *Channel) Trigger(action string, parameter json.RawMessage) error {
	if len(parameter) == 0 {
		return c.Send(action)
	}
	return c.Send(struct {
		Message   string          `json:"msg"`
		Parameter json.RawMessage `json:"opts"`
	}{action, parameter})
}
