module github.com/nekoctl/neko

go 1.26.0

require (
	github.com/graph-gophers/graphql-go v1.11.0
	github.com/vektah/gqlparser/v2 v2.5.64
	golang.org/x/text v0.43.0
)

require github.com/agnivade/levenshtein v1.2.2 // indirect
