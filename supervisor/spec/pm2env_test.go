package spec

import (
	"encoding/json"
	"maps"
	"testing"
)

func TestPM2VariablesAreTextsAsJavaScriptMakesThem(t *testing.T) {
	a := Defaults()
	a.PM2 = json.RawMessage(`{"name":"a b","n":1600,"f":1.50,"yes":true,"no":false,"empty":"","none":null,"list":["a",1,null,[true,{}]],"object":{"x":1},
		"nul":"a\u0000b","NEKO_SLOT":"7","a=b":"c"}`)
	fork := map[string]string{"name": "a b", "n": "1600", "f": "1.50", "yes": "true", "no": "false", "empty": ""}
	if got := a.PM2Variables(); !maps.Equal(got, fork) {
		t.Errorf("in fork mode %q", got)
	}
	a.Node = NodeCluster
	cluster := maps.Clone(fork)
	maps.Copy(cluster, map[string]string{"none": "null", "list": "a,1,,true,[object Object]", "object": "[object Object]"})
	if got := a.PM2Variables(); !maps.Equal(got, cluster) {
		t.Errorf("in cluster mode %q", got)
	}
	for text, want := range map[string]bool{`{}`: true, `[]`: false, `null`: false, `{"a`: false, ``: false} {
		if a.PM2 = json.RawMessage(text); (a.checkPM2() == nil) != want {
			t.Errorf("%s: %v", text, a.checkPM2())
		}
	}
}
