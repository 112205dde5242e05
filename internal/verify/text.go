package verify

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteText writes the report for people: quiet when all is well, and with cause, side and next step where it is not.
// verbose shows every check with its code, details and how long it took. color uses ANSI colours. The error is the
// writer's.
func (r Report) WriteText(w io.Writer, color, verbose bool) error {
	t := text{color: color, verbose: verbose}
	t.printf("%s port %d, from %s\n\n", t.strong(r.Name), r.Port, cmp.Or(r.Vantage, "an unnamed place"))
	for i := 0; i < len(r.Checks); {
		n := 1
		for !verbose && i+n < len(r.Checks) && sameStory(r.Checks[i], r.Checks[i+n]) {
			n++
		}
		t.check(r.Checks[i:i+n], i == 0 || r.Checks[i-1].Group != r.Checks[i].Group)
		i += n
	}
	if len(r.Checks) > 0 {
		t.printf("\n")
	}
	t.verdict(r)
	_, err := io.WriteString(w, t.String())
	return err
}

// sameStory reports whether two checks differ only in what they were asked of.
func sameStory(a, b Check) bool {
	return a.ID == b.ID && a.Status == b.Status && a.Code == b.Code && a.Summary == b.Summary && a.Cause == b.Cause && a.Next == b.Next
}

// text builds the page. Words of peers were quoted by Judge; what else comes from outside passes printable.
type text struct {
	strings.Builder
	color, verbose bool
}

func (t *text) printf(format string, args ...any) { fmt.Fprintf(&t.Builder, format, args...) }

// indent is the column in which summaries begin: mark, blank, the longest group name, two blanks.
const indent = "           "

func (t *text) check(same []Check, first bool) {
	c := same[0]
	group := ""
	if first {
		group = string(c.Group)
	}
	var subjects []string
	for _, s := range same {
		if s.Subject != "" {
			subjects = append(subjects, printable(s.Subject))
		}
	}
	line := c.Summary
	if len(subjects) > 0 {
		line = several(subjects) + ": " + line
	}
	if c.Status == Skip {
		line = c.Summary + ": " + c.Cause
	}
	t.printf("%s %-7s  %s", t.mark(c.Status), group, printable(line))
	if c.Status != OK && c.Status != Skip || t.verbose {
		t.printf("  %s", t.faint(c.Code))
	}
	if t.verbose && c.Took > 0 {
		t.printf("  %s", t.faint(c.Took.Round(100*time.Microsecond).String()))
	}
	t.printf("\n")
	if c.Status == Warn || c.Status == Fail {
		t.because(c.Cause, c.Side, c.Next)
	}
	if t.verbose {
		for _, k := range slices.Sorted(maps.Keys(c.Detail)) {
			t.printf("%s%s\n", indent, t.faint(k+"="+printable(c.Detail[k])))
		}
	}
}

// several names all of a few, and the first of many: the check of the name lists every address.
func several(subjects []string) string {
	if len(subjects) > 3 {
		return fmt.Sprintf("%s and %d more", subjects[0], len(subjects)-1)
	}
	return strings.Join(subjects, ", ")
}

func (t *text) because(cause string, side Side, next string) {
	if cause != "" {
		t.printf("%scause: %s\n", indent, wrap(printable(cause)))
	}
	if side != SideNone && side != "" {
		t.printf("%sside:  %s\n", indent, sideWords(side))
	}
	if next != "" {
		t.printf("%snext:  %s\n", indent, wrap(printable(next)))
	}
}

func (t *text) verdict(r Report) {
	status := Fail
	switch r.Verdict {
	case Proven:
		status = OK
	case Unproven:
		status = Warn
	}
	t.printf("%s %s: %s\n", t.mark(status), t.strong(string(r.Verdict)), printable(r.Summary))
	if r.Verdict == NotProbed {
		t.printf("  next:  %s\n", printable(r.Next))
	}
	if r.Verdict == Broken {
		t.printf("  layer %s, %s\n", r.Layer, sideWords(r.Side))
	}
}

func sideWords(s Side) string {
	switch s {
	case SideCustomer:
		return "on the customer's side"
	case SideVendor:
		return "on the vendor's side"
	case SideCloud:
		return "at the cloud provider"
	case SideEither:
		return "on either side"
	default:
		return "nobody has to act"
	}
}

func (t *text) mark(s Status) string {
	switch s {
	case OK:
		return t.paint("32", "✔")
	case Warn:
		return t.paint("33", "⚠")
	case Fail:
		return t.paint("31", "✘")
	default:
		return t.paint("2", "○")
	}
}

func (t *text) strong(s string) string { return t.paint("1", s) }
func (t *text) faint(s string) string  { return t.paint("2", s) }

func (t *text) paint(sgr, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// wrap breaks s into lines of about 90 columns, the later ones set under the first.
func wrap(s string) string {
	var b strings.Builder
	width := 0
	for word := range strings.FieldsSeq(s) {
		n := len([]rune(word))
		switch {
		case width == 0:
		case width+1+n > 90:
			b.WriteString("\n" + indent + "       ")
			width = 0
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += n
	}
	return b.String()
}

// printable replaces control characters, by which a peer's words could drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}
