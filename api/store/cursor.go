package store

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// Cursor is an object's place in an order: the value that the order compares,
// and the id that decides among equals.
type Cursor struct {
	By   OrderField
	Desc bool
	// Text or Number is the value, as By has it: names (folded) and ATT&CK ids
	// are text, times are microseconds since 1970, 0 if unknown.
	Text   string
	Number int64
	ID     string
}

const cursorVersion = "1"

// String is the opaque form that clients get.
func (c Cursor) String() string {
	dir := "a"
	if c.Desc {
		dir = "d"
	}
	val := c.Text
	if c.By.IsTime() {
		val = strconv.FormatInt(c.Number, 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(cursorVersion + dir + string(c.By) + "\x00" + c.ID + "\x00" + val))
}

// ParseCursor reads a cursor back for a list in this order. Whatever it is not
// is ErrCursor.
func ParseCursor(s string, o Order) (Cursor, error) {
	if len(s) > 4096 {
		return Cursor{}, ErrCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 2 || string(b[:1]) != cursorVersion || (b[1] != 'a' && b[1] != 'd') {
		return Cursor{}, ErrCursor
	}
	by, rest, ok := strings.Cut(string(b[2:]), "\x00")
	if !ok {
		return Cursor{}, ErrCursor
	}
	id, val, ok := strings.Cut(rest, "\x00")
	if !ok || id == "" {
		return Cursor{}, ErrCursor
	}
	o = o.norm()
	c := Cursor{By: OrderField(by), Desc: b[1] == 'd', ID: id}
	if c.By != o.By || c.Desc != o.Desc {
		return Cursor{}, ErrCursor
	}
	if c.By.IsTime() {
		if c.Number, err = strconv.ParseInt(val, 10, 64); err != nil {
			return Cursor{}, ErrCursor
		}
	} else {
		c.Text = val
	}
	return c, nil
}

// CursorOf makes the cursor of an object in an order.
func CursorOf(obj *Object, o Order) Cursor {
	o = o.norm()
	c := Cursor{By: o.By, Desc: o.Desc, ID: obj.ID}
	switch o.By {
	case OrderName:
		c.Text = Fold(obj.Name)
	case OrderAttackID:
		c.Text = obj.AttackID
	case OrderModified:
		c.Number = Micros(obj.Modified)
	case OrderCreated:
		c.Number = Micros(obj.Created)
	case OrderFirstSeen:
		c.Number = Micros(obj.FirstSeen)
	case OrderLastSeen:
		c.Number = Micros(obj.LastSeen)
	}
	return c
}

func (o Order) norm() Order {
	if o.By == "" {
		o.By = OrderName
	}
	return o
}

// IsTime tells whether the field is a time.
func (f OrderField) IsTime() bool {
	switch f {
	case OrderModified, OrderCreated, OrderFirstSeen, OrderLastSeen:
		return true
	}
	return false
}

// Micros is how stores keep a time: microseconds since 1970, the finest that
// STIX has; 0 is unknown.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the reverse of [Micros].
func FromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
