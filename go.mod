module github.com/nekoctl/neko

go 1.26
