package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/policy"
)

// installationToken is one of the two tokens that an installation begins with.
type installationToken struct {
	name, file string
	role       policy.Role
}

var (
	operatorToken = installationToken{"operator", "token", policy.Operator}
	gatewayToken  = installationToken{"gateway", "gateway-token", policy.Gateway}
)

// installToken makes the token in the data folder the one of its name and returns it. A folder without one gets a new token,
// but not for a database that is shared and has one already: to make another there would lock out everybody else. Then it
// returns none.
func installToken(ctx context.Context, plane *control.Plane, cfg controlConfig, t installationToken) (string, error) {
	_, err := os.Stat(cfg.Dir.path(t.file))
	if cfg.Database == "" || err == nil {
		token, err := cfg.Dir.secret(t.file)
		if err != nil {
			return "", err
		}
		return token, plane.PutToken(ctx, t.name, t.role, token)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	has, err := plane.HasToken(ctx, t.name)
	if err != nil {
		return "", err
	}
	if !has {
		token, err := cfg.Dir.secret(t.file)
		if err != nil {
			return "", err
		}
		added, err := plane.AddToken(ctx, t.name, t.role, token)
		if err != nil || added {
			return token, err
		}
		// Another process was quicker, and this token is good for nothing.
		if err := os.Remove(cfg.Dir.path(t.file)); err != nil {
			return "", err
		}
	}
	cfg.Log.Info("the database has a token that is not in this data folder: going on without it", "token", t.name,
		"hint", "copy the file "+t.file+" from where it is; one that is put here is made the good one at the next start")
	return "", nil
}
