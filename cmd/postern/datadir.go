package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/link"
)

// dataDir is the folder that holds everything an installation must not forget. Each file is written whole or not at
// all, and is readable by its owner only.
type dataDir string

// openDataDir makes the folder when it is not there.
func openDataDir(path string) (dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", &link.Error{
			Kind: link.Invalid, Reason: "DATA_DIR", Field: "--data", Message: "the data directory cannot be made", Err: err,
			Hint: "give a folder that you may write to",
		}
	}
	return dataDir(path), nil
}

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

// secret returns the random token kept in a file, and makes it at the first call.
func (d dataDir) secret(name string) (string, error) {
	b, err := os.ReadFile(d.path(name))
	if err == nil {
		s := strings.TrimSpace(string(b))
		if len(s) < 32 {
			return "", fmt.Errorf("%s holds no token; remove it to make a new one", d.path(name))
		}
		return s, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	s := "pst_" + randomText(32)
	return s, replaceFile(d.path(name), []byte(s+"\n"))
}

// accountsName is the file of the embedded cloud's accounts, the first that an installation makes.
const accountsName = "accounts.json"

// used reports whether an embedded installation was started here before.
func (d dataDir) used() bool {
	_, err := os.Stat(d.path(accountsName))
	return err == nil
}

// The accounts of the embedded cloud, in the order in which they are told.
var roles = []struct{ role, id string }{
	{"vendor", "111111111111"},
	{"customer", "222222222222"},
	{"stranger", "333333333333"},
}

// accounts returns the embedded cloud's accounts with their keys, made at the first call.
func (d dataDir) accounts() ([]fabric.Account, error) {
	b, err := os.ReadFile(d.path(accountsName))
	if err == nil {
		var accs []fabric.Account
		err := json.Unmarshal(b, &accs)
		if err == nil && len(accs) != len(roles) {
			err = fmt.Errorf("it holds %d accounts, not %d", len(accs), len(roles))
		}
		if err != nil {
			return nil, fmt.Errorf("%s is damaged: %w; remove it to make new keys", d.path(accountsName), err)
		}
		return accs, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	accs := make([]fabric.Account, 0, len(roles))
	for _, r := range roles {
		accs = append(accs, fabric.Account{
			ID: r.id, Name: r.role,
			AccessKeyID:     "AKIA" + strings.ToUpper(randomHex(8)),
			SecretAccessKey: randomText(30),
		})
	}
	if b, err = json.MarshalIndent(accs, "", "  "); err != nil {
		return nil, err
	}
	return accs, replaceFile(d.path(accountsName), b)
}

func randomText(n int) string { return base64.RawURLEncoding.EncodeToString(randomBytes(n)) }

func randomHex(n int) string { return fmt.Sprintf("%x", randomBytes(n)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the program instead
	return b
}
