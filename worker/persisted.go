package worker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// A client may name a document by its SHA-256 instead of sending it: automatic
// persisted queries, Apollo's protocol. If it is not known the client sends it once
// more, with its hash, and it is kept for the next. Or it names one of the trusted
// documents (trusted.go), by whatever id that has in the list.

// hashPrefix is what GraphQL over HTTP puts before a hash that is a documentId.
const hashPrefix = "sha256:"

// openDocuments reads the list of trusted documents, and finds a place for the
// others.
func (w *Worker) openDocuments() (err error) {
	c := &w.config
	if c.TrustedOnly && c.TrustedDocuments == "" {
		return &adviceError{errors.New("trusted documents only, and there is no list of them"), "name its file"}
	}
	if c.TrustedDocuments != "" {
		if w.trusted, err = loadTrusted(c.TrustedDocuments, w.planner); err != nil {
			return err
		}
	}
	if c.MaxDocuments < 0 || c.TrustedOnly {
		return nil
	}
	w.documents = newOwnDocuments(c.MaxDocuments, c.MaxDocumentBytes)
	if dir := os.Getenv("NEKO_RUN_DIR"); filepath.IsAbs(dir) {
		host, err := newHostDocuments(dir, c.MaxDocuments, c.MaxDocumentBytes, c.Log)
		if err != nil {
			host.complain(err)
			return nil
		}
		w.documents = host
	}
	return nil
}

// find finds out which document op is about, and fills in its hash. The text is ""
// if it is not at hand: the plan may be known by the hash.
func (w *Worker) find(op *operation) (text string, err *Error) {
	switch {
	case op.documentID != "":
		return w.findByID(op)
	case op.persisted == nil:
		op.document = hashOf(op.query)
		if w.config.TrustedOnly && w.trusted.text(op.document) == "" {
			return "", NewError(CodeNotTrusted, "this document is not in the list of those that are served here")
		}
		return op.query, nil
	case op.query == "":
		return w.findByHash(op, op.persisted.SHA256Hash)
	}
	op.document = hashOf(op.query)
	trusted := w.trusted.text(op.document) != ""
	switch {
	case w.config.TrustedOnly && !trusted:
		return "", NewError(CodeNotTrusted, "this document is not in the list of those that are served here")
	case w.documents == nil && !trusted:
		return "", notSupported()
	case !strings.EqualFold(op.persisted.SHA256Hash, op.document.String()):
		return "", NewError(CodeHashMismatch, "provided sha does not match query")
	case !trusted:
		op.register = op.query
	}
	return op.query, nil
}

// findByID finds a document by a documentId.
func (w *Worker) findByID(op *operation) (text string, err *Error) {
	if d := w.trusted.byID(op.documentID); d != nil {
		op.document = d.hash
		return d.text, nil
	}
	if hash, ok := strings.CutPrefix(op.documentID, hashPrefix); ok {
		return w.findByHash(op, hash)
	}
	return "", notInList()
}

// findByHash finds one by its hash in hexadecimal, or by an id of the list that is
// sent in the place of one.
func (w *Worker) findByHash(op *operation, hash string) (text string, err *Error) {
	if d := w.trusted.byID(hash); d != nil {
		op.document = d.hash
		return d.text, nil
	}
	parsed, ok := parseHash(hash)
	if text := w.trusted.text(parsed); ok && text != "" {
		op.document = parsed
		return text, nil
	}
	switch {
	case w.config.TrustedOnly:
		return "", notInList()
	case w.documents == nil:
		return "", notSupported()
	case !ok:
		return "", notFound()
	}
	op.document = parsed
	return "", nil
}

// planned is the plan of the operation, whose text is "" if it has to be found by
// its hash.
func (w *Worker) planned(op *operation, text string) (*Plan, []*Error) {
	key := planKey{op.document, op.operationName}
	if text != "" {
		return w.planner.planOf(key, text)
	}
	// Not the plan of a document that was only sent: whether there is one would tell
	// who guesses what others have written into theirs, a password for one.
	if plan, _ := w.planner.cache.get(key); plan != nil && plan.named.Load() {
		w.planner.hits.Add(1)
		w.documents.used(op.document)
		return plan, nil
	}
	if text = w.documents.get(op.document); text == "" {
		op.document = documentHash{}
		return nil, []*Error{notFound()}
	}
	plan, errs := w.planner.planOf(key, text)
	if errs == nil {
		plan.named.Store(true)
	}
	return plan, errs
}

// Clients look for these messages, and some for these codes.
func notFound() *Error     { return NewError(CodeNotPersisted, "PersistedQueryNotFound") }
func notSupported() *Error { return NewError(CodeNoPersisting, "PersistedQueryNotSupported") }
func notInList() *Error {
	return NewError(CodeNotInList, "no document of this id is in the list of those that are served here")
}
