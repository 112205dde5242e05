package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// rulesMagic opens a rules file; the SHA-256 of what follows the first line comes after it. A torn or edited file is
// thereby told from a whole one: half a rule set would be a wrong rule set.
const rulesMagic = "postern rules v1 sha256="

// saveRules writes the rules so that the file holds either the old ones or these, also when the machine dies.
func saveRules(path string, rules api.GatewayRules) error {
	body, err := json.Marshal(rules)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	return writeFile(path, fmt.Appendf(nil, "%s%x\n%s", rulesMagic, sum, body))
}

// loadRules reads what saveRules wrote. A file that does not exist is no rules, without an error.
func loadRules(path string) (link.RuleSet, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return link.RuleSet{}, nil
	}
	if err != nil {
		return link.RuleSet{}, err
	}
	head, body, found := bytes.Cut(text, []byte("\n"))
	want, ok := bytes.CutPrefix(head, []byte(rulesMagic))
	if !found || !ok {
		return link.RuleSet{}, errors.New("not a rules file")
	}
	sum := sha256.Sum256(body)
	if hex.EncodeToString(sum[:]) != string(want) {
		return link.RuleSet{}, errors.New("damaged: its checksum does not fit")
	}
	_, set, err := decodeRules(body)
	return set, err
}

// writeFile replaces the file at path, readable by its owner alone, in one step that survives a crash of the machine.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
