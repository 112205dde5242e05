package clientcert

import (
	"strings"
	"testing"

	"github.com/dlclark/regexp2/v2"
)

// documented is the expression of the documentation that people come from.
const documented = `[^@]+(?=\d{0,}@)`

func TestExpression(t *testing.T) {
	tests := []struct{ expression, text, want string }{
		{documented, "myuser@example.com", "myuser"},
		{documented, "a@b@c", "a"},
		{documented, "üser@x", "üser"},
		{documented, "myuser", ""},
		{documented, "@example.com", ""},
		{documented, "myuser1@example.com", "myuser1"},
		{documented, "", ""},
		{documented, "my\nuser@example.com", ""}, // a name does not bring a header of its own
		{documented, " myuser@example.com", ""},  // nor space that the header would lose
		{documented, "my user@example.com", "my user"},
		{documented, strings.Repeat("a", MaxName-2) + "@x", strings.Repeat("a", MaxName-2)},
		{documented, strings.Repeat("a", MaxName-1) + "@x", ""}, // too long to be looked at
		{documented, "a\xff@x", ""},
		{"", "myuser", "myuser"},
		{"", "my\tuser", ""},
		{`^[a-z]+`, "alice.b@x", "alice"},
		{`^[a-z]+$`, "alice.b@x", ""},
		{`(alice|bob)`, "for bob@x", "bob"},
		{`a*`, "baa", ""}, // it first finds nothing, and takes it
		{`[\w.-]+`, "é alice.b-c", "alice.b-c"},
		{`\w+(?=@)`, "é.alice@x", "alice"}, // \w is ASCII with either engine
		{`\d+(?=@)`, "٣1@x", "1"},
		{`\s\w+(?=@)`, "\u00a0alice@x", ""},
		{`\p{Lu}\p{L}+`, "x Ünal", "Ünal"},
		{`\pL+`, "1abc2", "abc"},
		{`(?<=CN=)[^,]+`, "C=IL,CN=alice,O=x", "alice"},
		{`(?<!x)alice`, "xalice alice", "alice"},
		{`(?>a+)b`, "aab", "aab"},
		{`(?>a+)ab`, "aab", ""},
		{`(a)(?<n>b)\2\1`, "abba", "abba"}, // named groups are numbered with the others
		{`a.c`, "abc", "abc"},
		{`a+?`, "aaa", "a"},
		{`(?:ab){1,2}`, "ababab", "abab"},
		{`[a\]]+`, "b]a", "]a"},
		{`[^@\s]+`, "a b", "a"},
		{`(?s)a.+`, "abc", "abc"},
		{`(?m:^b)`, "b", "b"},
		{`a\.b`, "axb a.b", "a.b"},
		{`üser|x`, "a üser", "üser"},
	}
	for _, tt := range tests {
		e, err := CompileExpression(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		if got, err := e.User(tt.text); got != tt.want || err != nil {
			t.Errorf("%s in %q: %q, %v, want %q", tt.expression, tt.text, got, err, tt.want)
		}
	}
}

// TestExpressionEngine: the engine that goes back and forth is used only where the other does not know the syntax.
func TestExpressionEngine(t *testing.T) {
	for expression, back := range map[string]bool{
		documented: true, `a(?!b)`: true, `(?<=a)b`: true, `(?<!a)b`: true, `(?>a)b`: true, `(a)\1`: true,
		`[^@]+`: false, `(?:a|b)`: false, `(?<name>a)`: false, `\(?=x`: false, `[(?=]`: false, `(?m)a`: false, `\\1`: false,
	} {
		e, err := CompileExpression(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		} else if (e.back != nil) != back || (e.linear != nil) == back {
			t.Errorf("%s: back and forth: %v, want %v", expression, e.back != nil, back)
		}
	}
}

// TestExpressionRefused: what would mean something else here than where it was written, or is no expression at all.
func TestExpressionRefused(t *testing.T) {
	for _, tt := range []struct{ expression, says string }{
		{`[a-z&&[^b]]+`, "class"},    // an intersection in Java
		{`[a-z&&b]`, "intersection"}, // the same
		{`[a[bc]]`, "class"},         // a union in Java
		{`[[:alpha:]]`, "class"},     // a class here, a union of letters in Java
		{`[a-z-[aeiou]]`, "class"},   // a subtraction in .NET, whose syntax one engine has
		{`[]a]`, "begins with ]"},
		{`[^]a]`, "begins with ]"},
		{`[^@]++@`, "possessive"},
		{`a?+`, "possessive"},
		{`a*+b`, "possessive"},
		{`a{1,2}+`, "possessive"},
		{`\p{javaLowerCase}+`, "class of characters"},
		{`\p{Alpha}+`, "class of characters"}, // POSIX, and ASCII, in Java alone
		{`\p{IsLatin}`, "class of characters"},
		{`\p{Greek}`, "class of characters"}, // a script in Go, nothing in Java
		{`\p`, "class of characters"},
		{`\p{`, "class of characters"},
		{`\Qa.b\E`, `\Q`},
		{`a\E`, `\E`},
		{`\v`, `\v`}, // one character in Go, a class in Java
		{`\h+`, `\h`},
		{`\bx`, `\b`}, // of Unicode's letters in older Java and one engine, of ASCII's in the others
		{`\R`, `\R`},
		{`\X`, `\X`},
		{`a\Z`, `\Z`},
		{`\Ga`, `\G`},
		{`\x41`, `\x`},
		{`\u0041`, `\u`},
		{`\012`, `\0`},
		{`(a)\10`, `\1`},
		{`(?<a>x)\k<a>`, `\k`},
		{`(a)\<1>`, `\<`}, // a back reference in .NET, whose syntax one engine has
		{`(a)\'1'`, `\'`},
		{`[\b]`, `\b`},
		{`[\A]`, `\A`},
		{`\é`, `\é`},
		{`(?U)a+`, "group begins"}, // lazy in Go, Unicode's classes in Java
		{`(?i)alice`, "(?i)"},
		{`(?x) a`, "group begins"},
		{`(?u)a`, "group begins"},
		{`(?d)a`, "group begins"},
		{`(?n)(a)`, "group begins"},
		{`(?P<n>a)`, "group begins"},
		{`(?#a)`, "group begins"},
		{`(?(1)a|b)`, "group begins"},
		{`(?'n'a)`, "group begins"},
		{`(?<a-b>c)`, "group's name"},
		{`(?<1>c)`, "group's name"},
		{`(?<>c)`, "group's name"},
		{`(?<é>c)`, "group's name"},
		{`(?`, "group begins"},
		{`x{,5}`, "begins no quantifier"}, // three characters more in Go, an error in Java
		{`x{`, "begins no quantifier"},
		{`x{a}`, "begins no quantifier"},
		{`x{1`, "begins no quantifier"},
		{`x{00}`, "begins no quantifier"}, // plain text in Go
		{`x{1,02}`, "begins no quantifier"},
		{`x{+1}`, "begins no quantifier"},
		{`x{2,1}`, "wrong way round"},
		{`x{257}`, "too large"},
		{`{1}`, "repeats nothing"},
		{`*a`, "repeats nothing"},
		{`(*a)`, "repeats nothing"},
		{`a|?`, "repeats nothing"},
		{`a**`, "repeats nothing"},
		{`a{2}{3}`, "repeats nothing"},
		{`a???`, "repeats nothing"},
		{`^*`, "repeats nothing"},
		{`(?=a)*b`, "repeats nothing"},
		{`(a`, "( has no )"},
		{`a)`, ") has no ("},
		{`[a`, "[ has no ]"},
		{`a\`, `ends in \`},
		{`[a\`, `ends in \`},
		{`[z-a]`, "not a regular expression"},
		{`(?=[z-a])`, "not a regular expression"},
		{"a\x00b", "cannot be printed"},
		{"a\xffb", "cannot be printed"},
		{strings.Repeat("a", MaxExpression+1), "longer than"},
		{strings.Repeat(`[ab]{0,200}`, 20), "repeats too much"},
		{`((a{0,60}){0,4}){0,4}`, "repeats too much"},
		{`((a{0,200}){0,200}){0,200}`, "not a regular expression"},
	} {
		e, err := CompileExpression(tt.expression)
		if err == nil {
			t.Errorf("%.40s is taken: %+v", tt.expression, e)
			continue
		}
		if !strings.Contains(err.Message, tt.says) || err.Field != "expression" || err.Hint == "" {
			t.Errorf("%.40s: %q (field %q, hint %q), want it to say %q", tt.expression, err.Message, err.Field, err.Hint, tt.says)
		}
	}
}

// FuzzExpression: what is taken neither panics nor finds anything else with the other engine, as far as both know it.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{documented, `a|b*`, `(|a)*`, `(a|b)*?c$`, `[^@.]{2,3}`, `(?s).\.\w`, `^(?:a+)+$`, `(a{00})`, `(a)(b)\2`, `\pL+?|\PN`, `[\w-]+`, `(?m)^a$`} {
		f.Add(s, "a@b.c")
		f.Add(s, "abab üser")
	}
	f.Fuzz(func(t *testing.T, expression, name string) {
		e, mistake := CompileExpression(expression)
		if mistake != nil || e == nil {
			return
		}
		found, err := e.User(name)
		if err == nil && found != "" && (!isUser(found) || !strings.Contains(name, found)) {
			t.Fatalf("%q in %q: %q", expression, name, found)
		}
		if e.linear == nil {
			return
		}
		back, compileErr := regexp2.Compile(expression, regexp2.RE2)
		if compileErr != nil {
			t.Fatalf("%q: only one engine takes it: %v", expression, compileErr)
		}
		back.MatchTimeout = MatchTimeout
		other, err := (&Expression{back: back}).User(name)
		if err == nil && found != other {
			t.Fatalf("%q in %q: %q and %q", expression, name, found, other)
		}
	})
}
