// Package openid signs people in at an OpenID provider: it sends the browser there, and believes what comes back only after
// everything about it was checked. Who may do what here is not its business.
package openid
