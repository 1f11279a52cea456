package worker

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	graphql "github.com/graph-gophers/graphql-go"
)

// shelterSchema has one of each thing that a schema can have. What its fields
// answer tells the arguments that reached them.
//
//go:embed testdata/differential/schema.graphql
var shelterSchema string

type shelter struct{}

// told is what a resolver got, as one string.
func told(args any) string {
	b, err := json.Marshal(args)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

type place struct {
	Lat, Lon float64
	Within   int32
	ID       *graphql.ID
}

type filter struct {
	Name   *string
	MinAge int32
	Moods  []string
	Near   *place
	Not    *filter
	Any    *[]filter
	At     *[]*[]*place
	Label  *anything
}

type (
	namedArgs struct{ Name *string }
	moodArg   struct{ Mood *string }
	unitArg   struct{ Unit string }
	pickArgs  struct {
		One struct {
			ID    *graphql.ID
			Name  *string
			Place *place
			Tags  *[]string
		}
	}
	friendsArgs struct {
		First int32
		Named *[]string
	}
	animalsArgs struct {
		First int32
		Where *filter
		Order []struct {
			By         string
			Descending bool
		}
	}
	catArgs struct {
		Name string
		Mood string
	}
	measureArgs struct {
		Length *float64
		Unit   string
		Exact  bool
	}
	anyArgs struct {
		Value *anything
		Day   *day
	}
	adoptArgs struct {
		Input struct {
			Animal graphql.ID
			By     string
			Note   *string
			Place  place
			On     *day
		}
	}
	renameArgs struct {
		ID   graphql.ID
		Name string
	}
)

// day is a custom scalar that refuses what begins with "no".
type day struct{ anything }

func (day) ImplementsGraphQLType(name string) bool { return name == "Day" }

func (*shelter) Hello() string { return "world" }

func (*shelter) Animal(args struct{ ID graphql.ID }) *animal {
	switch args.ID {
	case "dog":
		return &animal{newDog(told(args))}
	case "":
		return nil
	}
	return &animal{newCat(told(args))}
}

func (*shelter) Animals(args animalsArgs) []*animal {
	first := newDog(told(args))
	return []*animal{{newCat("first")}, {first}}
}

func (*shelter) Cat(args catArgs) *animalCat               { return newCat(told(args)) }
func (*shelter) Dog(args struct{ Name string }) *animalDog { return newDog(told(args)) }

func (*shelter) Named(args namedArgs) *named {
	switch {
	case args.Name == nil:
		return nil
	case *args.Name == "x":
		return &named{&person{told(args)}}
	case *args.Name == "Tama":
		return &named{newCat(told(args))}
	}
	return &named{newDog(told(args))}
}

func (*shelter) Found(args struct{ Moods *[]string }) []*finding {
	return []*finding{{newCat(told(args))}, {newDog("found")}, {&person{"finder"}}}
}

func (*shelter) Pets() *[]*[]*finding { return &[]*[]*finding{{{newCat("a")}, {newDog("b")}}, nil, {}} }

func (*shelter) Pick(args pickArgs) string { return told(args) }

func (*shelter) Matrix(args struct{ Cells []*[]int32 }) *[]*[]int32 { return &args.Cells }

func (*shelter) Measure(args measureArgs) *float64 {
	n := float64(len(told(args)))
	return &n
}

func (*shelter) Any(args anyArgs) *anything { return &anything{told(args)} }

func (*shelter) Ids(args struct{ List []graphql.ID }) []graphql.ID { return args.List }

func (*shelter) Old(args struct{ Arg *int32 }) *string {
	s := told(args)
	return &s
}

func (*shelter) Adopt(args adoptArgs) *person { return &person{told(args)} }

func (*shelter) Rename(args renameArgs) *animal { return &animal{newDog(told(args))} }

func (*shelter) Arrivals(context.Context, moodArg) <-chan *animalCat { return nil }
func (*shelter) Departures(context.Context) <-chan *finding          { return nil }

// animal, named and finding are an object seen as one of several types.
type (
	animal  struct{ of }
	named   struct{ of }
	finding struct{ any }
)

type of interface {
	ID() graphql.ID
	Name() string
	Age(unitArg) *int32
	Friends(friendsArgs) *[]*animal
}

func (n *named) ToAnimal() (*animal, bool) {
	_, isPerson := n.of.(*person)
	return &animal{n.of}, !isPerson
}
func (a *animal) ToCat() (*animalCat, bool)  { c, ok := a.of.(*animalCat); return c, ok }
func (a *animal) ToDog() (*animalDog, bool)  { d, ok := a.of.(*animalDog); return d, ok }
func (n *named) ToCat() (*animalCat, bool)   { c, ok := n.of.(*animalCat); return c, ok }
func (n *named) ToDog() (*animalDog, bool)   { d, ok := n.of.(*animalDog); return d, ok }
func (n *named) ToPerson() (*person, bool)   { p, ok := n.of.(*person); return p, ok }
func (f *finding) ToCat() (*animalCat, bool) { c, ok := f.any.(*animalCat); return c, ok }
func (f *finding) ToDog() (*animalDog, bool) { d, ok := f.any.(*animalDog); return d, ok }
func (f *finding) ToPerson() (*person, bool) { p, ok := f.any.(*person); return p, ok }

type creature struct{ name string }

func (c creature) ID() graphql.ID { return graphql.ID("id of " + c.name) }
func (c creature) Name() string   { return c.name }
func (c creature) Age(args unitArg) *int32 {
	n := int32(len(args.Unit))
	return &n
}

func (c creature) Friends(args friendsArgs) *[]*animal {
	if args.First < 1 {
		return nil
	}
	return &[]*animal{{newDog(fmt.Sprint(told(args), " of ", c.name))}}
}

type animalCat struct {
	creature
	Mood  string
	Lives int32
	Toys  []string
}

func newCat(name string) *animalCat {
	return &animalCat{creature{name}, "CALM", 9, []string{"ball", "\"quoted\"\n"}}
}

func (*animalCat) Weight() *int32 { return nil }

type animalDog struct {
	creature
	Toys   *string
	Weight *float64
}

func newDog(name string) *animalDog {
	w := 7.5
	return &animalDog{creature{name}, nil, &w}
}

func (*animalDog) Knows(args struct{ Command string }) bool { return len(args.Command)%2 == 0 }

func (d *animalDog) Owner(args struct{ Formerly bool }) *person { return &person{told(args)} }

// person has the methods of an animal, which the schema does not show.
type person struct{ name string }

func (p *person) ID() graphql.ID                 { return "" }
func (p *person) Name() string                   { return p.name }
func (p *person) Age(unitArg) *int32             { return nil }
func (p *person) Friends(friendsArgs) *[]*animal { return nil }
func (p *person) Pets(args struct{ Like *filter }) []*finding {
	return []*finding{{newCat(told(args))}}
}
func (p *person) Born() *day { return nil }
