package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// dashboard is one file. What a person has to say of it is here; what Grafana wants to know
// besides is the same for all, and in json.
type dashboard struct {
	uid       string // for ever: links and bookmarks have it
	title     string
	about     string
	variables []variable
	rows      []row
}

// variable is a choice at the top of a dashboard, beside that of the data source.
type variable struct {
	name, label string
	values      string // label_values(…)
}

type row struct {
	title  string
	closed bool // its panels ask nothing until it is opened
	panels []panel
}

// panel is one picture. Its id is made of its row and title, so that links to it survive others
// that are put before it.
type panel struct {
	kind    kind
	title   string
	about   string // what it shows, and what to think of it
	unit    string // of Grafana's list
	width   int    // of 24; 0 is 8
	height  int    // 0 is 8, of a number 4
	stacked bool
	max     float64  // of the axis, if it is known
	steps   []step   // at what values it turns to what color
	names   []naming // of values
	columns []column // of a table: one for each query
	queries []query  // A, B, …
}

type kind string

const (
	graph   kind = "timeseries"
	number  kind = "stat"
	states  kind = "state-timeline"
	list    kind = "table"
	heatmap kind = "heatmap"
)

type query struct {
	expr   string
	legend string // {{label}}
}

type step struct {
	from  float64
	color string
}

type naming struct {
	value       float64
	text, color string
}

type column struct{ title, unit string }

// object keeps what it is made of in the order of its keys' names, so that a diff of two files is one of their content.
type object = map[string]any

const schemaVersion = 39 // Grafana 11.0; later ones take it over as they load it

func (d dashboard) file() string { return d.uid + ".json" }

var source = object{"type": "prometheus", "uid": "${datasource}"}

func (d dashboard) json() ([]byte, error) {
	var panels []any
	ids := map[int]string{}
	y := 0
	for _, r := range d.rows {
		var inside []any
		x, line, below := 0, y+1, y+1
		for _, p := range r.panels {
			w, h := p.size()
			if x+w > 24 {
				x, line = 0, below
			}
			id := idOf(r.title + "/" + p.title)
			if other, taken := ids[id]; taken {
				return nil, fmt.Errorf("%s: the panels %q and %q have one id", d.uid, other, p.title)
			}
			ids[id] = p.title
			inside = append(inside, p.json(id, object{"x": x, "y": line, "w": w, "h": h}))
			x += w
			below = max(below, line+h)
		}
		head := object{
			"type": "row", "id": idOf(r.title), "title": r.title, "collapsed": r.closed, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": 24, "h": 1},
		}
		if r.closed { // what is in it lies in the row itself, and takes no room
			head["panels"], inside, below = inside, nil, y+1
		}
		panels = append(append(panels, head), inside...)
		y = below
	}
	variables := []any{object{
		"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0,
		"includeAll": false, "multi": false, "options": []any{}, "regex": "", "skipUrlSync": false, "current": object{"text": "", "value": ""},
	}}
	for _, v := range d.variables {
		variables = append(variables, object{
			"name": v.name, "label": v.label, "type": "query", "datasource": source, "definition": v.values,
			"query":   object{"qryType": 1, "query": v.values, "refId": "Prometheus-" + v.name},
			"refresh": 2, "sort": 7, "hide": 0, "includeAll": true, "allValue": ".*", "multi": true, "options": []any{}, "regex": "", "skipUrlSync": false,
			"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
		})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(object{
		"uid": d.uid, "title": d.title, "description": d.about, "tags": []string{"neko"},
		"schemaVersion": schemaVersion, "version": 1, "editable": true, "graphTooltip": 1, "fiscalYearStartMonth": 0, "weekStart": "",
		"timezone": "browser", "refresh": "30s", "time": object{"from": "now-3h", "to": "now"}, "timepicker": object{},
		"panels": panels, "templating": object{"list": variables},
		"links": []any{object{
			"type": "dashboards", "tags": []string{"neko"}, "title": "neko", "asDropdown": false, "includeVars": true, "keepTime": true,
			"targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
		}, object{
			"type": "link", "tags": []string{}, "title": "Runbook", "url": "https://github.com/nekoctl/neko/blob/main/docs/alerts.md", "targetBlank": true,
			"asDropdown": false, "includeVars": false, "keepTime": false, "icon": "doc", "tooltip": "what to do",
		}},
		"annotations": object{"list": []any{
			object{
				"name": "Alerts", "enable": true, "hide": false, "iconColor": "red", "datasource": source,
				"expr": alertsFiring, "step": "60s", "titleFormat": "{{alertname}}", "textFormat": "{{app}} {{instance}}", "tagKeys": "severity", "useValueForTime": false,
			},
			object{
				"name": "Reloads", "enable": true, "hide": false, "iconColor": "blue", "datasource": source,
				"expr": reloads, "step": "60s", "titleFormat": "reload: {{result}}", "textFormat": "{{app}} {{instance}}", "tagKeys": "", "useValueForTime": false,
			},
		}},
	})
	return out.Bytes(), err
}

// What stands as marks in all pictures.
const (
	alertsFiring = `ALERTS{alertname=~"Neko.*",alertstate="firing",severity!="info"}`
	reloads      = `sum by (instance, app, result) (increase(neko_app_reloads_total{instance=~"$instance",app=~"$app"}[1m])) > 0`
)

// idOf is a positive number, the same for the same name.
func idOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32()>>1)%1_000_000 + 1
}

func (p panel) size() (w, h int) {
	if w, h = p.width, p.height; w == 0 {
		w = 8
	}
	if h == 0 {
		if h = 8; p.kind == number {
			h = 4
		}
	}
	return w, h
}

func (p panel) json(id int, at object) object {
	var targets []any
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.expr, "legendFormat": q.legend, "editorMode": "code", "range": true, "instant": false}
		switch p.kind {
		case number:
			t["range"], t["instant"] = false, true
		case list:
			t["range"], t["instant"], t["format"] = false, true, "table"
		case heatmap:
			t["format"] = "heatmap"
		}
		targets = append(targets, t)
	}
	steps := []any{object{"color": "green", "value": nil}}
	for _, s := range p.steps {
		steps = append(steps, object{"color": s.color, "value": s.from})
	}
	values := object{}
	for i, n := range p.names {
		values[fmt.Sprint(n.value)] = object{"index": i, "text": n.text, "color": n.color}
	}
	mappings := []any{}
	if len(values) > 0 {
		mappings = append(mappings, object{"type": "value", "options": values})
	}
	defaults := object{"unit": p.unit, "mappings": mappings, "thresholds": object{"mode": "absolute", "steps": steps}, "color": object{"mode": "palette-classic"}}
	if p.max != 0 {
		defaults["max"] = p.max
	}
	overrides := []any{}
	var options object
	out := object{}
	switch p.kind {
	case graph:
		defaults["min"] = 0
		stacking, fill := "none", 5
		if p.stacked {
			stacking, fill = "normal", 30
		}
		lines := "off"
		if len(p.steps) > 0 {
			lines = "dashed"
		}
		defaults["custom"] = object{
			"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "spanNulls": false,
			"stacking": object{"mode": stacking, "group": "A"}, "thresholdsStyle": object{"mode": lines},
		}
		options = object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case number:
		defaults["color"] = object{"mode": "thresholds"}
		options = object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"graphMode":     "none", "colorMode": "value", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
			"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
		}
	case states:
		defaults["color"] = object{"mode": "thresholds"}
		defaults["custom"] = object{"fillOpacity": 70, "lineWidth": 0, "spanNulls": false}
		options = object{
			"mergeValues": true, "showValue": "never", "alignValue": "left", "rowHeight": 0.9,
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "single", "sort": "none"},
		}
	case heatmap:
		options = object{
			"calculate": false, "cellGap": 1, "color": object{"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange", "reverse": false, "steps": 64},
			"exemplars": object{"color": "rgba(255,0,255,0.7)"}, "legend": object{"show": true}, "rowsFrame": object{"layout": "auto"},
			"tooltip": object{"mode": "single", "yHistogram": false, "showColorScale": false},
			"yAxis":   object{"axisPlacement": "left", "unit": p.unit, "reverse": false}, "filterValues": object{"le": 1e-9}, "showValue": "never",
		}
	case list:
		options = object{"showHeader": true, "frameIndex": 0, "cellHeight": "sm", "footer": object{"show": false, "countRows": false, "fields": "", "reducer": []string{"sum"}}}
		defaults["custom"] = object{"align": "auto", "cellOptions": object{"type": "auto"}, "inspect": false, "filterable": true}
		renamed := object{}
		for i, c := range p.columns {
			renamed["Value #"+string(rune('A'+i))] = c.title
			overrides = append(overrides, object{
				"matcher":    object{"id": "byName", "options": c.title},
				"properties": []any{object{"id": "unit", "value": c.unit}},
			})
		}
		out["transformations"] = []any{
			object{"id": "merge", "options": object{}},
			object{"id": "organize", "options": object{"excludeByName": object{"Time": true, "job": true, "__name__": true}, "indexByName": object{}, "includeByName": object{}, "renameByName": renamed}},
		}
	}
	for k, v := range (object{
		"id": id, "type": string(p.kind), "title": p.title, "description": p.about, "datasource": source, "gridPos": at, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": overrides}, "options": options,
	}) {
		out[k] = v
	}
	return out
}
