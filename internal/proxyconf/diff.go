package proxyconf

import (
	"fmt"
	"strings"
)

// contextLines are the unchanged lines around a change.
const contextLines = 3

// edit is a line of a diff: kept (' '), gone ('-') or new ('+').
type edit struct {
	sign byte
	line string
}

// Diff returns what has to change in before to make it after, in the unified form with three lines of context, without the lines
// that name files. It is empty when nothing has to.
func Diff(before, after string) string {
	if before == after {
		return ""
	}
	edits := compare(lines(before), lines(after))
	var out strings.Builder
	was, is := 1, 1 // the next line's number on either side
	for i := 0; i < len(edits); {
		if edits[i].sign == ' ' {
			i, was, is = i+1, was+1, is+1
			continue
		}
		// A hunk begins before the change and goes on until so many lines are unchanged that the next has its own.
		start := i
		for start > 0 && i-start < contextLines && edits[start-1].sign == ' ' {
			start--
		}
		end, quiet := i, 0
		for end < len(edits) && quiet <= 2*contextLines {
			if quiet++; edits[end].sign != ' ' {
				quiet = 0
			}
			end++
		}
		end -= max(0, quiet-contextLines)
		was, is = was-(i-start), is-(i-start)
		var body strings.Builder
		olds, news := 0, 0
		for _, e := range edits[start:end] {
			body.WriteByte(e.sign)
			body.WriteString(e.line)
			if !strings.HasSuffix(e.line, "\n") {
				body.WriteString("\n\\ No newline at end of file\n")
			}
			if e.sign != '+' {
				olds++
			}
			if e.sign != '-' {
				news++
			}
		}
		fmt.Fprintf(&out, "@@ -%s +%s @@\n%s", span(was, olds), span(is, news), body.String())
		i, was, is = end, was+olds, is+news
	}
	return out.String()
}

// span returns a hunk's range; one without lines stands after the line before it.
func span(first, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", first-1)
	case 1:
		return fmt.Sprint(first)
	default:
		return fmt.Sprintf("%d,%d", first, n)
	}
}

// lines returns the lines of a text with their ends.
func lines(s string) []string {
	if s == "" {
		return nil
	}
	out := strings.SplitAfter(s, "\n")
	if out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// mostCells bounds the table of compare. Texts of a proxy stay far below; what stands in a file may be anything.
const mostCells = 16 << 20

// compare returns the edits from a to b along a longest common subsequence, gone lines before new ones.
func compare(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head, a, b = append(head, edit{' ', a[0]}), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail, a, b = append(tail, edit{' ', a[len(a)-1]}), a[:len(a)-1], b[:len(b)-1]
	}
	out := head
	if len(a) > 0 && len(b) > 0 && (len(a)+1)*(len(b)+1) <= mostCells {
		out = append(out, align(a, b)...)
	} else {
		for _, l := range a {
			out = append(out, edit{'-', l})
		}
		for _, l := range b {
			out = append(out, edit{'+', l})
		}
	}
	for i := len(tail) - 1; i >= 0; i-- {
		out = append(out, tail[i])
	}
	return out
}

// align is compare for what has no common ends.
func align(a, b []string) []edit {
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width) // longest common subsequence of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	var out []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	return out
}
