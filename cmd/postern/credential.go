package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keyring is what "postern login" keeps for its user, by the URL of the API. The file is readable by its owner alone.
type keyring struct {
	Last          string                `json:"last"` // the URL that was signed in to last
	Installations map[string]credential `json:"installations"`
}

// credential is a token for one installation.
type credential struct {
	Token     string    `json:"token"`
	Name      string    `json:"name"`                // whose it is
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: it does not, or that is not known
}

func credentialsFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", usagef("set HOME or XDG_CONFIG_HOME, or use POSTERN_TOKEN", "there is no place to keep credentials in: %v", err)
	}
	return filepath.Join(dir, "postern", "credentials"), nil
}

// readCredentials returns what is kept; nothing when there is no file, and no place for one.
func readCredentials() (c keyring, err error) {
	name, err := credentialsFile()
	if err != nil {
		return keyring{}, nil //nolint:nilerr // who has no such place has nothing there
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return keyring{}, nil
	}
	if err != nil {
		return keyring{}, err
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		return keyring{}, usagef("chmod 600 "+name+", and sign in again if others may have read it", "%s can be read by others", name)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return keyring{}, fmt.Errorf("%s is damaged: %w; remove it and sign in again", name, err)
	}
	return c, nil
}

// token returns the token for the API at a URL, empty when none is kept that still lasts.
func (c keyring) token(base string, now time.Time) string {
	k := c.Installations[base]
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return ""
	}
	return k.Token
}

// keep writes a credential for the API at a URL, or with an empty token takes it away.
func keep(base string, k credential) error {
	c, err := readCredentials()
	if err != nil {
		return err
	}
	if c.Installations == nil {
		c.Installations = map[string]credential{}
	}
	if k.Token == "" {
		delete(c.Installations, base)
		if c.Last == base {
			c.Last = ""
		}
	} else {
		c.Installations[base], c.Last = k, base
	}
	name, err := credentialsFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(name, append(b, '\n'))
}
