package main

import "github.com/spf13/pflag"

// stackFlags are the addresses of an embedded installation.
func (a *app) stackFlags(f *pflag.FlagSet, cfg *stackConfig) {
	f.StringVar(&cfg.APIAddr, "api-addr", "", "address of the control plane's API (default a free port of 127.0.0.1, like the others)")
	f.StringVar(&cfg.AWSAddr, "aws-addr", "", "address of the embedded cloud's AWS endpoint")
	f.StringVar(&cfg.SOCKSAddr, "socks-addr", "", "address of the SOCKS5 vantage points")
	f.StringVar(&cfg.HTTPProxyAddr, "http-proxy-addr", "", "address of the HTTP CONNECT vantage points")
	f.StringVar(&cfg.DNSHost, "dns-host", "", "host of the VPCs' DNS servers, each on a free port (default 127.0.0.1)")
	f.StringVar(&cfg.PublicAddr, "gateway-public-addr", "", "address of the gateway's public listener")
	f.StringVar(&cfg.PrivateAddr, "gateway-private-addr", "", "address of the gateway's private listener")
}
