package store

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what people may write.
const (
	maxName        = 512
	maxDescription = 64 << 10
	maxPattern     = 64 << 10
	maxValue       = 2048
	maxListed      = 100
)

// Build checks the input and makes the indicator of it, with a new id. All stores
// use it, so that all accept the same. Indicates is left to the store.
func (in NewIndicator) Build(now time.Time) (*Object, error) {
	now = now.UTC().Truncate(time.Microsecond)
	o := &Object{
		ID: NewID("indicator"), Kind: KindIndicator, Type: "indicator", Local: true,
		Name: strings.TrimSpace(in.Name), Description: strings.TrimSpace(in.Description),
		Created: now, Modified: now, ValidFrom: in.ValidFrom.UTC(), ValidUntil: in.ValidUntil.UTC(),
		PatternType: in.PatternType, IndicatorTypes: in.IndicatorTypes,
	}
	if in.ValidFrom.IsZero() {
		o.ValidFrom = now
	}
	if in.ValidUntil.IsZero() {
		o.ValidUntil = time.Time{}
	} else if !o.ValidUntil.After(o.ValidFrom) {
		return nil, &InvalidError{"validUntil", "must be after validFrom"}
	}
	switch {
	case in.Pattern != "" && (in.Type != "" || in.Value != ""):
		return nil, &InvalidError{"pattern", "give a pattern, or a type and a value, not both"}
	case in.Pattern != "":
		if o.PatternType == "" {
			o.PatternType = "stix"
		}
		if !isWord(o.PatternType) {
			return nil, &InvalidError{"patternType", `must be a word such as "stix", "yara" or "sigma"`}
		}
		o.Pattern = strings.TrimSpace(in.Pattern)
		if err := checkText("pattern", o.Pattern, maxPattern); err != nil {
			return nil, err
		}
		if o.Pattern == "" {
			return nil, &InvalidError{"pattern", "is empty"}
		}
		if o.PatternType == "stix" {
			if err := CheckPattern(o.Pattern); err != nil {
				return nil, &InvalidError{"pattern", err.Error()}
			}
			o.ValueType, o.Value = ValueOf(o.Pattern)
		}
	case in.Type == "":
		return nil, &InvalidError{"type", "give a type and a value, or a pattern"}
	default:
		if o.PatternType != "" && o.PatternType != "stix" {
			return nil, &InvalidError{"patternType", "is for patterns: a type and a value make a STIX pattern"}
		}
		value, err := checkValue(in.Type, strings.TrimSpace(in.Value))
		if err != nil {
			return nil, err
		}
		o.PatternType, o.ValueType, o.Value = "stix", in.Type, value
		o.Pattern = patternOf(in.Type, value)
	}
	if o.Name == "" {
		if o.Name = o.Value; o.Name == "" {
			o.Name = o.PatternType + " pattern"
		}
		o.Name = shorten(o.Name, maxName)
	}
	if err := checkText("name", o.Name, maxName); err != nil {
		return nil, err
	}
	if err := checkText("description", o.Description, maxDescription); err != nil {
		return nil, err
	}
	if len(o.IndicatorTypes) == 0 {
		o.IndicatorTypes = []string{"unknown"}
	}
	if len(o.IndicatorTypes) > maxListed {
		return nil, &InvalidError{"indicatorTypes", fmt.Sprintf("more than %d", maxListed)}
	}
	for _, t := range o.IndicatorTypes {
		if !isWord(t) {
			return nil, &InvalidError{"indicatorTypes", fmt.Sprintf("%q is not a word such as malicious-activity", t)}
		}
	}
	if len(in.Indicates) > maxListed {
		return nil, &InvalidError{"indicates", fmt.Sprintf("more than %d", maxListed)}
	}
	return o, nil
}

// Build checks the input and makes the sighting of it, with a new id. Of is left
// to the store.
func (in NewSighting) Build(now time.Time) (*Object, error) {
	now = now.UTC().Truncate(time.Microsecond)
	o := &Object{
		ID: NewID("sighting"), Kind: KindSighting, Type: "sighting", Local: true,
		Description: strings.TrimSpace(in.Description), Reporter: strings.TrimSpace(in.Reporter),
		Created: now, Modified: now, FirstSeen: in.FirstSeen.UTC(), LastSeen: in.LastSeen.UTC(), Count: in.Count,
	}
	if strings.TrimSpace(in.Of) == "" {
		return nil, &InvalidError{"of", "is empty"}
	}
	if in.FirstSeen.IsZero() {
		o.FirstSeen = o.LastSeen
	}
	if in.LastSeen.IsZero() {
		o.LastSeen = o.FirstSeen
	}
	if o.FirstSeen.IsZero() {
		o.FirstSeen, o.LastSeen = now, now
	}
	// A minute for clocks that are not alike.
	if o.FirstSeen.After(now.Add(time.Minute)) {
		return nil, &InvalidError{"firstSeen", "is in the future"}
	}
	if o.LastSeen.After(now.Add(time.Minute)) {
		return nil, &InvalidError{"lastSeen", "is in the future"}
	}
	if o.LastSeen.Before(o.FirstSeen) {
		return nil, &InvalidError{"lastSeen", "is before firstSeen"}
	}
	if o.Count == 0 {
		o.Count = 1
	}
	if o.Count < 0 || o.Count > 999_999_999 { // STIX's own bound
		return nil, &InvalidError{"count", "must be 1 to 999999999"}
	}
	if err := checkText("description", o.Description, maxDescription); err != nil {
		return nil, err
	}
	return o, checkText("reporter", o.Reporter, maxName)
}

// NewID makes a random STIX id.
func NewID(typ string) string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%s--%x-%x-%x-%x-%x", typ, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return &InvalidError{field, fmt.Sprintf("is longer than %d bytes", limit)}
	}
	if !utf8.ValidString(s) {
		return &InvalidError{field, "is not valid UTF-8"}
	}
	for _, r := range s {
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0x7f {
			return &InvalidError{field, "has control characters"}
		}
	}
	return nil
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func isWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// checkValue returns the value in its usual form.
func checkValue(typ, v string) (string, error) {
	bad := func(reason string) (string, error) { return "", &InvalidError{"value", reason} }
	if v == "" {
		return bad("is empty")
	}
	if err := checkText("value", v, maxValue); err != nil {
		return "", err
	}
	switch typ {
	case "ipv4-addr", "ipv6-addr":
		addr, err := netip.ParseAddr(v)
		out := addr.String()
		if err != nil {
			prefix, err := netip.ParsePrefix(v)
			if err != nil {
				return bad("is not an address, nor a network such as 198.51.100.0/24")
			}
			addr, out = prefix.Addr(), prefix.Masked().String()
		}
		if addr.Zone() != "" || addr.Is4() != (typ == "ipv4-addr") {
			return bad("is not of type " + typ)
		}
		return out, nil
	case "domain-name":
		v = strings.ToLower(strings.TrimSuffix(v, "."))
		if !isDomain(v) {
			return bad("is not a domain name")
		}
	case "url":
		u, err := url.Parse(v)
		if err != nil || u.Scheme == "" || u.Host == "" {
			return bad("is not an absolute URL")
		}
	case "email-addr":
		local, domain, ok := strings.Cut(v, "@")
		if !ok || local == "" || !isDomain(strings.ToLower(domain)) || strings.ContainsAny(local, " \t\r\n") {
			return bad("is not an e-mail address")
		}
	case "file-md5", "file-sha1", "file-sha256":
		want := map[string]int{"file-md5": 32, "file-sha1": 40, "file-sha256": 64}[typ]
		v = strings.ToLower(v)
		if len(v) != want || strings.Trim(v, "0123456789abcdef") != "" {
			return bad(fmt.Sprintf("is not %d hexadecimal digits", want))
		}
	default:
		var names []string
		for _, t := range ValueTypes {
			if t.Type == typ {
				return v, nil
			}
			names = append(names, t.Type)
		}
		return "", &InvalidError{"type", "is none of " + strings.Join(names, ", ")}
	}
	return v, nil
}

func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, r := range l {
			if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r >= 0x80) {
				return false
			}
		}
	}
	return true
}
