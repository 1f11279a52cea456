package main

import (
	"os"
	"strconv"
	"testing"

	"go.yaml.in/yaml/v4"
)

// What is printed for the HPA is for the manifests as they are: an overlay that was given
// a percentage of another request would have twice as many pods, or half.
func TestTheBaseIsWhatItIsTakenFor(t *testing.T) {
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Name      string
						Resources struct{ Requests, Limits struct{ CPU string } }
					}
				}
			}
		}
	}
	var hpa struct {
		Spec struct {
			MaxReplicas int `yaml:"maxReplicas"`
		}
	}
	for file, to := range map[string]any{"deployment": &deployment, "hpa": &hpa} {
		text, err := os.ReadFile("../../k8s/base/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, to); err != nil {
			t.Fatal(file, err)
		}
	}
	c := deployment.Spec.Template.Spec.Containers[0]
	cores := func(text string) float64 {
		n, err := strconv.ParseFloat(text, 64) // no "500m" so far
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if share := cores(c.Resources.Requests.CPU) / cores(c.Resources.Limits.CPU); c.Name != "neko-api" || share != requestedShare {
		t.Errorf("%s requests %v of its limit, and the calculator says %v", c.Name, share, requestedShare)
	}
	if hpa.Spec.MaxReplicas != mostPods {
		t.Errorf("maxReplicas %d, and the calculator says %d", hpa.Spec.MaxReplicas, mostPods)
	}
}
