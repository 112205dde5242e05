package config

import (
	"fmt"
	"strings"
)

// Example is a file with every setting: its meaning, and its default where it has one, as comments.
func Example() string {
	var b strings.Builder
	b.WriteString("# How a control plane runs: postern serve --config FILE. What is not set has the default shown; a line that\n" +
		"# begins with \"#\" and a key sets nothing. Each key may be set by the environment instead, as POSTERN_ and its\n" +
		"# names in capitals ($POSTERN_API_ADDR); a secret only there or in a file of its own.\n")
	var open []string
	for _, s := range settings {
		path := strings.Split(s.key, ".")
		sections, name := path[:len(path)-1], path[len(path)-1]
		for i, section := range sections {
			if i < len(open) && open[i] == section {
				continue
			}
			if i == 0 {
				b.WriteByte('\n')
			}
			open = append(open[:i:i], section)
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), section)
		}
		open = open[:len(sections)]
		indent := strings.Repeat("  ", len(sections))
		for _, line := range wrap(s.doc, 110-len(indent)) {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		switch {
		case s.key == "domain":
			fmt.Fprintf(&b, "%s%s: postern.example\n", indent, name)
		case s.secret:
			fmt.Fprintf(&b, "%s#%s_file: FILE\n", indent, name)
		case s.def != "":
			fmt.Fprintf(&b, "%s%s: %s\n", indent, name, s.def)
		case s.list:
			fmt.Fprintf(&b, "%s#%s: []\n", indent, name)
		default:
			fmt.Fprintf(&b, "%s#%s:\n", indent, name)
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width bytes, where words allow.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
