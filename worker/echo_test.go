package worker

import (
	"encoding/json"
	"fmt"

	graphql "github.com/graph-gophers/graphql-go"
)

// echoArgs is what reached the resolver of echo.
type echoArgs struct {
	Int      int32        `json:"int"`
	Required int32        `json:"required"`
	Float    *float64     `json:"float,omitempty"`
	String   string       `json:"string"`
	Boolean  *bool        `json:"boolean,omitempty"`
	ID       *graphql.ID  `json:"id,omitempty"`
	Enum     string       `json:"enum"`
	List     *[]int32     `json:"list,omitempty"`
	Matrix   *[]*[]*int32 `json:"matrix,omitempty"`
	Input    *echoInput   `json:"input,omitempty"`
	Any      *anything    `json:"any,omitempty"`
	OneOf    *echoOneOf   `json:"oneOf,omitempty"`
}

type echoInput struct {
	A  int32        `json:"a"`
	B  *string      `json:"b,omitempty"`
	C  *echoInput   `json:"c,omitempty"`
	D  *[]echoInput `json:"d,omitempty"`
	E  string       `json:"e"`
	ID *graphql.ID  `json:"id,omitempty"`
}

type echoOneOf struct {
	X *int32  `json:"x,omitempty"`
	Y *string `json:"y,omitempty"`
}

// anything is a custom scalar that shows the Go types of what it got.
type anything struct{ types string }

func (anything) ImplementsGraphQLType(name string) bool { return name == "Any" }

func (a *anything) UnmarshalGraphQL(v any) error {
	a.types = fmt.Sprintf("%#v", v)
	return nil
}

func (a anything) MarshalJSON() ([]byte, error) { return json.Marshal(a.types) }

func (*testRoot) Echo(args echoArgs) (string, error) {
	b, err := json.Marshal(args)
	return string(b), err
}
