package verify

import "io"

// WriteText writes the report for people: quiet when all is well, and with cause, side and next step where it is not.
// verbose shows every check with its details. color uses ANSI colours. The error is the writer's.
func (r Report) WriteText(w io.Writer, color, verbose bool) error { panic("not yet") }
