package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// trustedDocuments are those of Config.TrustedDocuments. A nil one is empty.
type trustedDocuments struct {
	ids    map[string]*trustedDocument
	hashes map[documentHash]*trustedDocument
	list   []*trustedDocument // in the order of the file
}

type trustedDocument struct {
	id, text string
	hash     documentHash
}

// maxTrustedFile is how large the file may be.
const maxTrustedFile = 32 << 20

// byID is the document of this id, nil if there is none.
func (t *trustedDocuments) byID(id string) *trustedDocument {
	if t == nil {
		return nil
	}
	return t.ids[id]
}

// text is the document with this hash, "" if it is not among them.
func (t *trustedDocuments) text(hash documentHash) string {
	if t == nil || t.hashes[hash] == nil {
		return ""
	}
	return t.hashes[hash].text
}

func (t *trustedDocuments) add(id, text string) error {
	d := &trustedDocument{id, text, hashOf(text)}
	switch known := t.ids[id]; {
	case id == "":
		return errors.New("a document has no id")
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("the document %q is empty", id)
	case strings.HasPrefix(id, hashPrefix) && id != hashPrefix+d.hash.String():
		return fmt.Errorf("the document %q has another hash: %s%s", id, hashPrefix, d.hash)
	case known != nil && known.hash != d.hash:
		return fmt.Errorf("two documents have the id %q", id)
	case known != nil:
		return nil
	}
	t.ids[id] = d
	t.list = append(t.list, d)
	if t.hashes[d.hash] == nil {
		t.hashes[d.hash] = d
	}
	return nil
}

// loadTrusted reads the file, and plans what is in it: a document that does not fit
// the schema is found when a program starts, and not when somebody asks for it.
func loadTrusted(path string, p *planner) (*trustedDocuments, error) {
	t, err := readTrusted(path)
	if err != nil {
		return nil, err
	}
	for _, d := range t.list {
		if e := d.check(p); e != nil {
			place := ""
			if len(e.Locations) > 0 {
				place = fmt.Sprintf("%d:%d: ", e.Locations[0].Line, e.Locations[0].Column)
			}
			return nil, &adviceError{
				fmt.Errorf("trusted documents: %s: document %q: %s%s (%s)", path, d.id, place, e.Message, e.publicCode()),
				"write the file anew from clients that fit this schema, or take the document out",
			}
		}
	}
	return t, nil
}

// check plans all operations of d, by the limits for any other.
func (d *trustedDocument) check(p *planner) *Error {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: d.text}, p.limits.tokens)
	if err != nil {
		return p.parseError(err)
	}
	names := []string{""}
	if len(doc.Operations) > 0 {
		names = nil
	}
	for _, op := range doc.Operations {
		names = append(names, op.Name)
	}
	for _, name := range names {
		if _, errs := p.planOf(planKey{d.hash, name}, d.text); errs != nil {
			return errs[0]
		}
	}
	return nil
}

func readTrusted(path string) (*trustedDocuments, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	wrong := func(err error) error {
		return &adviceError{
			fmt.Errorf("trusted documents: %s: %w", path, err),
			`it has to be a JSON object of ids and documents, {"id": "query …"}, or Apollo's persisted query manifest`,
		}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, wrong(errors.New("not in UTF-8"))
	}
	t := &trustedDocuments{ids: map[string]*trustedDocument{}, hashes: map[documentHash]*trustedDocument{}}
	var head struct {
		Format     string          `json:"format"`
		Operations json.RawMessage `json:"operations"`
	}
	var syntax *json.SyntaxError
	switch parsed := json.Unmarshal(data, &head); {
	case errors.As(parsed, &syntax):
		before := data[:min(int(syntax.Offset), len(data))]
		return nil, wrong(fmt.Errorf("%d:%d: %w", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n')-1, syntax))
	case parsed == nil && len(head.Operations) > 0 && head.Operations[0] == '[':
		err = t.readManifest(data)
	default: // whatever a map has under these names
		err = t.readMap(data)
	}
	switch {
	case err != nil:
		return nil, wrong(err)
	case len(t.list) == 0:
		return nil, wrong(errors.New("there is no document in it"))
	}
	return t, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var why *os.PathError
		errors.As(err, &why)
		return nil, &adviceError{fmt.Errorf("trusted documents: cannot read %s: %w", path, why.Err), "name a file that this user can read"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTrustedFile+1))
	if err != nil {
		return nil, fmt.Errorf("trusted documents: %w", err)
	}
	if len(data) > maxTrustedFile {
		return nil, &adviceError{fmt.Errorf("trusted documents: %s is larger than %d MiB", path, maxTrustedFile>>20), "take out what no client in use asks for any more"}
	}
	return data, nil
}

// readMap reads {"id": "document"}, as Relay and GraphQL Codegen write it. It looks
// at each key: encoding/json would take the last of two.
func (t *trustedDocuments) readMap(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("no JSON object")
	}
	for d.More() {
		id, err := d.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil || raw[0] != '"' {
			return fmt.Errorf("what %q stands for is no string", id)
		}
		if err := t.add(id.(string), text); err != nil {
			return err
		}
	}
	return nil
}

// readManifest reads what Apollo's generate-persisted-query-manifest writes.
func (t *trustedDocuments) readManifest(data []byte) error {
	var m struct {
		Format     string `json:"format"`
		Version    int    `json:"version"`
		Operations []struct {
			ID   string `json:"id"`
			Body string `json:"body"`
		} `json:"operations"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.Format != "apollo-persisted-query-manifest" || m.Version != 1 {
		return fmt.Errorf("the format %q, version %d, is not known", m.Format, m.Version)
	}
	for _, op := range m.Operations {
		if err := t.add(op.ID, op.Body); err != nil {
			return err
		}
	}
	return nil
}
