package clientcert

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/internal/link"
)

// categories are those of Unicode that \p{…} means the same with everywhere.
const categories = "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf"

// scan reads an expression as far as is needed to know that it means here what it means in Java, where those come from
// that people have, and whether it takes the engine that goes back and forth. What it does not know it refuses: much of
// Java's syntax compiles elsewhere and then means something else, such as [a-z&&[^b]], [a[bc]], \v, \b, (?U), x{,5} or
// \p{Alpha}. A letter's case is left alone by all of them only without (?i), which folds ASCII in Java, and everything
// elsewhere. Line ends, of which the engines know different ones, are not in names.
func scan(text string) (back bool, err *link.Error) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return false, badExpression("the expression has characters that cannot be printed", "write it with printable characters", nil)
	}
	s := &scanner{text: text}
	for s.at < len(s.text) && s.err == nil {
		s.item()
	}
	if s.err == nil && len(s.open) > 0 {
		s.refuse("a ( has no )", "close it, or write \\( for the character")
	}
	return s.back, s.err
}

// scanner is where scan is.
type scanner struct {
	text string
	at   int
	last itemKind
	open []bool // the groups that are open, and whether they only look
	back bool
	err  *link.Error
}

// itemKind is what a quantifier would stand after.
type itemKind uint8

const (
	nothing    itemKind = iota // the beginning, or one of a group or an alternative
	atom                       // what can be repeated
	assertion                  // what matches no character
	quantifier                 // which can be made lazy
	complete                   // a quantifier that was
)

// refuse ends the scan. Only the first mistake is told: those after it are mostly its consequences.
func (s *scanner) refuse(message, hint string) {
	if s.err == nil {
		s.err = badExpression(fmt.Sprintf("%s (at byte %d)", message, s.at+1), hint, nil)
	}
}

// take advances by n bytes, to after an item of a kind.
func (s *scanner) take(n int, last itemKind) { s.at, s.last = s.at+n, last }

func (s *scanner) rest() string { return s.text[s.at:] }

func (s *scanner) item() {
	switch c := s.text[s.at]; c {
	case '\\':
		s.escape(false)
	case '[':
		s.class()
	case '(':
		s.group()
	case ')':
		if len(s.open) == 0 {
			s.refuse("a ) has no (", "open it, or write \\) for the character")
			return
		}
		kind := atom
		if s.open[len(s.open)-1] {
			kind = assertion
		}
		s.open = s.open[:len(s.open)-1]
		s.take(1, kind)
	case '|':
		s.take(1, nothing)
	case '^', '$':
		s.take(1, assertion)
	case '*', '+', '?', '{':
		s.quantifier(c)
	default:
		_, n := utf8.DecodeRuneInString(s.rest())
		s.take(n, atom)
	}
}

// quantifier reads *, +, ?, {n}, {n,} or {n,m}, or the ? that makes one lazy.
func (s *scanner) quantifier(c byte) {
	switch {
	case s.last == quantifier && c == '?':
		s.take(1, complete)
		return
	case s.last == quantifier && c == '+':
		s.refuse("possessive quantifiers are not known", "write an atomic group: (?>…) instead of …+")
		return
	case s.last != atom:
		s.refuse(fmt.Sprintf("%c repeats nothing", c), fmt.Sprintf("write \\%c for the character", c))
		return
	case c != '{':
		s.take(1, quantifier)
		return
	}
	body, _, closed := strings.Cut(s.rest()[1:], "}")
	low, high, ranged := strings.Cut(body, ",")
	from, known := count(low)
	to := from
	if known && ranged && high != "" {
		to, known = count(high)
	}
	switch {
	case !closed || !known:
		s.refuse("this { begins no quantifier", "write {n}, {n,} or {n,m}, or \\{ for the character")
	case from > MaxName || to > MaxName || from > to:
		s.refuse("a quantifier's numbers are too large or the wrong way round", fmt.Sprintf("a name has at most %d bytes", MaxName))
	default:
		s.take(len(body)+2, quantifier)
	}
}

// count reads a quantifier's number. With a zero in front the whole quantifier would be plain text in Go.
func count(digits string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(digits, 10, 16)
	return n, err == nil && (digits[0] != '0' || digits == "0")
}

// escape reads what begins with \.
func (s *scanner) escape(inClass bool) {
	rest := s.rest()[1:]
	if rest == "" {
		s.refuse("the expression ends in \\", "write \\\\ for the character")
		return
	}
	switch c := rest[0]; {
	case c == '<' || c == '\'': // begins a back reference in one engine
		s.refuse(fmt.Sprintf("\\%c means different things in different engines", c), fmt.Sprintf("write %c for the character", c))
	case c < utf8.RuneSelf && !isAlphanumeric(c), strings.IndexByte("dDwWsStnrf", c) >= 0:
		s.take(2, atom)
	case strings.IndexByte("Az", c) >= 0 && !inClass:
		s.take(2, assertion)
	case c >= '1' && c <= '9' && !inClass && (len(rest) == 1 || rest[1] < '0' || rest[1] > '9'):
		s.back = true
		s.take(2, atom)
	case c == 'p' || c == 'P':
		s.category(rest[1:])
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		s.refuse(fmt.Sprintf("\\%c is not known, or means different things in different engines", r),
			"known are \\d \\w \\s and their capitals, \\A \\z, \\p{L} and other categories of Unicode, and \\ before punctuation")
	}
}

// category reads what follows \p.
func (s *scanner) category(rest string) {
	name, n := "", 0
	if inner, ok := strings.CutPrefix(rest, "{"); ok {
		name, _, _ = strings.Cut(inner, "}")
		n = len(name) + 2
	} else if rest != "" {
		name, n = rest[:1], 1
	}
	if _, found := slices.BinarySearch(sortedCategories, name); !found || n > len(rest) {
		s.refuse("this class of characters is not known, or means different things in different engines",
			"\\p{…} takes the short name of a general category of Unicode, such as L, Lu or Nd")
		return
	}
	s.take(2+n, atom)
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// class reads a class of characters.
func (s *scanner) class() {
	s.take(1, atom)
	if strings.HasPrefix(s.rest(), "^") {
		s.take(1, atom)
	}
	for first := true; s.err == nil; first = false {
		rest := s.rest()
		switch {
		case rest == "":
			s.refuse("a [ has no ]", "close it, or write \\[ for the character")
		case rest[0] == ']' && first:
			s.refuse("a class begins with ]", "write \\] for the character")
		case rest[0] == ']':
			s.take(1, atom)
			return
		case rest[0] == '[':
			s.refuse("a class has a [ in it", "write \\[ for the character; classes within classes are not known")
		case strings.HasPrefix(rest, "&&"):
			s.refuse("intersections of classes are not known", "write the class that is meant, or \\& for the character")
		case rest[0] == '\\':
			s.escape(true)
		default:
			_, n := utf8.DecodeRuneInString(rest)
			s.take(n, atom)
		}
	}
}

// group reads the beginning of a group.
func (s *scanner) group() {
	inner, special := strings.CutPrefix(s.rest(), "(?")
	if !special {
		s.begin(1, false)
		return
	}
	for _, g := range []struct {
		begin       string
		looks, back bool
	}{
		{":", false, false},
		{"=", true, true},
		{"!", true, true},
		{"<=", true, true},
		{"<!", true, true},
		{">", false, true},
	} {
		if strings.HasPrefix(inner, g.begin) {
			s.back = s.back || g.back
			s.begin(2+len(g.begin), g.looks)
			return
		}
	}
	if named, ok := strings.CutPrefix(inner, "<"); ok {
		name, _, closed := strings.Cut(named, ">")
		if !closed || name == "" || name[0] <= '9' || strings.ContainsFunc(name, func(r rune) bool { return r > 'z' || !isAlphanumeric(byte(r)) }) {
			s.refuse("a group's name is not one", "it has letters and digits, and begins with a letter")
			return
		}
		s.begin(len("(?<>")+len(name), false)
		return
	}
	flags := inner[:len(inner)-len(strings.TrimLeft(inner, "ms-"))]
	switch after := inner[len(flags):]; {
	case flags != "" && strings.HasPrefix(after, ":"):
		s.begin(2+len(flags)+1, false)
	case flags != "" && strings.HasPrefix(after, ")"):
		s.take(2+len(flags)+1, nothing)
	case strings.HasPrefix(after, "i"):
		s.refuse("(?i) is not known: it folds different letters in different engines", "write both cases, such as [Aa]")
	default:
		s.refuse("a group begins in a way that is not known, or means different things in different engines",
			"known are (…), (?:…), (?<name>…), (?=…), (?!…), (?<=…), (?<!…), (?>…), (?s) and (?m)")
	}
}

// begin opens a group whose beginning has n bytes.
func (s *scanner) begin(n int, looks bool) {
	s.open = append(s.open, looks)
	s.take(n, nothing)
}
