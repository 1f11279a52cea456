// Package object has JSON values whose objects keep the order of their keys, as
// those of JavaScript do: what PM2 prints is compared and read by people.
package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
)

// Object is a JSON object. The zero value is empty and ready; a nil one may be
// read.
//
// Values are nil, bool, string, [json.Number] or any number of Go's, []any and
// *Object.
type Object struct {
	keys   []string
	values map[string]any
}

// Set gives key a value. A new key comes last, as in JavaScript.
func (o *Object) Set(key string, value any) *Object {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, known := o.values[key]; !known {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
	return o
}

// Get is the value of key, nil if there is none.
func (o *Object) Get(key string) any {
	if o == nil {
		return nil
	}
	return o.values[key]
}

// Has says whether there is the key, with whatever value.
func (o *Object) Has(key string) bool {
	if o == nil {
		return false
	}
	_, ok := o.values[key]
	return ok
}

// Delete removes key.
func (o *Object) Delete(key string) {
	if o.Has(key) {
		delete(o.values, key)
		o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	}
}

// Len is the number of keys.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

// All are the keys and their values, in their order.
func (o *Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if o == nil {
			return
		}
		for _, key := range o.keys {
			if !yield(key, o.values[key]) {
				return
			}
		}
	}
}

// Clone is a copy that has the same values.
func (o *Object) Clone() *Object {
	c := &Object{}
	for key, value := range o.All() {
		c.Set(key, value)
	}
	return c
}

// MarshalJSON writes the object as JSON.stringify does: without escapes for HTML.
func (o *Object) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	err := write(&text, o)
	return text.Bytes(), err
}

func write(to *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case *Object:
		to.WriteByte('{')
		first := true
		for key, value := range v.All() {
			if !first {
				to.WriteByte(',')
			}
			first = false
			if err := write(to, key); err != nil {
				return err
			}
			to.WriteByte(':')
			if err := write(to, value); err != nil {
				return err
			}
		}
		to.WriteByte('}')
		return nil
	case []any:
		to.WriteByte('[')
		for i, value := range v {
			if i > 0 {
				to.WriteByte(',')
			}
			if err := write(to, value); err != nil {
				return err
			}
		}
		to.WriteByte(']')
		return nil
	}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	to.Truncate(to.Len() - 1) // its newline
	return nil
}

// UnmarshalJSON reads an object; numbers in it become [json.Number].
func (o *Object) UnmarshalJSON(text []byte) error {
	value, err := Parse(text)
	if err != nil {
		return err
	}
	read, ok := value.(*Object)
	if !ok {
		return fmt.Errorf("expected an object, not %.20s", text)
	}
	*o = *read
	return nil
}

// Parse reads any one JSON value.
func Parse(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := read(decoder)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the value at byte %d", decoder.InputOffset())
	}
	return value, nil
}

func read(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := &Object{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := read(decoder)
			if err != nil {
				return nil, err
			}
			o.Set(key.(string), value)
		}
		_, err := decoder.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := read(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	}
	return token, nil
}
