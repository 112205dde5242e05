package connect

import "context"

// CreateEndpoint makes the endpoint of req exist and does nothing else: nobody is trusted, nothing is registered, and the
// endpoint waits at the vendor's service. It is for those who register by other means, and for showing what happens to
// somebody who does not. Called again it finds the endpoint that is there.
func CreateEndpoint(ctx context.Context, cfg Config, req Request) (Result, error) {
	r := newRun(cfg, nil)
	err := r.service(ctx, req)
	if err == nil {
		if blocking := r.plan.Blocking(); len(blocking) > 0 {
			err = refusal(blocking)
		}
	}
	if err == nil {
		err = r.endpoint(ctx)
	}
	if err != nil {
		r.fail(err)
	}
	return r.result, err
}
