// Command validate judges objects of Kubernetes as an API server of 1.37 would, by its own code and offline: strict
// decoding, defaults, validation, and for pods the Pod Security Standard "restricted"; for custom resources the
// schema of their definition, with defaults and its rules in CEL.
//
//	validate DEFINITION.yaml… <OBJECTS.yaml
//
// It prints a line for each thing that is wrong, and ends with 1 if there is one.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	psa "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func main() {
	wrong, err := run(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if wrong {
		os.Exit(1)
	}
}

func run(definitions []string, in io.Reader, out io.Writer) (wrong bool, err error) {
	j := &judge{custom: map[runtimeschema.GroupVersionKind]*definition{}}
	for _, file := range definitions {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		err = documents(bytes.NewReader(text), j.define)
		if err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
	}
	if j.pods, err = psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil); err != nil {
		return false, err
	}
	n := 0
	err = documents(in, func(text []byte) error {
		n++
		name, errs := j.object(text)
		for _, err := range errs {
			wrong = true
			fmt.Fprintf(out, "%s: %v\n", name, err)
		}
		return nil
	})
	if err == nil && n == 0 {
		err = errors.New("no objects on standard input")
	}
	return wrong, err
}

// documents calls f with each of a stream that is not empty.
func documents(in io.Reader, f func(text []byte) error) error {
	r := yamlstream.NewYAMLReader(bufio.NewReader(in))
	for {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			return err
		}
		if v == nil {
			continue
		}
		if err := f(text); err != nil {
			return err
		}
	}
}

type judge struct {
	custom map[runtimeschema.GroupVersionKind]*definition
	pods   psapolicy.Evaluator
}

// definition is one version of a custom resource.
type definition struct {
	structural *schema.Structural
	schema     crdvalidation.SchemaValidator
	rules      *cel.Validator
	namespaced bool
}

func (j *judge) define(text []byte) error {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return err
	}
	if crd.Kind != "CustomResourceDefinition" {
		return fmt.Errorf("a %s, and no CustomResourceDefinition", crd.Kind)
	}
	for _, v := range crd.Spec.Versions {
		if !v.Served {
			continue
		}
		var internal apiextensions.CustomResourceValidation
		if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, &internal, nil); err != nil {
			return err
		}
		structural, err := schema.NewStructural(internal.OpenAPIV3Schema)
		if err != nil {
			return err
		}
		validator, _, err := crdvalidation.NewSchemaValidator(internal.OpenAPIV3Schema)
		if err != nil {
			return err
		}
		gvk := runtimeschema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}
		j.custom[gvk] = &definition{
			structural: structural, schema: validator, rules: cel.NewValidator(structural, true, celconfig.PerCallLimit),
			namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		}
	}
	return nil
}

func list(errs field.ErrorList) (out []error) {
	for _, err := range errs {
		out = append(out, err)
	}
	return out
}

// object is the name of an object, and what is wrong with it.
func (j *judge) object(text []byte) (string, []error) {
	var u unstructured.Unstructured
	raw, err := yaml.YAMLToJSONStrict(text)
	if err == nil {
		err = json.Unmarshal(raw, &u.Object) // with integers that are integers
	}
	if err != nil {
		return "an object", []error{err}
	}
	name := u.GetKind() + "/" + u.GetName()
	if d, ok := j.custom[u.GroupVersionKind()]; ok {
		return name, d.check(&u)
	}
	return name, j.builtin(text)
}

func (d *definition) check(u *unstructured.Unstructured) (errs []error) {
	unknown := pruning.PruneWithOptions(runtime.DeepCopyJSON(u.Object), d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, fmt.Errorf("unknown field %q", path))
	}
	// What is between the object and its metadata: labels that are numbers, and the like.
	var meta struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
	}
	raw, err := yaml.Marshal(map[string]any{"metadata": u.Object["metadata"]})
	if err == nil {
		err = yaml.UnmarshalStrict(raw, &meta)
	}
	if err != nil {
		return append(errs, err)
	}
	errs = append(errs, list(validation.ValidateObjectMeta(&meta.Metadata, d.namespaced, validation.NameIsDNSSubdomain, field.NewPath("metadata")))...)
	defaulting.Default(u.Object, d.structural)
	errs = append(errs, list(crdvalidation.ValidateCustomResource(nil, u.Object, d.schema))...)
	errs = append(errs, list(listtype.ValidateListSetsAndMaps(nil, d.structural, u.Object))...)
	if len(errs) == 0 {
		broken, _ := d.rules.Validate(context.Background(), nil, d.structural, u.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, list(broken)...)
	}
	return errs
}

// gates are features that validation asks for by name, and that are off by default.
var gates = map[string]bool{"WorkloadWithJob": false, "HPAScaleToZero": false}

func (j *judge) builtin(text []byte) []error {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	versioned, gvk, err := codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		return []error{err}
	}
	legacyscheme.Scheme.Default(versioned)
	internal, err := legacyscheme.Scheme.ConvertToVersion(versioned, runtimeschema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return []error{err}
	}
	errs := list(legacyscheme.Scheme.Validate(context.Background(), gates, versioned))
	switch o := internal.(type) {
	case *core.Namespace:
		errs = append(errs, list(corevalidation.ValidateNamespace(o))...)
	case *core.ServiceAccount:
		errs = append(errs, list(corevalidation.ValidateServiceAccount(o))...)
	case *core.ConfigMap:
		errs = append(errs, list(corevalidation.ValidateConfigMap(o))...)
	case *core.Secret:
		errs = append(errs, list(corevalidation.ValidateSecret(o))...)
	case *core.Service:
		if o.Spec.ClusterIP == core.ClusterIPNone { // as the API server does before
			o.Spec.ClusterIPs = []string{core.ClusterIPNone}
		}
		errs = append(errs, list(corevalidation.ValidateServiceCreate(o))...)
	case *apps.Deployment:
		errs = append(errs, list(appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)))...)
	case *apps.StatefulSet:
		errs = append(errs, list(appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{}, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)))...)
	case *batch.CronJob:
		errs = append(errs, list(batchvalidation.ValidateCronJobCreate(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.JobTemplate.Spec.Template, nil)))...)
	case *autoscaling.HorizontalPodAutoscaler:
		errs = append(errs, list(autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{
			MinReplicasLowerBound:           1,
			ScaleTargetRefValidationOptions: autoscalingvalidation.CrossVersionObjectReferenceValidationOptions{RequiredCoveredByDeclarative: true},
			ObjectMetricsValidationOptions:  autoscalingvalidation.CrossVersionObjectReferenceValidationOptions{AllowEmptyAPIGroup: true},
		}))...)
	case *policy.PodDisruptionBudget:
		errs = append(errs, list(policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}))...)
	case *networking.NetworkPolicy:
		errs = append(errs, list(networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}))...)
	case *networking.Ingress:
		errs = append(errs, list(networkingvalidation.ValidateIngressCreate(o))...)
	default:
		return append(errs, fmt.Errorf("this program cannot validate a %s: add it to scripts/k8s/validate", gvk.Kind))
	}
	var template *corev1.PodTemplateSpec
	switch o := versioned.(type) {
	case *appsv1.Deployment:
		template = &o.Spec.Template
	case *appsv1.StatefulSet:
		template = &o.Spec.Template
	case *batchv1.CronJob:
		template = &o.Spec.JobTemplate.Spec.Template
	}
	if template != nil {
		level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
		for _, r := range j.pods.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
			if !r.Allowed {
				errs = append(errs, fmt.Errorf("not restricted: %s (%s)", r.ForbiddenReason, r.ForbiddenDetail))
			}
		}
	}
	// The same by both ways is said once.
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
}
