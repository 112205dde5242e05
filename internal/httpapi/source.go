package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf is the address that a request came from: the peer's or, when that is a proxy that is believed, the last one in
// X-Forwarded-For that is none. Each proxy adds whom it heard from at the end, so that what stands before the first that is
// not believed may be anybody's invention. The zero address is one that is not known, as of a test's own request.
func sourceOf(r *http.Request, proxies []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := peer.Addr().Unmap()
	believed := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
	}
	// Several fields are one list: RFC 9110, section 5.3.
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, one := range slices.Backward(said) {
		if !believed(from) {
			return from
		}
		next, ok := forwarded(strings.TrimSpace(one))
		if !ok {
			return from // whoever the proxy heard from, this is as far as is known
		}
		from = next
	}
	return from
}

// forwarded reads an address as proxies write them: with a port or without, an IPv6 address in brackets or not.
func forwarded(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

// addressOf is whom the address stands for that a request came from: itself or, of IPv6, its network of 64 bits, since that
// is what one visitor has.
func addressOf(source netip.Addr) string {
	if !source.Is6() {
		return source.String()
	}
	return netip.PrefixFrom(source.WithZone(""), 64).Masked().String()
}
