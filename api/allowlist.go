package api

import (
	"context"
	"net/http"
	"strconv"
)

// AllowEntry is one range of a cluster's IP allow list. An entry with neither UI nor SQL admits nothing.
type AllowEntry struct {
	CIDRIP   string `json:"cidr_ip" doc:"First address of the range" example:"203.0.113.0"`
	CIDRMask int    `json:"cidr_mask" doc:"Length of the prefix" example:"24"`
	UI       bool   `json:"ui" doc:"Admit to the vendor's web ports"`
	SQL      bool   `json:"sql" doc:"Admit to the vendor's data ports"`
	Name     string `json:"name,omitempty"`
}

// AllowEntryUpdate is what PUT makes an entry be, and what PATCH changes: with PATCH an absent field stays as it is,
// with PUT it becomes false or empty.
type AllowEntryUpdate struct {
	UI   *bool   `json:"ui,omitempty"`
	SQL  *bool   `json:"sql,omitempty"`
	Name *string `json:"name,omitempty"`
}

// AllowList is a page of a cluster's allow list. Propagating is true while a gateway does not apply its latest change.
type AllowList struct {
	AllowList   []AllowEntry `json:"allowlist"`
	Propagating bool         `json:"propagating" doc:"Whether a gateway does not yet apply the latest change"`
	Pagination  Pagination   `json:"pagination"`
}

// AllowList returns a page of the cluster's allow list.
func (c *Client) AllowList(ctx context.Context, clusterID string, p Page) (AllowList, error) {
	var out AllowList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "allowlist"), p.query(), nil, &out)
	return out, err
}

// AllowEntry returns the entry of a range.
func (c *Client) AllowEntry(ctx context.Context, clusterID, ip string, mask int) (AllowEntry, error) {
	var out AllowEntry
	err := c.call(ctx, http.MethodGet, networking(clusterID, "allowlist", ip, strconv.Itoa(mask)), nil, nil, &out)
	return out, err
}

// AddAllowEntry adds an entry.
func (c *Client) AddAllowEntry(ctx context.Context, clusterID string, e AllowEntry) (AllowEntry, error) {
	var out AllowEntry
	err := c.call(ctx, http.MethodPost, networking(clusterID, "allowlist"), nil, e, &out)
	return out, err
}

// PutAllowEntry makes the entry of a range be as given, whether it existed or not.
func (c *Client) PutAllowEntry(ctx context.Context, clusterID, ip string, mask int, u AllowEntryUpdate) (AllowEntry, error) {
	var out AllowEntry
	err := c.call(ctx, http.MethodPut, networking(clusterID, "allowlist", ip, strconv.Itoa(mask)), nil, u, &out)
	return out, err
}

// UpdateAllowEntry changes what is set in u of an entry that exists.
func (c *Client) UpdateAllowEntry(ctx context.Context, clusterID, ip string, mask int, u AllowEntryUpdate) (AllowEntry, error) {
	var out AllowEntry
	err := c.call(ctx, http.MethodPatch, networking(clusterID, "allowlist", ip, strconv.Itoa(mask)), nil, u, &out)
	return out, err
}

// RemoveAllowEntry removes an entry and returns what it was. Flows that nothing else admits are cut.
func (c *Client) RemoveAllowEntry(ctx context.Context, clusterID, ip string, mask int) (AllowEntry, error) {
	var out AllowEntry
	err := c.call(ctx, http.MethodDelete, networking(clusterID, "allowlist", ip, strconv.Itoa(mask)), nil, nil, &out)
	return out, err
}
