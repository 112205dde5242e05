package proxyconf

func (s *site) caddy() {}
