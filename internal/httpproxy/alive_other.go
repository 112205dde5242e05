//go:build !unix

package httpproxy

import "net"

// alive cannot tell: a request that must not be sent twice gets a connection of its own.
func alive(net.Conn) bool { return false }
