package clientcert

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"

	"github.com/dlclark/regexp2/v2"

	"github.com/postern/postern/internal/link"
)

// The limits of expressions. The standard library's engine takes time in proportion to its program and the name, so that
// its program is bounded; the other one, which goes back and forth, is bounded by the clock. That clock is a goroutine,
// which on a machine with one processor gets its turn up to 10 ms late; no expression is to take 60 ms even so.
const (
	MaxExpression    = 512 // bytes
	MatchTimeout     = 40 * time.Millisecond
	mostInstructions = 1000
)

// ErrTimedOut says that an expression did not come to an end in time. It does not say with which name.
var ErrTimedOut = errors.New("the expression took too long")

// The clock of the engine that goes back and forth ticks every 100 ms unless it is told otherwise before its first use,
// and would notice a time-out only then.
func init() { regexp2.SetTimeoutCheckPeriod(time.Millisecond) }

// Expression takes a user's name out of a text: what it finds first, all of it. It is written as Java's regular
// expressions are, of which it knows the part that means the same in the engines here; see scan. A nil Expression takes
// the whole text.
type Expression struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp // for what linear does not know: looking around, atomic groups, back references
}

// CompileExpression reads an expression; an empty one is nil. The error has the field expression.
func CompileExpression(text string) (*Expression, *link.Error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxExpression {
		return nil, badExpression(fmt.Sprintf("the expression is longer than %d bytes", MaxExpression), "shorten it", nil)
	}
	back, mistake := scan(text)
	if mistake != nil {
		return nil, mistake
	}
	if back {
		// RE2 has \d, \w and \s mean ASCII, as they do in Java.
		re, err := regexp2.Compile(text, regexp2.RE2, regexp2.OptionMaintainCaptureOrder())
		if err != nil {
			return nil, notOne(err)
		}
		re.MatchTimeout = MatchTimeout
		return &Expression{back: re}, nil
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, notOne(err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, notOne(err)
	}
	if len(program.Inst) > mostInstructions {
		return nil, badExpression("the expression repeats too much", "use smaller numbers in {…}", nil)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, notOne(err)
	}
	return &Expression{linear: re}, nil
}

func badExpression(message, hint string, err error) *link.Error {
	return invalid("expression", message, hint, err)
}

func notOne(err error) *link.Error {
	return badExpression("this is not a regular expression: "+err.Error(), "see whether its brackets match", err)
}

// User returns the user's name that a text holds, empty when it holds none, or ErrTimedOut.
func (e *Expression) User(text string) (string, error) {
	if !isName(text) {
		return "", nil
	}
	found := text
	switch {
	case e == nil:
	case e.linear != nil:
		found = e.linear.FindString(text)
	default:
		m, err := e.back.FindStringMatch(text)
		if err != nil {
			return "", ErrTimedOut // the engine's error repeats the name
		}
		if m == nil {
			return "", nil
		}
		found = m.String()
	}
	if !isUser(found) {
		return "", nil
	}
	return found, nil
}
