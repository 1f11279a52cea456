// A module of its own, for those of packages and image.
module github.com/nekoctl/neko/scripts/release

go 1.26.0
