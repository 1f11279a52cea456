package main

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	prom "github.com/nekoctl/neko/supervisor/metrics"
)

const metricsHelp = `Show what the daemon knows of apps in numbers, and what their processes count,
in Prometheus's text format: what GET /metrics answers at the address that
a neko.yaml sets ("metrics: 127.0.0.1:9464"), which it need not.

Counters and histograms are sums over all processes that an app has had, also
over those that have ended. Gauges have the label worker.

Usage:
    nekoctl metrics [APP...] [--by-worker] [--json]

Options:
    --by-worker  what each process says that serves, not summed
    --json       print JSON: for each metric name, type, help and series, which
                 have labels and value, or count, sum, buckets and quantiles

Examples:
    $ nekoctl metrics
    $ nekoctl metrics web --by-worker
    $ nekoctl metrics web --json | jq -r '.[].name'
`

func (c *cli) metricsCommand() *cobra.Command {
	var byWorker, asJSON bool
	cmd := &cobra.Command{
		Use:               "metrics",
		Long:              metricsHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			text, err := client.Metrics(cmd.Context(), args, byWorker)
			if err != nil {
				return err
			}
			if !asJSON {
				_, err = c.out.Write(text)
				return err
			}
			page, err := prom.ParseOurs(text)
			if err != nil {
				return err
			}
			return c.json(metricsAsJSON(page))
		},
	}
	cmd.Flags().BoolVar(&byWorker, "by-worker", false, "")
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	return cmd
}

type jsonMetric struct {
	Name   string       `json:"name"`
	Type   prom.Kind    `json:"type"`
	Help   string       `json:"help"`
	Series []jsonSeries `json:"series"`
}

type jsonSeries struct {
	Labels    map[string]string `json:"labels"`
	Value     *jsonNumber       `json:"value,omitempty"`
	Count     *jsonNumber       `json:"count,omitempty"`
	Sum       *jsonNumber       `json:"sum,omitempty"`
	Buckets   []jsonBucket      `json:"buckets,omitempty"`
	Quantiles []jsonQuantile    `json:"quantiles,omitempty"`
}

type jsonBucket struct {
	LE    jsonNumber `json:"le"`
	Count jsonNumber `json:"count"`
}

type jsonQuantile struct {
	Quantile jsonNumber `json:"quantile"`
	Value    jsonNumber `json:"value"`
}

// jsonNumber is one that JSON may have no word for: "+Inf", "NaN".
type jsonNumber float64

func (n jsonNumber) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return json.Marshal(float64(n))
}

func metricsAsJSON(page prom.Page) []jsonMetric {
	list := make([]jsonMetric, 0, len(page))
	for _, f := range page {
		m := jsonMetric{Name: f.Name, Type: f.Kind, Help: f.Help, Series: make([]jsonSeries, 0, len(f.Series))}
		for _, s := range f.Series {
			j := jsonSeries{Labels: map[string]string{}}
			for _, l := range prom.SplitLabels(s.Labels) {
				j.Labels[l.Name] = l.Value
			}
			for _, q := range s.Quantiles {
				j.Quantiles = append(j.Quantiles, jsonQuantile{jsonNumber(q.Quantile), jsonNumber(q.Value)})
			}
			if d := s.Distribution; d != nil {
				count, sum := jsonNumber(d.Count), jsonNumber(d.Sum)
				j.Count, j.Sum = &count, &sum
				for i, bound := range d.Bounds {
					j.Buckets = append(j.Buckets, jsonBucket{jsonNumber(bound), jsonNumber(d.Counts[i])})
				}
			} else {
				value := jsonNumber(s.Value)
				j.Value = &value
			}
			m.Series = append(m.Series, j)
		}
		list = append(list, m)
	}
	return list
}
