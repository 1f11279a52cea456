package object

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestAnObjectIsWrittenInTheOrderInWhichItWasReadAndSet(t *testing.T) {
	var o Object
	text := `{"z":1,"a":{"y":[1.50,"<&>",null,true],"b":{}},"m":"x"}`
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	o.Set("z", "first still").Set("new", []any{}).Set("gone", 1)
	o.Delete("gone")
	got, err := o.MarshalJSON()
	if want := `{"z":"first still","a":{"y":[1.50,"<&>",null,true],"b":{}},"m":"x","new":[]}`; err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

func TestANilObjectCanBeRead(t *testing.T) {
	var o *Object
	if o.Get("a") != nil || o.Has("a") || o.Len() != 0 || o.Clone().Len() != 0 {
		t.Error("it has something")
	}
	for range o.All() {
		t.Error("it has a key")
	}
}

func TestWhatIsNoJSONIsAnError(t *testing.T) {
	for _, text := range []string{"", "{", `{"a":1}{`, `{"a" 1}`, "[1,", `{"a":}`, "nul"} {
		if v, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"c":"\u2028"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		value, err := Parse(text)
		if err != nil {
			return
		}
		var once bytes.Buffer
		if err := write(&once, value); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(once.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", once.Bytes(), err)
		}
		var twice bytes.Buffer
		if err := write(&twice, again); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("%s became %s (%v)", once.Bytes(), twice.Bytes(), err)
		}
	})
}
