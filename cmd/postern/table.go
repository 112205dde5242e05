package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	lgtable "charm.land/lipgloss/v2/table"
	"golang.org/x/term"
)

// table is rows for people: drawn on a terminal, plain columns anywhere else, so that awk and grep find what they look
// for.
type table struct {
	head []string
	rows [][]string
	none string // what to say when there are no rows
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	if len(t.rows) == 0 && t.none != "" {
		_, err := fmt.Fprintln(w, t.none)
		return err
	}
	if colourful(w) {
		bold, cell := lipgloss.NewStyle().Bold(true).Padding(0, 1), lipgloss.NewStyle().Padding(0, 1)
		drawn := lgtable.New().Headers(t.head...).Rows(t.rows...).
			Border(lipgloss.RoundedBorder()).BorderStyle(lipgloss.NewStyle().Faint(true)).
			StyleFunc(func(row, _ int) lipgloss.Style {
				if row == lgtable.HeaderRow {
					return bold
				}
				return cell
			})
		text := drawn.Render()
		if room := columns(w); room > 0 && lipgloss.Width(text) > room {
			text = drawn.Width(room).Render()
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.head, "\t"))
	for _, r := range t.rows {
		for i, c := range r {
			if c == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}

// onTerminal reports whether w is a terminal that can rewrite a line.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// columns is the width of the terminal w, 0 when it is not known.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// colourful reports whether w is a terminal whose owner did not ask for no colour (https://no-color.org).
func colourful(w io.Writer) bool { return onTerminal(w) && os.Getenv("NO_COLOR") == "" }

// when writes a time for a table: the age while it is short, the date after.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := now.Sub(t); {
	case d < 0:
		return t.Format(time.DateTime)
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return t.Format(time.DateTime)
	}
}
