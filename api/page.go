package api

import (
	"net/url"
	"strconv"
)

// Page asks for one page of a list. The zero value asks for the first page in the list's own order.
type Page struct {
	Token      string // the previous answer's Pagination.NextPage; empty for the first page
	Limit      int    // how many at most; 0 leaves it to the server (100), which gives at most 500
	Descending bool   // the other way round
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Token != "" {
		q.Set("pagination.page", p.Token)
	}
	if p.Limit != 0 {
		q.Set("pagination.limit", strconv.Itoa(p.Limit))
	}
	if p.Descending {
		q.Set("pagination.sort_order", "DESC")
	}
	return q
}

// Pagination is a paginated answer's way on.
type Pagination struct {
	NextPage string `json:"next_page,omitempty" doc:"Send as pagination.page for the next page; absent on the last one"`
}
