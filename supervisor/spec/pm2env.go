package spec

import (
	"bytes"
	"encoding/json"
	"strings"
)

// PM2Variables are what PM2 gives a process of what it lists of an app: in fork mode
// numbers, texts and truth values; in cluster mode all, as JavaScript makes texts of
// them.
func (a *App) PM2Variables() map[string]string {
	listed := a.pm2()
	env := make(map[string]string, len(listed))
	for name, value := range listed {
		text := javaScriptText(value)
		known := name == "version" || name == "node_version" // only once the process runs, to PM2
		if known || a.Node != NodeCluster && !isScalar(value) || checkSetting(name, text) != nil {
			continue
		}
		env[name] = text
	}
	return env
}

func (a *App) pm2() (listed map[string]any) {
	decoder := json.NewDecoder(bytes.NewReader(a.PM2))
	decoder.UseNumber()
	_ = decoder.Decode(&listed) // see checkPM2
	return listed
}

func (a *App) checkPM2() *Error {
	if a.PM2 != nil && a.pm2() == nil {
		return &Error{Message: expected("a JSON object", string(a.PM2))}
	}
	return nil
}

func isScalar(value any) bool {
	switch value.(type) {
	case nil, []any, map[string]any:
		return false
	}
	return true
}

// javaScriptText is String(value).
func javaScriptText(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		if v {
			return "true"
		}
		return "false"
	case string:
		return v
	case json.Number:
		return v.String()
	case []any:
		texts := make([]string, len(v))
		for i, element := range v {
			if element != nil {
				texts[i] = javaScriptText(element)
			}
		}
		return strings.Join(texts, ",")
	}
	return "[object Object]"
}
