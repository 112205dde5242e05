package store

import (
	"fmt"
	"strings"

	"github.com/postern/postern/internal/link"
)

// reached is one way for a row to be within reach: the column, or the open end of a condition, that holds one of ids, and
// what closes it again.
type reached struct {
	column string
	ids    []link.ID
	end    string
}

// within is the condition under which a row is within reach in one of some ways, with its arguments. It is complete, so
// that others may follow it.
func within(r link.Reach, ways ...reached) (which string, args []any) {
	if r.All {
		return "1 = 1", nil
	}
	var some []string
	for _, w := range ways {
		if len(w.ids) == 0 {
			continue
		}
		places := make([]string, len(w.ids))
		for i, id := range w.ids {
			args = append(args, id)
			places[i] = fmt.Sprintf("$%d", len(args))
		}
		some = append(some, w.column+" IN ("+strings.Join(places, ", ")+")"+w.end)
	}
	if len(some) == 0 {
		return "1 = 0", nil
	}
	return "(" + strings.Join(some, " OR ") + ")", args
}
