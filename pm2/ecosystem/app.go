package ecosystem

import "github.com/nekoctl/neko/supervisor/spec"

// App is the app, complete and checked. An error is [spec.Errors].
func (c *Config) App(o Options) (spec.App, error) { return spec.App{}, nil }
