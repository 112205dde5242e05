package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// allowList finds the longest range that holds an address. Ranges nest or are apart, never half of each, so that beside
// each one it is enough to know the next wider that holds it: the range that begins last before an address is the
// longest that holds it, or lies within that.
type allowList struct {
	ranges []allowRange // by first address, IPv4 before IPv6, and of the same first address the wider one first
	rules  string       // what Decision.Rule says of each range, one after the other
}

type allowRange struct {
	prefix  netip.Prefix
	wider   int32  // index of the next wider range that holds this one; -1 when none does
	ruleEnd uint32 // where this range's rule ends in rules; it begins where the one before it ends
	ui, sql bool
}

// compileAllowList leaves out what is no range. Of a range that is there twice the marks are added up.
func compileAllowList(list []link.AllowEntry) allowList {
	if len(list) == 0 {
		return allowList{}
	}
	ranges := make([]allowRange, 0, len(list))
	for _, e := range list {
		prefix := e.Prefix.Masked()
		if prefix.IsValid() {
			ranges = append(ranges, allowRange{prefix: prefix, ui: e.UI, sql: e.SQL})
		}
	}
	slices.SortFunc(ranges, func(a, b allowRange) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), a.prefix.Bits()-b.prefix.Bits())
	})
	kept := ranges[:0]
	var rules strings.Builder
	for _, r := range ranges {
		last := int32(len(kept) - 1)
		if last >= 0 && kept[last].prefix == r.prefix {
			kept[last].ui, kept[last].sql = kept[last].ui || r.ui, kept[last].sql || r.sql
			continue
		}
		for last >= 0 && !kept[last].prefix.Contains(r.prefix.Addr()) {
			last = kept[last].wider
		}
		r.wider = last
		rules.WriteString(RuleAllowList + " " + r.prefix.String())
		r.ruleEnd = uint32(rules.Len())
		kept = append(kept, r)
	}
	return allowList{ranges: slices.Clip(kept), rules: rules.String()}
}

// admits reports whether the longest range that holds addr admits it to ports of a class, and that range's rule; the
// rule is empty when no range holds it.
func (l *allowList) admits(addr netip.Addr, class link.Traffic) (rule string, ok bool) {
	if !addr.IsValid() {
		return "", false
	}
	addr = addr.Unmap().WithZone("")
	from, to := 0, len(l.ranges) // the first range that begins behind addr lies in [from, to]
	for from < to {
		middle := int(uint(from+to) >> 1)
		if l.ranges[middle].prefix.Addr().Compare(addr) <= 0 {
			from = middle + 1
		} else {
			to = middle
		}
	}
	for i := int32(from) - 1; i >= 0; i = l.ranges[i].wider {
		r := &l.ranges[i]
		if !r.prefix.Contains(addr) {
			continue
		}
		begin := uint32(0)
		if i > 0 {
			begin = l.ranges[i-1].ruleEnd
		}
		return l.rules[begin:r.ruleEnd], r.admits(class)
	}
	return "", false
}

func (r *allowRange) admits(class link.Traffic) bool {
	switch class {
	case link.TrafficUI:
		return r.ui
	case link.TrafficSQL:
		return r.sql
	}
	return r.ui || r.sql
}
