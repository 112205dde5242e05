package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern/postern/internal/link"
)

// Input is where settings come from. A flag wins over the environment, the environment over the file.
type Input struct {
	Name  string            // of the file, for what is told about it
	File  []byte            // nil: there is none
	Env   []string          // as os.Environ has it
	Flags map[string]string // by key, those that were given
}

// Effective is a setting as it counts.
type Effective struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // of a secret only that it is set
	Source string `json:"source"` // "default", "postern.yaml:12", "$POSTERN_DOMAIN" or "flag"
}

// given is a value and where it was written.
type given struct {
	value  string
	source string
	secret string // where the value is a path of the file that holds a secret: its key
}

// Load makes a configuration of what was written, and tells where each setting came from. Its error is a *link.Error of
// kind Invalid with everything that is wrong, a line each.
func Load(in Input) (Config, []Effective, error) {
	values, problems := in.gather()
	var c Config
	var effective []Effective
	for _, s := range settings {
		g, ok := values[s.key]
		if !ok && s.def != "" {
			g = given{value: s.def, source: "default"}
		} else if !ok {
			continue
		}
		if g.secret != "" {
			text, err := readSecret(g.value)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: the secret cannot be read: %v", g.source, g.secret, err))
				continue
			}
			g.value = text
		}
		if err := s.set(&c, g.value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s: %v", g.source, s.key, err))
			continue
		}
		if s.secret {
			g.value = redacted
		}
		effective = append(effective, Effective{s.key, g.value, g.source})
	}
	if len(problems) == 0 {
		problems = c.inconsistent()
	}
	if len(problems) > 0 {
		return Config{}, effective, &link.Error{
			Kind: link.Invalid, Reason: "CONFIGURATION", Message: "the configuration is not right:\n  " + strings.Join(problems, "\n  "),
			Hint: `"postern config example" shows every setting`,
		}
	}
	return c, effective, nil
}

// inconsistent says which settings do not go together.
func (c Config) inconsistent() (problems []string) {
	t := c.API.TLS
	if c.Domain == "" {
		problems = append(problems, "domain: it is required")
	}
	if o := c.OpenID; o.Issuer != "" && (o.ClientID == "" || c.API.PublicURL == "") {
		problems = append(problems, "openid: issuer needs client_id and api.public_url")
	} else if o.Issuer == "" && (o.ClientID != "" || len(o.Grants) > 0) {
		problems = append(problems, "openid: without an issuer nobody signs in there")
	}
	if (len(c.OpenID.Grants) > 0) != (c.OpenID.GrantClaim != "") {
		problems = append(problems, "openid: grant_claim and grants go together")
	}
	if (t.CertificateFile == "") != (t.KeyFile == "") {
		problems = append(problems, "api.tls: certificate_file and key_file go together")
	}
	if t.CertificateFile != "" && len(t.ACME.Domains) > 0 {
		problems = append(problems, "api.tls: give certificate_file or acme.domains, not both")
	}
	return problems
}

// gather collects what was written, by key.
func (in Input) gather() (values map[string]given, problems []string) {
	values = map[string]given{}
	if in.File != nil {
		problems = in.readFile(values)
	}
	problems = append(problems, in.readEnv(values)...)
	for _, key := range slices.Sorted(maps.Keys(in.Flags)) {
		if bare, file := strings.CutSuffix(key, "_file"); file {
			if s, known := settingOf(bare); known && s.secret {
				if _, both := in.Flags[bare]; both {
					problems = append(problems, fmt.Sprintf("flags for %s and %s: give one of them", bare, key))
				}
				values[bare] = given{value: in.Flags[key], source: "flag", secret: key}
				continue
			}
		}
		values[key] = given{value: in.Flags[key], source: "flag"}
	}
	return values, problems
}

func (in Input) readEnv(values map[string]given) (problems []string) {
	env := map[string]string{}
	for _, kv := range in.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	for _, s := range settings {
		name := variable(s.key)
		v, direct := env[name]
		path, file := env[name+"_FILE"]
		switch {
		case direct && s.secret && file:
			problems = append(problems, fmt.Sprintf("$%s and $%s_FILE: give one of them", name, name))
		case direct:
			values[s.key] = given{value: v, source: "$" + name}
		case file && s.secret:
			values[s.key] = given{value: path, source: "$" + name + "_FILE", secret: s.key + "_file"}
		}
	}
	return problems
}

func (in Input) readFile(values map[string]given) (problems []string) {
	var doc yaml.Node
	if err := yaml.Unmarshal(in.File, &doc); err != nil {
		return []string{in.Name + ": " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if len(doc.Content) == 0 {
		return nil // nothing but comments
	}
	r := fileReader{name: in.Name, values: values, lines: map[string]int{}}
	r.section("", doc.Content[0])
	return r.problems
}

// fileReader takes the leaves of a YAML document apart.
type fileReader struct {
	name     string
	values   map[string]given
	lines    map[string]int // by key: where it was seen first
	problems []string
}

func (r *fileReader) complain(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf("%s:%d: ", r.name, n.Line)+fmt.Sprintf(format, args...))
}

func (r *fileReader) section(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // all of it commented out
	}
	if n.Kind != yaml.MappingNode {
		r.complain(n, "%s: a section is expected here, with a key and its value on each line", strings.TrimSuffix(prefix, "."))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if first, twice := r.lines[key]; twice {
			r.complain(k, "%s: it is given twice, first on line %d", key, first)
			continue
		}
		r.lines[key] = k.Line
		switch {
		case isSection(key):
			r.section(key+".", v)
		default:
			r.leaf(key, k, v)
		}
	}
}

func isSection(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
}

func (r *fileReader) leaf(key string, k, v *yaml.Node) {
	s, known := settingOf(key)
	var secret string
	if bare, ok := strings.CutSuffix(key, "_file"); ok && !known {
		if s, known = settingOf(bare); known && s.secret {
			secret = key
		} else {
			known = false
		}
	} else if known && s.secret {
		r.complain(k, "%s: a secret does not stand in this file: name the file that holds it with %s_file, or set $%s", key, key, variable(key))
		return
	}
	if !known {
		r.complain(k, "%s: there is no such setting%s", key, nearest(key))
		return
	}
	text, err := leafText(s, v)
	if err != nil {
		r.complain(v, "%s: %v", key, err)
		return
	}
	r.values[s.key] = given{value: text, source: fmt.Sprintf("%s:%d", r.name, k.Line), secret: secret}
}

// leafText is a value as one text; of a list, parted by commas.
func leafText(s setting, v *yaml.Node) (string, error) {
	switch {
	case v.Kind == yaml.ScalarNode && v.Tag == "!!null":
		return "", errors.New("it has no value: leave the key out for the default")
	case v.Kind == yaml.ScalarNode:
		return v.Value, nil
	case v.Kind == yaml.SequenceNode && s.list:
		var all []string
		for _, e := range v.Content {
			if e.Kind != yaml.ScalarNode || strings.Contains(e.Value, ",") {
				return "", errors.New("an entry of the list is not a plain text")
			}
			all = append(all, e.Value)
		}
		return strings.Join(all, ","), nil
	case s.list:
		return "", errors.New("a list or a text is expected")
	}
	return "", errors.New("a plain value is expected")
}

// nearest names the setting that was probably meant, when one is near.
func nearest(key string) string {
	best, at := "", len(key)/3+1
	for _, s := range settings {
		candidates := []string{s.key}
		if s.secret {
			candidates[0] += "_file"
		}
		for _, c := range candidates {
			if d := distance(key, c); d <= at {
				best, at = c, d
			}
			// The right name in the wrong section.
			if best == "" && c[strings.LastIndex(c, ".")+1:] == key[strings.LastIndex(key, ".")+1:] {
				best = c
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is how many letters have to be changed, added or taken away to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := last
			if a[i] != b[j] {
				next = min(last, row[j], row[j+1]) + 1
			}
			last, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
