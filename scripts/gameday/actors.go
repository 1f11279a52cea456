package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// actorList is an answer to {threatActors {nodes {id}}}, under whatever name.
type actorList map[string]struct{ Nodes []struct{ ID, Name string } }

func actors(text json.RawMessage) (ids []string) {
	var list actorList
	if json.Unmarshal(text, &list) != nil {
		return nil
	}
	for _, l := range list {
		for _, n := range l.Nodes {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

func wrongID(text json.RawMessage) string {
	if ids := actors(text); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// wrongBundle is newer than anything, and has a wrong name for each of these.
func wrongBundle(text json.RawMessage) ([]byte, error) {
	var objects []any
	for _, id := range actors(text) {
		objects = append(objects, map[string]any{"type": "intrusion-set", "id": id, "name": "Overwritten", "created": "2026-01-01T00:00:00Z", "modified": "2099-01-01T00:00:00Z"})
	}
	if objects == nil {
		return nil, errors.New("the store has no threat actor to overwrite")
	}
	return json.Marshal(map[string]any{"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "spec_version": "2.0", "objects": objects})
}

func (s *stage) anyActor(ctx context.Context, id string) (string, error) {
	text, err := s.probes.ask(ctx, fmt.Sprintf(`{any%d: threatActor(id: %q) {name}}`, time.Now().UnixNano(), id))
	if err != nil {
		return "", err
	}
	var one map[string]struct{ Name string }
	if err := json.Unmarshal(text, &one); err != nil {
		return "", err
	}
	for _, a := range one {
		return a.Name, nil
	}
	return "", nil
}

func countOf(text json.RawMessage, word string) int { return bytes.Count(text, []byte(word)) }
