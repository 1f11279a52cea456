package ecosystem

import (
	"os"
	"testing"
)

// PM2 evaluates JSON as JavaScript, and there are files that need it.
func TestJSONThatIsAnExpressionIsEvaluatedWhenCalledAsPM2(t *testing.T) {
	needsRuntime(t)
	text := []byte(`[{ name: "echo", script: [".", "/", "e", "cho.js"].join('') }]`)
	o := Options{Cwd: t.TempDir(), Environ: os.Environ(), PM2: true}
	list, err := Parse(t.Context(), "apps.json", text, o)
	if err != nil || len(list) != 1 || list[0].Get("script") != "./echo.js" {
		t.Errorf("got %v, %v", list, err)
	}
	o.PM2 = false
	if list, err := Parse(t.Context(), "apps.json", text, o); err == nil {
		t.Errorf("nekoctl has evaluated it: %v", list)
	}
	o.PM2 = true
	if _, err := Parse(t.Context(), "apps.json", []byte(`[{ name: nobody }]`), o); err == nil {
		t.Error("a mistake was no error")
	}
}

// needsRuntime skips a test where there is nothing to evaluate JavaScript; in CI it
// fails.
func needsRuntime(t *testing.T) {
	t.Helper()
	if len(findRuntimes(os.Environ())) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no node on PATH")
		}
		t.Skip("there is no node on PATH")
	}
}
