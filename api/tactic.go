package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type tactic struct {
	attackCommon
	ShortName string
}

func newTactic(m member) *tactic {
	return &tactic{newAttackCommon(m), m.obj.ShortName}
}

func (t *tactic) Techniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, t.member, store.InThisTactic, a, byAttackID, newTechnique)
}
