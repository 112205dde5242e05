package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// asker asks a person for what must not stand on a command line, where every process of the machine reads it. From what is
// not a terminal it reads a line for each question.
type asker struct {
	in    io.Reader
	lines *bufio.Reader
	err   io.Writer
}

func newAsker(in io.Reader, errOut io.Writer) *asker {
	return &asker{in: in, lines: bufio.NewReader(in), err: errOut}
}

// onTerminal returns the terminal that is asked, if it is one.
func (q *asker) onTerminal() (fd int, ok bool) {
	f, ok := q.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// secret asks without showing what is typed.
func (q *asker) secret(question string) (string, error) {
	fd, ok := q.onTerminal()
	if !ok {
		return q.line(question)
	}
	fmt.Fprintf(q.err, "%s: ", question)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(q.err)
	if err != nil {
		return "", err
	}
	return replied(question, string(b))
}

// line asks for one line.
func (q *asker) line(question string) (string, error) {
	if _, ok := q.onTerminal(); ok {
		fmt.Fprintf(q.err, "%s: ", question)
	}
	s, err := q.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return replied(question, strings.TrimRight(s, "\r\n"))
}

// newPassword asks for a password, on a terminal twice.
func (q *asker) newPassword() (string, error) {
	first, err := q.secret("New password")
	if err != nil {
		return "", err
	}
	if _, ok := q.onTerminal(); !ok {
		return first, nil
	}
	again, err := q.secret("Again")
	if err == nil && again != first {
		err = usagef("type the same twice", "the two passwords are not the same")
	}
	return first, err
}

func replied(question, s string) (string, error) {
	if s == "" {
		return "", usagef("type it, or give it on standard input, each answer on a line", "no answer to %q", question)
	}
	return s, nil
}
