package main

import "errors"

const decideCommand = "decide"

func decide(job string) error { return errors.New("not yet: " + job) }
