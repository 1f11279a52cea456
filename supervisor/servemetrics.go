package supervisor

import (
	"net/http"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/metrics"
)

// serveMetrics answers on the control socket: app=NAME, which may be there more than once
// and be any target, is about these apps only; with by=worker, what each process says is
// told for itself.
func (m *master) serveMetrics(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var about []string
	if targets := query["app"]; len(targets) > 0 {
		list, err := m.choose(targets)
		m.look(func() {}) // or it would seem that there is no such app
		if err != nil {
			answer(w, http.StatusNotFound, asError(err))
			return
		}
		about = []string{}
		for _, c := range list {
			about = append(about, c.app.name)
		}
	}
	by := query.Get("by")
	if by != "" && by != "worker" {
		answer(w, http.StatusBadRequest, failure("by=worker", "there is no by=%s", by))
		return
	}
	text, err := m.metricsText(about, by == "worker")
	if err != nil {
		panic(http.ErrAbortHandler) // the next master answers
	}
	w.Header().Set("Content-Type", metrics.ContentType)
	_, _ = w.Write(text) // the client has gone
}

func asError(err error) *control.Error {
	if e, ok := err.(*control.Error); ok {
		return e
	}
	return &control.Error{Message: err.Error()}
}
