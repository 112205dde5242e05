package proxyconf

import (
	"slices"

	"github.com/postern/postern/internal/link"
)

const serverList = "nginx, apache, haproxy, caddy, direct"

func known(s link.WebServer) bool {
	return slices.Contains([]link.WebServer{link.NGINX, link.Apache, link.HAProxy, link.Caddy, link.Embedded}, s)
}

func wrong(field, reason, message, hint string) *link.Error {
	return &link.Error{Kind: link.Invalid, Reason: reason, Field: field, Message: message, Hint: hint}
}

// Check returns everything that is wrong with p, which is complete; nothing when p can be rendered. Each error is of kind
// Invalid and has the field at fault in the words of the REST API: server_name, nodes[0].host, repositories[1].port.
func Check(p link.ReverseProxy) []*link.Error {
	var errs []*link.Error
	if !known(p.Server) {
		errs = append(errs, wrong("server", "UNKNOWN_SERVER", "not a web server: "+link.Quote(string(p.Server)), "one of "+serverList))
	}
	return errs
}
