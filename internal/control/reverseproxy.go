package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/proxyconf"
	"github.com/postern/postern/internal/store"
)

// ReverseProxyView is a cluster's reverse proxy, complete, and how often it was changed, from 1.
type ReverseProxyView struct {
	link.ReverseProxy
	Version int64
}

// Snippet is the configuration of a web server.
type Snippet struct {
	Target proxyconf.Target
	proxyconf.Output
}

func reverseProxyRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectReverseProxy, ID: string(id)}
}

// ReverseProxy returns a cluster's reverse proxy.
func (p *Plane) ReverseProxy(ctx context.Context, c policy.Caller, clusterID link.ID) (out ReverseProxyView, err error) {
	err = p.read(ctx, c, reverseProxyRef(clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = reverseProxy(tx, clusterID)
		return err
	})
	return out, err
}

// ReasonNoProxy is the reason of the answer about a cluster without a reverse proxy.
const ReasonNoProxy = "REVERSE_PROXY_NOT_FOUND"

func reverseProxy(tx *store.Tx, clusterID link.ID) (out ReverseProxyView, err error) {
	out.ReverseProxy, out.Version, err = tx.ReverseProxy(clusterID)
	return out, missing(err, ReasonNoProxy, "reverse proxy of this cluster: its TLS passes the gateway unread", `PUT one, or use "postern reverse-proxy set"`)
}

// ReverseProxyChange is what is to become of a cluster's reverse proxy.
type ReverseProxyChange struct {
	// Make makes the new settings of those that there are, which are zero when there are none. It may be called again.
	Make func(link.ReverseProxy) (link.ReverseProxy, error)

	// Try stores nothing and renders for Target: a server without a version is of the one that Debian 12 has, and no server the
	// one that the settings name.
	Try    bool
	Target proxyconf.Target
}

// SetReverseProxy changes a cluster's reverse proxy, with the defaults written out, and returns it as it is then, or would be;
// and when it was only tried, its rendering. Of wrong settings every mistake is told at once, as link.Errors joined.
func (p *Plane) SetReverseProxy(ctx context.Context, c policy.Caller, clusterID link.ID, u ReverseProxyChange) (out ReverseProxyView, tried Snippet, err error) {
	err = p.change(ctx, c, reverseProxyRef(clusterID), func(ch *change) error {
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		before, version, err := ch.ReverseProxy(clusterID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		given, err := u.Make(before)
		if err != nil {
			return err
		}
		if out.ReverseProxy, err = settleProxy(c, cl, before, given); err != nil {
			return err
		}
		if u.Try {
			out.Version = 0
			tried, err = snippet(out.ReverseProxy, u.Target)
			return err
		}
		out.Version = version
		if version > 0 && reflect.DeepEqual(before, out.ReverseProxy) {
			return nil
		}
		if out.Version, err = ch.PutReverseProxy(clusterID, out.ReverseProxy); err != nil {
			return err
		}
		typ, old := eventChanged, any(before)
		if version == 0 {
			typ, old = eventCreated, nil
		}
		return ch.proxyChanged(reverseProxyRef(clusterID), clusterID, typ, "REVERSE_PROXY", old, out.ReverseProxy,
			"the reverse proxy is now: "+describeProxy(out.ReverseProxy))
	})
	return out, tried, err
}

// proxyChanged writes down that something was changed by which the reverse proxy of a cluster acts, in the audit log and in the
// history of the cluster, and has the gateways know.
func (ch *change) proxyChanged(of link.ObjectRef, clusterID link.ID, typ, reason string, before, after any, why string) error {
	return errors.Join(ch.RulesChanged(store.RulesOfCluster, clusterID), ch.note(clusterRef(clusterID), eventChanged, reason, "%s", why),
		ch.audit(of, typ, "", before, after, why))
}

// DeleteReverseProxy takes a cluster's reverse proxy away: its flows pass the gateway unread again. There being none is no error.
func (p *Plane) DeleteReverseProxy(ctx context.Context, c policy.Caller, clusterID link.ID) error {
	return p.change(ctx, c, reverseProxyRef(clusterID), func(ch *change) error {
		if _, err := cluster(ch.Tx, clusterID); err != nil {
			return err
		}
		before, _, err := ch.ReverseProxy(clusterID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(ch.RemoveReverseProxy(clusterID),
			ch.proxyChanged(reverseProxyRef(clusterID), clusterID, eventDeleted, "REVERSE_PROXY", before, nil, "the reverse proxy was taken away"))
	})
}

// ReverseProxySnippet renders a cluster's reverse proxy for a target: a server without a version is of the one that Debian 12
// has, and no server the one that the settings name.
func (p *Plane) ReverseProxySnippet(ctx context.Context, c policy.Caller, clusterID link.ID, t proxyconf.Target) (out Snippet, err error) {
	v, err := p.ReverseProxy(ctx, c, clusterID)
	if err != nil {
		return Snippet{}, err
	}
	return snippet(v.ReverseProxy, t)
}

func snippet(p link.ReverseProxy, t proxyconf.Target) (out Snippet, err error) {
	if t.Server == "" {
		t.Server = p.Server
	}
	out.Target = t
	out.Output, err = proxyconf.Render(p, t)
	return out, err
}

// settleProxy checks what a caller gave for a cluster's reverse proxy, which had before, and writes its defaults out.
func settleProxy(c policy.Caller, cl link.Cluster, before, given link.ReverseProxy) (link.ReverseProxy, error) {
	if err := checkProxyLengths(given); err != nil {
		return link.ReverseProxy{}, err
	}
	out := proxyconf.Complete(given)
	var wrong []error
	for _, e := range slices.Concat(proxyconf.Check(out), notTheirs(c, cl, before, out)) {
		wrong = append(wrong, asGiven(*e, given, out))
	}
	return out, errors.Join(wrong...)
}

// checkProxyLengths bounds the lists of settings, which stand in the rules of every gateway.
func checkProxyLengths(p link.ReverseProxy) error {
	if n := len(p.Repositories); n > mostRepositories {
		return invalid("repositories", "TOO_MANY", fmt.Sprintf("repositories lists %d values", n), fmt.Sprintf("give at most %d", mostRepositories))
	}
	return errors.Join(checkLength("nodes", p.Nodes), checkLength("trusted_peers", p.TrustedPeers), checkLength("endpoints", p.Endpoints),
		checkLength("redirects.hosts", p.Redirects.Hosts))
}

// mostRepositories is how many repositories a reverse proxy may name.
const mostRepositories = 1000

// asGiven makes an error about complete settings, whose lists are sorted, one about those that were given: it names the place
// where what is wrong stands there.
func asGiven(e link.Error, given, complete link.ReverseProxy) error {
	key := func(r link.ProxyRepository) string { return r.Key }
	host := func(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }
	for _, list := range []struct {
		field           string
		given, complete []string
	}{
		{"repositories", textsOf(given.Repositories, key), textsOf(complete.Repositories, key)},
		{"endpoints", textsOf(given.Endpoints, func(id link.EndpointID) string { return string(id) }), textsOf(complete.Endpoints, func(id link.EndpointID) string { return string(id) })},
		{"redirects.hosts", textsOf(given.Redirects.Hosts, host), complete.Redirects.Hosts},
	} {
		place, rest, ok := strings.Cut(strings.TrimPrefix(e.Field, list.field+"["), "]")
		at, err := strconv.Atoi(place)
		if !ok || err != nil || !strings.HasPrefix(e.Field, list.field+"[") || at >= len(list.complete) {
			continue
		}
		what, turn := list.complete[at], 0 // of several that are alike it is the same one by its turn: the sort is stable
		for _, v := range list.complete[:at] {
			if v == what {
				turn++
			}
		}
		for i, v := range list.given {
			if v != what {
				continue
			}
			if turn == 0 {
				e.Field = fmt.Sprintf("%s[%d]%s", list.field, i, rest)
				break
			}
			turn--
		}
	}
	return &e
}

func textsOf[T any](list []T, f func(T) string) (out []string) {
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

// notTheirs finds what the embedded server may not do for a cluster on behalf of a caller: act by names that are not the
// cluster's, by which the gateway tells whose a request is, or lead to servers that the vendor did not name.
func notTheirs(c policy.Caller, cl link.Cluster, before, p link.ReverseProxy) (wrong []*link.Error) {
	if p.Server != link.Embedded {
		return nil
	}
	own := cl.Names()
	refuse := func(field, name string) {
		wrong = append(wrong, &link.Error{
			Kind: link.Invalid, Reason: "NAME_NOT_THE_CLUSTERS", Field: field, Message: link.Quote(name) + " is not a name of cluster " + cl.Name,
			Hint: "it has " + strings.Join(own, ", ") + "; an operator can add names of the customer's own to the cluster",
		})
	}
	if p.ServerName != "" && !slices.Contains(own, p.ServerName) {
		refuse("server_name", p.ServerName)
	}
	below := func(name string) bool { return strings.HasSuffix(p.Wildcard, "."+name) }
	if p.Wildcard != "" && !slices.ContainsFunc(own, below) {
		refuse("wildcard", p.Wildcard)
	}
	for i, r := range p.Repositories {
		if r.ServerName != "" && !slices.Contains(own, r.ServerName) {
			refuse(fmt.Sprintf("repositories[%d].server_name", i), r.ServerName)
		}
	}
	kept := before.Server == link.Embedded && slices.Equal(p.Nodes, before.Nodes)
	if len(p.Nodes) > 0 && !kept && !operates(c) {
		// The gateway speaks with them inside the vendor's network, where a customer chooses neither hosts nor ports.
		wrong = append(wrong, &link.Error{
			Kind: link.Invalid, Reason: "NODES_OF_THE_VENDOR", Field: "nodes", Message: "where the gateway finds the application is the vendor's to say",
			Hint: "leave nodes out: requests then go to the cluster's backends; or ask an operator to name them",
		})
	}
	return wrong
}

// describeProxy says what is set, for a line of history.
func describeProxy(p link.ReverseProxy) string {
	out := []string{"server " + string(p.Server)}
	if p.ServerName != "" {
		out = append(out, "name "+p.ServerName)
	}
	if p.HTTP {
		out = append(out, fmt.Sprintf("http on port %d", p.HTTPPort))
	}
	if p.HTTPS {
		out = append(out, fmt.Sprintf("https on port %d", p.HTTPSPort))
	}
	if p.Docker != link.DockerNone {
		noun := "repositories"
		if len(p.Repositories) == 1 {
			noun = "repository"
		}
		out = append(out, fmt.Sprintf("%d %s by %s", len(p.Repositories), noun, p.Docker))
	}
	if p.ClientCertificates.Mode != link.CertificatesOff && p.Server != link.Embedded {
		out = append(out, "client certificates "+strings.ToLower(string(p.ClientCertificates.Mode)))
	}
	return strings.Join(out, ", ")
}
