package control

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/store"
)

const (
	defaultLimit = 100
	mostLimit    = 500
)

// cut reads a page's token. of names the list, so that a token of another list is noticed.
func (p Page) cut(of string) (store.Cut, error) {
	c := store.Cut{Limit: p.Limit, Descending: p.Descending}
	if c.Limit <= 0 {
		c.Limit = defaultLimit
	}
	c.Limit = min(c.Limit, mostLimit)
	if p.Token == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err == nil {
		if n, ok := strings.CutPrefix(string(b), cursorPrefix(of, p.Descending)); ok {
			c.After, err = strconv.ParseInt(n, 10, 64)
			if err == nil && c.After > 0 {
				return c, nil
			}
		}
	}
	return c, invalid("pagination.page", "MALFORMED_PAGE", "not a page of this list",
		"give next_page of the previous answer unchanged, with the same sort order, or nothing for the first page")
}

// next is the token of the part after a list's seq, empty at its end.
func (p Page) next(of string, seq int64) string {
	if seq == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix(of, p.Descending) + strconv.FormatInt(seq, 10)))
}

func cursorPrefix(of string, descending bool) string { return fmt.Sprintf("1 %s %t ", of, descending) }
