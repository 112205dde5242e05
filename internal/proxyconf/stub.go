package proxyconf
func (s *site) apache() {}
func (s *site) haproxy() {}
func (s *site) caddy() {}
func (s *site) haproxyCertificate() (string, bool) { return "", true }
