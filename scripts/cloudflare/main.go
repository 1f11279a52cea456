// Command cloudflare is a stand-in for Cloudflare's Terraform provider, which cannot be had where there is no
// GitHub: it has the resources of the real one, with all their attributes, types and listed values, out of the jsii
// manifest of the npm package @cdktf/provider-cloudflare, which is generated from the real one's schema. It calls no
// API: a plan is what the configuration says. So it sees names, types, references and values that cannot be, and not
// what Cloudflare itself would refuse. See check.sh.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func main() {
	resources, err := load(os.Getenv("NEKO_CLOUDFLARE_JSII"))
	if err != nil {
		log.Fatal(err)
	}
	err = tf6server.Serve("registry.opentofu.org/cloudflare/cloudflare", func() tfprotov6.ProviderServer { return &provider{resources: resources} })
	if err != nil {
		log.Fatal(err)
	}
}

// manifest is what is read of jsii's.
type manifest struct {
	Types map[string]struct {
		Kind       string
		Base       string
		Properties []property
	}
}

type property struct {
	Name     string
	Optional bool
	Type     typeRef
	Docs     struct{ Summary, Remarks string }
}

type typeRef struct {
	Primitive  string
	FQN        string
	Collection *struct {
		Kind        string
		ElementType typeRef
	}
	Union *struct{ Types []typeRef }
}

const module = "@cdktf/provider-cloudflare."

// load is the schema of each resource by its name.
func load(path string) (map[string]*tfprotov6.Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NEKO_CLOUDFLARE_JSII names no manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	resources := map[string]*tfprotov6.Schema{}
	for name, t := range m.Types {
		if t.Base != "cdktf.TerraformResource" {
			continue
		}
		config, ok := m.Types[name+"Config"]
		if !ok {
			return nil, fmt.Errorf("%s has no configuration", name)
		}
		block := &tfprotov6.SchemaBlock{}
		for _, p := range config.Properties {
			if !slices.Contains([]string{"connection", "count", "dependsOn", "forEach", "lifecycle", "provider", "provisioners"}, p.Name) {
				block.Attributes = append(block.Attributes, m.attribute(p))
			}
		}
		if !slices.ContainsFunc(block.Attributes, func(a *tfprotov6.SchemaAttribute) bool { return a.Name == "id" }) {
			block.Attributes = append(block.Attributes, &tfprotov6.SchemaAttribute{Name: "id", Type: tftypes.String, Computed: true})
		}
		resources["cloudflare_"+snake(name[strings.LastIndex(name, ".")+1:])] = &tfprotov6.Schema{Block: block}
	}
	return resources, nil
}

func (m *manifest) attribute(p property) *tfprotov6.SchemaAttribute {
	a := &tfprotov6.SchemaAttribute{Name: snake(p.Name), Required: !p.Optional, Optional: p.Optional, Description: p.Docs.Summary + "\n" + p.Docs.Remarks}
	a.Type, a.NestedType = m.typeOf(p.Type)
	return a
}

// typeOf is a type, or an object of attributes.
func (m *manifest) typeOf(t typeRef) (tftypes.Type, *tfprotov6.SchemaObject) {
	switch {
	case t.Union != nil:
		for _, u := range t.Union.Types {
			if u.FQN != "cdktf.IResolvable" {
				return m.typeOf(u)
			}
		}
	case t.Collection != nil:
		element, object := m.typeOf(t.Collection.ElementType)
		isMap := t.Collection.Kind == "map"
		switch {
		case object != nil && isMap:
			object.Nesting = tfprotov6.SchemaObjectNestingModeMap
			return nil, object
		case object != nil:
			object.Nesting = tfprotov6.SchemaObjectNestingModeList
			return nil, object
		case isMap && element.Is(tftypes.DynamicPseudoType): // how the manifest writes what may be anything
			return tftypes.DynamicPseudoType, nil
		case isMap:
			return tftypes.Map{ElementType: element}, nil
		}
		return tftypes.List{ElementType: element}, nil
	case strings.HasPrefix(t.FQN, module):
		object := &tfprotov6.SchemaObject{Nesting: tfprotov6.SchemaObjectNestingModeSingle}
		for _, p := range m.Types[t.FQN].Properties {
			object.Attributes = append(object.Attributes, m.attribute(p))
		}
		return nil, object
	case t.Primitive == "string":
		return tftypes.String, nil
	case t.Primitive == "number":
		return tftypes.Number, nil
	case t.Primitive == "boolean":
		return tftypes.Bool, nil
	}
	return tftypes.DynamicPseudoType, nil
}

var upper = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// snake is a name as Terraform has it.
func snake(name string) string {
	return strings.ToLower(upper.ReplaceAllString(name, "${1}_$2"))
}

// provider answers what validate and plan ask; anything else it is not asked.
type provider struct {
	tfprotov6.ProviderServer
	resources map[string]*tfprotov6.Schema
}

func (p *provider) schema() *tfprotov6.Schema {
	return &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{Attributes: []*tfprotov6.SchemaAttribute{{Name: "api_token", Type: tftypes.String, Optional: true, Sensitive: true}}}}
}

func (p *provider) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	r := &tfprotov6.GetMetadataResponse{}
	for name := range p.resources {
		r.Resources = append(r.Resources, tfprotov6.ResourceMetadata{TypeName: name})
	}
	return r, nil
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return &tfprotov6.GetProviderSchemaResponse{Provider: p.schema(), ResourceSchemas: p.resources}, nil
}

func (p *provider) GetResourceIdentitySchemas(context.Context, *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov6.GetResourceIdentitySchemasResponse{}, nil
}

func (p *provider) ValidateProviderConfig(_ context.Context, r *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p *provider) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return &tfprotov6.ConfigureProviderResponse{}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

func (p *provider) ReadResource(_ context.Context, r *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return &tfprotov6.ReadResourceResponse{NewState: r.CurrentState}, nil
}

// ValidateResourceConfig looks at values that the schema lists.
func (p *provider) ValidateResourceConfig(_ context.Context, r *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	s := p.resources[r.TypeName]
	v, err := r.Config.Unmarshal(s.ValueType())
	if err != nil {
		return nil, err
	}
	res := &tfprotov6.ValidateResourceConfigResponse{}
	check(s.Block.Attributes, v, tftypes.NewAttributePath(), func(path *tftypes.AttributePath, text string) {
		res.Diagnostics = append(res.Diagnostics, &tfprotov6.Diagnostic{Severity: tfprotov6.DiagnosticSeverityError, Summary: "A value that there is not", Detail: text, Attribute: path})
	})
	return res, nil
}

var (
	listed = regexp.MustCompile(`Available values: ("[^"]*"(?:, "[^"]*")*)`)
	quoted = regexp.MustCompile(`"([^"]*)"`)
)

func check(attributes []*tfprotov6.SchemaAttribute, v tftypes.Value, path *tftypes.AttributePath, say func(*tftypes.AttributePath, string)) {
	var fields map[string]tftypes.Value
	if v.IsNull() || !v.IsKnown() || v.As(&fields) != nil {
		return
	}
	for _, a := range attributes {
		f, here := fields[a.Name], path.WithAttributeName(a.Name)
		if f.IsNull() || !f.IsKnown() {
			continue
		}
		if a.NestedType == nil {
			var text string
			m := listed.FindStringSubmatch(a.Description)
			if m == nil || !f.Type().Is(tftypes.String) || f.As(&text) != nil {
				continue
			}
			var values []string
			for _, q := range quoted.FindAllStringSubmatch(m[1], -1) {
				values = append(values, q[1])
			}
			if !slices.Contains(values, text) {
				say(here, fmt.Sprintf("%q is none of %s", text, strings.Join(values, ", ")))
			}
			continue
		}
		switch a.NestedType.Nesting {
		case tfprotov6.SchemaObjectNestingModeSingle:
			check(a.NestedType.Attributes, f, here, say)
		case tfprotov6.SchemaObjectNestingModeMap:
			var all map[string]tftypes.Value
			if f.As(&all) == nil {
				for key, e := range all {
					check(a.NestedType.Attributes, e, here.WithElementKeyString(key), say)
				}
			}
		default:
			var all []tftypes.Value
			if f.As(&all) == nil {
				for i, e := range all {
					check(a.NestedType.Attributes, e, here.WithElementKeyInt(i), say)
				}
			}
		}
	}
}

// UpgradeResourceState has no state to look at.
func (p *provider) UpgradeResourceState(context.Context, *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return nil, fmt.Errorf("a stand-in has no state")
}

// PlanResourceChange plans what the configuration says, with an id that is known later.
func (p *provider) PlanResourceChange(_ context.Context, r *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	typ := p.resources[r.TypeName].ValueType()
	v, err := r.ProposedNewState.Unmarshal(typ)
	if err != nil || v.IsNull() {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: r.ProposedNewState}, err
	}
	var fields map[string]tftypes.Value
	if err := v.As(&fields); err != nil {
		return nil, err
	}
	if fields["id"].IsNull() {
		fields["id"] = tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	}
	planned, err := tfprotov6.NewDynamicValue(typ, tftypes.NewValue(typ, fields))
	return &tfprotov6.PlanResourceChangeResponse{PlannedState: &planned}, err
}
