package ecosystem

import "github.com/nekoctl/neko/supervisor/spec"

func Update(app spec.App, c *Config, o Options, updateEnv bool) (spec.App, error) { return app, nil }
