package fabric

import "net/http"

func (f *Fabric) handler() http.Handler { return http.NotFoundHandler() }
