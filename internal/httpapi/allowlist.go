package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// AllowEntryPath is an entry of a cluster's allow list in a path.
type AllowEntryPath struct {
	ClusterPath
	IP   string `path:"cidr_ip" doc:"First address of the range" example:"203.0.113.0"`
	Mask int    `path:"cidr_mask" doc:"Length of the prefix" example:"24"`
}

func (p AllowEntryPath) entry() (link.ID, netip.Prefix, error) {
	id, err := p.cluster()
	if err != nil {
		return "", netip.Prefix{}, err
	}
	prefix, err := link.ParsePrefix(p.IP, p.Mask)
	return id, prefix, err
}

func (s *server) allowList() {
	const tag, path = "IP allow list", networkingBase + "/allowlist"
	const entryPath = path + "/{cidr_ip}/{cidr_mask}"

	type list struct {
		ClusterPath
		PageQuery
	}
	register(s, route{method: http.MethodGet, path: path, id: "ListAllowlistEntries", tag: tag, summary: "List the allow list"},
		func(ctx context.Context, c policy.Caller, in *list) (api.AllowList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.AllowList{}, err
			}
			p, err := s.plane.AllowList(ctx, c, id, in.page())
			return api.AllowList{
				AllowList: each(p.Entries, wireAllowEntry), Propagating: p.Propagating, Pagination: api.Pagination{NextPage: p.Next},
			}, err
		})

	type add struct {
		ClusterPath
		Body api.AllowEntry
	}
	register(s, route{method: http.MethodPost, path: path, id: "AddAllowlistEntry", tag: tag, summary: "Add an entry"},
		func(ctx context.Context, c policy.Caller, in *add) (api.AllowEntry, error) {
			id, err := in.cluster()
			if err != nil {
				return api.AllowEntry{}, err
			}
			prefix, err := link.ParsePrefix(in.Body.CIDRIP, in.Body.CIDRMask)
			if err != nil {
				return api.AllowEntry{}, err
			}
			e, err := s.plane.AddAllowEntry(ctx, c, id, link.AllowEntry{Prefix: prefix, UI: in.Body.UI, SQL: in.Body.SQL, Name: in.Body.Name})
			return answerAllowEntry(e, err)
		})

	register(s, route{method: http.MethodGet, path: entryPath, id: "GetAllowlistEntry", tag: tag, summary: "Get an entry"},
		func(ctx context.Context, c policy.Caller, in *AllowEntryPath) (api.AllowEntry, error) {
			id, prefix, err := in.entry()
			if err != nil {
				return api.AllowEntry{}, err
			}
			return answerAllowEntry(s.plane.AllowEntry(ctx, c, id, prefix))
		})

	type change struct {
		AllowEntryPath
		Body api.AllowEntryUpdate
	}
	register(s, route{
		method: http.MethodPut, path: entryPath, id: "PutAllowlistEntry", tag: tag,
		summary: "Make an entry be as given; what is absent becomes false or empty",
	},
		func(ctx context.Context, c policy.Caller, in *change) (api.AllowEntry, error) {
			id, prefix, err := in.entry()
			if err != nil {
				return api.AllowEntry{}, err
			}
			e, err := s.plane.PutAllowEntry(ctx, c, id, changed(link.AllowEntry{Prefix: prefix}, in.Body))
			return answerAllowEntry(e, err)
		})

	register(s, route{
		method: http.MethodPatch, path: entryPath, id: "UpdateAllowlistEntry", tag: tag,
		summary: "Change an entry that exists; what is absent stays as it is",
	},
		func(ctx context.Context, c policy.Caller, in *change) (api.AllowEntry, error) {
			id, prefix, err := in.entry()
			if err != nil {
				return api.AllowEntry{}, err
			}
			e, err := s.plane.UpdateAllowEntry(ctx, c, id, prefix, control.AllowUpdate{UI: in.Body.UI, SQL: in.Body.SQL, Name: in.Body.Name})
			return answerAllowEntry(e, err)
		})

	register(s, route{
		method: http.MethodDelete, path: entryPath, id: "DeleteAllowlistEntry", tag: tag,
		summary: "Remove an entry; flows that nothing else admits are cut",
	},
		func(ctx context.Context, c policy.Caller, in *AllowEntryPath) (api.AllowEntry, error) {
			id, prefix, err := in.entry()
			if err != nil {
				return api.AllowEntry{}, err
			}
			e, err := s.plane.RemoveAllowEntry(ctx, c, id, prefix)
			return answerAllowEntry(e, err)
		})
}

// answerAllowEntry translates an entry, unless there is none because of err: a zero prefix has no address to show.
func answerAllowEntry(e link.AllowEntry, err error) (api.AllowEntry, error) {
	if err != nil {
		return api.AllowEntry{}, err
	}
	return wireAllowEntry(e), nil
}

func changed(e link.AllowEntry, u api.AllowEntryUpdate) link.AllowEntry {
	if u.UI != nil {
		e.UI = *u.UI
	}
	if u.SQL != nil {
		e.SQL = *u.SQL
	}
	if u.Name != nil {
		e.Name = *u.Name
	}
	return e
}
