package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestATargetMeansTheFirstThatThereIs(t *testing.T) {
	list := []Process{
		{ID: 0, Name: "web", Namespace: "default"},
		{ID: 1, Name: "web", Namespace: "default"},
		{ID: 2, Name: "api-1", Title: "api", Namespace: "shop"},
		{ID: 3, Name: "api-2", Title: "api", Namespace: "default"},
		{ID: 4, Name: "other", Title: "api-2", Namespace: "web"},
		{ID: 5, Name: "numbered", Title: "3", Namespace: "7"},
		{ID: 6, Name: "odd", Title: "two words/", Namespace: "default"},
		{ID: 7, Name: "last", Namespace: "default"},
	}
	for _, c := range []struct {
		target, want string
		byID         bool
	}{
		{"all", "0 1 2 3 4 5 6 7", false},
		{"web", "0 1", false}, // and not the namespace
		{"api", "2 3", false},
		{"api-1", "2", false},
		{"api-2", "4", false}, // what people call it
		{"3", "5", false},     // an app, as it is called so
		{"7", "7", true},      // and not the namespace
		{"1", "1", true},
		{"01", "", false},
		{"-1", "", true},
		{"shop", "2", false},
		{"default", "0 1 3 6 7", false},
		{"two words/", "6", false},
		{"/^api/", "2 3 4", false},
		{"/W/", "", false},
		{"/(?i)W/", "0 1 6", false},
		{"/web", "", false},
		{"//", "", false},
		{"/", "", false},
		{"", "", false},
	} {
		found, byID, err := Choose(list, c.target)
		var ids []string
		for _, p := range found {
			ids = append(ids, fmt.Sprint(p.ID))
		}
		if got := strings.Join(ids, " "); got != c.want || byID != c.byID || err != nil {
			t.Errorf("%q: got %q (by id: %v, %v), want %q (%v)", c.target, got, byID, err, c.want, c.byID)
		}
	}
	_, _, err := Choose(list, "/a(/")
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Message, "missing closing )") || e.Hint == "" {
		t.Errorf("a bad expression: %v", err)
	}
}
