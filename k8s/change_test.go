package k8s

import (
	"fmt"
	"strconv"
	"strings"
)

// clone is a copy of all of it.
func clone(v any) any {
	switch v := v.(type) {
	case object:
		return object(clone(map[string]any(v)).(map[string]any))
	case map[string]any:
		c := make(map[string]any, len(v))
		for key, each := range v {
			c[key] = clone(each)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, each := range v {
			c[i] = clone(each)
		}
		return c
	}
	return v
}

// set changes what is at a path, whose keys have a dot between them (one within a key is written as ~): nil removes it, and
// of a list "+" is one more.
func set(o object, path string, value any) {
	keys := strings.Split(path, ".")
	for i, key := range keys {
		keys[i] = strings.ReplaceAll(key, "~", ".")
	}
	put(map[string]any(o), keys, value)
}

// put returns what v is then.
func put(v any, keys []string, value any) any {
	if len(keys) == 0 {
		return value
	}
	key := keys[0]
	if list, ok := v.([]any); ok {
		if key == "+" {
			return append(list, put(map[string]any{}, keys[1:], value))
		}
		n, err := strconv.Atoi(key)
		if err != nil || n >= len(list) {
			panic(fmt.Sprintf("a list of %d has no %q", len(list), key))
		}
		if len(keys) == 1 && value == nil {
			return append(list[:n:n], list[n+1:]...)
		}
		list[n] = put(list[n], keys[1:], value)
		return list
	}
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	if len(keys) == 1 && value == nil {
		delete(m, key)
		return m
	}
	m[key] = put(m[key], keys[1:], value)
	return m
}
