package worker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// An answer has tags, which name what it depends on; who changes something invalidates
// its tags, see Invalidate. Tags are the same in upper and lower case, and of three kinds:
//
//	ThreatActor        shows a threat actor. Every answer that can has it: for what
//	                   changes all of them
//	ThreatActor:list   shows threat actors of which it is not known, before it is made,
//	                   which they are: lists, connections, what hangs on another object
//	ThreatActor:G0034  shows what is found by this id
//
// What has an id (`id: ID!`) and so can change by itself is found out from the schema,
// and so are the first two kinds: a connection (with nodes, or edges) and an edge (with a
// node) stand for what they lead to. Who looks something up by an argument, or counts
// what it does not show, says so, in the words of Apollo Router:
//
//	directive @cacheTag(format: String!) repeatable on FIELD_DEFINITION
//
//	threatActor(id: ID!): ThreatActor @cacheTag(format: "ThreatActor:{$args.id}")
//	sightingCount: Int!               @cacheTag(format: "Sighting:list")
//
// A field with an argument in its tag has that tag in the place of ThreatActor:list. If
// there is no value for the argument, or one that no id has, it has the latter after all;
// so who changes an object invalidates its ids and the list of its type. A tag whose
// beginning, up to the colon, is a type in the schema brings the tag of the type with it.
const (
	cacheTagDirective = "cacheTag"
	listTag           = ":list"
)

// What an answer may have of tags: a proxy in front takes no more than 4 or 8 KiB of
// headers, and each tag is looked at whenever the answer is served.
const (
	maxTags     = 64
	maxTagBytes = 2 << 10
	maxTagValue = 128 // of an argument
)

// CacheTag is the tag of what is found by an id of a type: for Invalidate, and for whoever
// purges.
func CacheTag(typ, id string) string {
	tag, ok := appendTagValue(append([]byte(typ), ':'), id)
	if !ok {
		return typ + listTag // which such lookups have
	}
	return string(tag)
}

// appendTagValue appends a value, so that it can stand in a header among others. Not ok
// is one that has no tag: what is beyond ASCII is, where ids are compared without case,
// sometimes the same as something in ASCII.
func appendTagValue(b []byte, value string) (_ []byte, ok bool) {
	if value == "" || len(value) > maxTagValue {
		return b, false
	}
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == ':':
			b = append(b, c)
		case c >= 0x80:
			return b, false
		default:
			const hex = "0123456789ABCDEF"
			b = append(b, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return b, true
}

// cacheTags are the tags of the fields of a schema.
type cacheTags struct {
	fields map[string]*fieldTags // by coordinate; what is not there has none
}

// fieldTags are the tags of a field.
type fieldTags struct {
	always  []string    // of types, and what @cacheTag says without arguments
	lists   []string    // if there is no format, or one of them has no value
	formats []tagFormat // with arguments
}

// tagFormat is texts with an argument after each, but for the last.
type tagFormat struct {
	texts     []string
	arguments []*ast.ArgumentDefinition
}

func newCacheTags(schema *ast.Schema) (*cacheTags, error) {
	ct := &cacheTags{fields: map[string]*fieldTags{}}
	for _, def := range schema.Types {
		if def.Kind != ast.Object && def.Kind != ast.Interface || isIntrospective(def.Name) {
			continue
		}
		for _, f := range def.Fields {
			if isIntrospective(f.Name) {
				continue
			}
			tags, err := tagsOf(schema, f)
			if err != nil {
				return nil, fmt.Errorf("schema: %s.%s: %w%s", def.Name, f.Name, err, at(f.Position))
			}
			if tags != nil {
				ct.fields[def.Name+"."+f.Name] = tags
			}
		}
	}
	for _, def := range schema.Types { // a field of an interface has the tags that it has in any type
		if def.Kind != ast.Interface {
			continue
		}
		for _, f := range def.Fields {
			for _, possible := range schema.GetPossibleTypes(def) {
				if own := ct.fields[possible.Name+"."+f.Name]; own != nil && possible.Kind == ast.Object {
					ct.cover(def.Name+"."+f.Name, own)
				}
			}
		}
	}
	return ct, nil
}

// cover adds to the tags of a field of an interface those that it has in a type. Formats
// of that type are left out, so there are the lists.
func (ct *cacheTags) cover(coordinate string, own *fieldTags) {
	all := ct.fields[coordinate]
	if all == nil {
		all = &fieldTags{}
		ct.fields[coordinate] = all
	}
	all.always = append(slices.Clone(all.always), own.always...)
	all.lists = append(slices.Clone(all.lists), own.lists...)
	if len(own.formats) > 0 {
		all.always = append(all.always, own.lists...)
	}
}

func tagsOf(schema *ast.Schema, f *ast.FieldDefinition) (*fieldTags, error) {
	tags := &fieldTags{}
	for _, name := range shownBy(schema, schema.Types[f.Type.Name()], 0) {
		tags.always, tags.lists = append(tags.always, name), append(tags.lists, name+listTag)
	}
	for _, d := range f.Directives.ForNames(cacheTagDirective) {
		a := d.Arguments.ForName("format")
		if a == nil || a.Value.Kind != ast.StringValue {
			return nil, fmt.Errorf(`@%s wants a format, such as "ThreatActor:{$args.id}"`, cacheTagDirective)
		}
		format, err := tagFormatOf(schema, f, a.Value.Raw)
		if err != nil {
			return nil, fmt.Errorf("@%s(format: %q): %w", cacheTagDirective, a.Value.Raw, err)
		}
		typ, _, colon := strings.Cut(format.texts[0], ":")
		if schema.Types[typ] != nil {
			tags.always = append(tags.always, typ)
		}
		switch {
		case len(format.arguments) == 0:
			tags.always = append(tags.always, format.texts[0])
			continue
		case colon && schema.Types[typ] != nil:
			tags.lists = append(tags.lists, typ+listTag)
		}
		if len(tags.lists) == 0 {
			return nil, fmt.Errorf("@%s(format: %q): it must begin with a type and a colon, as the field shows nothing that has an id: an answer without the argument needs a tag too", cacheTagDirective, a.Value.Raw)
		}
		tags.formats = append(tags.formats, format)
	}
	if len(tags.always) == 0 {
		return nil, nil
	}
	return tags, nil
}

// shownBy are the types with an id of which a value of def is, or stands for, one.
func shownBy(schema *ast.Schema, def *ast.Definition, within int) (names []string) {
	switch {
	case def == nil || within > 3: // what leads to itself
	case def.IsAbstractType():
		for _, possible := range schema.GetPossibleTypes(def) {
			if possible.Kind == ast.Object {
				names = append(names, shownBy(schema, possible, within+1)...)
			}
		}
	case def.Kind != ast.Object:
	case isEntity(def):
		return []string{def.Name}
	default:
		nodes, edges, node := def.Fields.ForName("nodes"), def.Fields.ForName("edges"), def.Fields.ForName("node")
		for _, f := range []*ast.FieldDefinition{nodes, edges} {
			if f != nil && f.Type.Elem != nil {
				names = append(names, shownBy(schema, schema.Types[f.Type.Name()], within+1)...)
			}
		}
		if node != nil && def.Fields.ForName("cursor") != nil {
			names = append(names, shownBy(schema, schema.Types[node.Type.Name()], within+1)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func isEntity(def *ast.Definition) bool {
	id := def.Fields.ForName("id")
	return id != nil && id.Type.NamedType == "ID" && id.Type.NonNull
}

// tagFormatOf reads a format.
func tagFormatOf(schema *ast.Schema, f *ast.FieldDefinition, text string) (format tagFormat, err error) {
	const open = "{$args."
	rest := text
	for {
		literal, more, found := strings.Cut(rest, open)
		for i := range len(literal) {
			if c := literal[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`,{}%"\`, c) >= 0 {
				return format, fmt.Errorf("%q cannot be in a tag; an argument is written {$args.NAME}", string(literal[i:i+1]))
			}
		}
		format.texts = append(format.texts, literal)
		if !found {
			break
		}
		name, after, closed := strings.Cut(more, "}")
		arg := f.Arguments.ForName(name)
		switch {
		case !closed:
			return format, fmt.Errorf("%s%s lacks its }", open, more)
		case arg == nil:
			return format, fmt.Errorf("there is no argument %q", name)
		case arg.Type.Elem != nil || !schema.Types[arg.Type.NamedType].IsLeafType() || arg.Type.NamedType == "Float":
			return format, fmt.Errorf("the argument %q is of type %s: only an ID, a String, an Int, a Boolean or an enum has one text", name, arg.Type)
		}
		format.arguments = append(format.arguments, arg)
		rest = after
	}
	if text == "" || len(text) > maxTagValue {
		return format, fmt.Errorf("it must have 1 to %d characters", maxTagValue)
	}
	return format, nil
}

// tagPlan are the tags of the answers of an operation.
type tagPlan struct {
	static  []string // each once
	wanting []wantingTag
	coarse  []string // instead of all: those of all types, and of all lists
}

// wantingTag is one that lacks values of variables.
type wantingTag struct {
	texts     []string
	variables []wantedVariable // between the texts
	lists     []string         // instead, if there is no such tag
}

// wantedVariable is one whose value a tag lacks.
type wantedVariable struct {
	name   string
	absent string // the argument's default; "" if there is none
}

// plan are the tags of a plan; not ok: there are too many.
func (ct *cacheTags) plan(p *planner, plan *Plan) (t tagPlan, ok bool) {
	seen, formatted := map[*fieldTags]bool{}, 0
	plan.selections(func(s ast.Selection) {
		f, ok := s.(*ast.Field)
		if !ok || f.ObjectDefinition == nil {
			return
		}
		tags := ct.fields[f.ObjectDefinition.Name+"."+f.Name]
		if tags == nil {
			return
		}
		if !seen[tags] {
			seen[tags] = true
			t.static = append(t.static, tags.always...)
			t.coarse = append(append(t.coarse, tags.always...), tags.lists...)
			if len(tags.formats) == 0 {
				t.static = append(t.static, tags.lists...)
			}
		}
		for _, format := range tags.formats {
			if formatted++; formatted <= 2*maxTags { // some may be the same
				t.add(format.of(p, f, tags.lists))
			}
		}
	})
	t.coarse = distinct(t.coarse)
	if !fitting(t.coarse) {
		return t, false
	}
	if t.static = distinct(t.static); !fitting(t.static) || formatted > 2*maxTags {
		t.static, t.wanting = t.coarse, nil
	}
	return t, true
}

// add adds a tag: to the others, if nothing lacks.
func (t *tagPlan) add(w wantingTag) {
	if len(w.variables) > 0 {
		t.wanting = append(t.wanting, w)
		return
	}
	if len(w.texts) == 0 {
		t.static = append(t.static, w.lists...)
		return
	}
	t.static = append(t.static, w.texts[0])
}

// of is the tag of a field in an operation, as far as it is known before it runs:
// without texts, there is none.
func (format tagFormat) of(p *planner, f *ast.Field, lists []string) wantingTag {
	w := wantingTag{lists: lists}
	text := []byte(format.texts[0])
	for i, def := range format.arguments {
		absent, arg := p.defaultText(def), f.Arguments.ForName(def.Name)
		switch {
		case arg != nil && arg.Value.Kind == ast.Variable:
			w.texts, w.variables = append(w.texts, string(text)), append(w.variables, wantedVariable{strings.Clone(arg.Value.Raw), absent})
			text = text[:0]
		default:
			value := absent
			if arg != nil && arg.Value.Kind != ast.NullValue {
				value = p.literalText(def.Type, arg.Value)
			}
			var ok bool
			if text, ok = appendTagValue(text, value); !ok {
				return wantingTag{lists: lists}
			}
		}
		text = append(text, format.texts[i+1]...)
	}
	w.texts = append(w.texts, string(text))
	return w
}

// defaultText is the text of an argument's default, "" if it has none.
func (p *planner) defaultText(def *ast.ArgumentDefinition) string {
	if def.DefaultValue == nil {
		return ""
	}
	return p.literalText(def.Type, def.DefaultValue)
}

// literalText is the text of a value in a document, "" if it has none.
func (p *planner) literalText(t *ast.Type, v *ast.Value) string {
	value, err := v.Value(nil)
	if err != nil {
		return ""
	}
	coerced, e := p.coerce(t, value, 0)
	if e != nil {
		return ""
	}
	return valueText(coerced)
}

// valueText is the text of a coerced value, "" if it has none.
func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int32:
		return strconv.Itoa(int(v))
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// tags are those of an answer to the operation with these coerced variables, in whatever
// case each once. Nobody changes them.
func (t *tagPlan) tags(values map[string]any) []string {
	if len(t.wanting) == 0 {
		return t.static
	}
	all := slices.Clip(t.static)
	var buf [maxTagValue]byte
next:
	for i := range t.wanting {
		w := &t.wanting[i]
		b := append(buf[:0], w.texts[0]...)
		for j, v := range w.variables {
			value := v.absent
			if given := values[v.name]; given != nil {
				value = valueText(given)
			}
			var ok bool
			if b, ok = appendTagValue(b, value); !ok {
				for _, list := range w.lists {
					all = addTag(all, list)
				}
				continue next
			}
			b = append(b, w.texts[j+1]...)
		}
		all = addTag(all, string(b))
	}
	if !fitting(all) {
		return t.coarse
	}
	return all
}

func addTag(tags []string, tag string) []string {
	for _, t := range tags {
		if strings.EqualFold(t, tag) {
			return tags
		}
	}
	return append(tags, tag)
}

// distinct are tags in order, in whatever case each once.
func distinct(tags []string) []string {
	slices.SortFunc(tags, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return slices.Clip(slices.CompactFunc(tags, strings.EqualFold))
}

// fitting says whether an answer may have these tags.
func fitting(tags []string) bool {
	n := 0
	for _, t := range tags {
		n += len(t) + 1
	}
	return len(tags) <= maxTags && n <= maxTagBytes
}

// bytes is about what they take in memory.
func (t *tagPlan) bytes() (n int) {
	of := func(list []string) (n int) {
		for _, s := range list {
			n += 16 + len(s)
		}
		return n
	}
	n = of(t.static) + of(t.coarse)
	for i := range t.wanting {
		w := &t.wanting[i]
		n += 72 + of(w.texts)
		for _, v := range w.variables {
			n += 32 + len(v.name) + len(v.absent)
		}
	}
	return n
}
