package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type mitigation struct{ attackCommon }

func newMitigation(m member) *mitigation { return &mitigation{newAttackCommon(m)} }

func (m *mitigation) Techniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, m.member, store.Mitigated, a, byAttackID, newTechnique)
}
