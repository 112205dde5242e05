package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ndjson is the media type of a stream of JSON documents, one per line.
const ndjson = "application/x-ndjson"

// rulesQuery is a gateway's hello.
type rulesQuery struct {
	GatewayID string `query:"gateway_id" required:"true" doc:"The gateway's own name, the same after a restart"`
	ProofKey  string `query:"proof_key" required:"true" doc:"Ed25519 public key, base64url without padding"`
	Revision  int64  `query:"revision" minimum:"0" doc:"The last revision that the gateway applied, 0 when none"`
	Tag       string `query:"tag" doc:"The tag of that revision, empty when none: then the full rules come first"`
}

// streamRules answers with the rules as they are, or with what changed since the gateway's own, and then with each
// change, until the gateway leaves or the server shuts down. An empty line goes out when there was nothing else to say for Options.KeepAlive; with it the gateway is
// noted as alive.
func (s *server) streamRules(ctx context.Context, in *rulesQuery) (*huma.StreamResponse, error) {
	caller := callerOf(ctx)
	key, err := readHello(in.GatewayID, in.ProofKey)
	if err != nil {
		return nil, err
	}
	if err := s.plane.GatewayHello(ctx, caller, in.GatewayID, key); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		w.Header().Set("Content-Type", ndjson)
		w.Header().Set("X-Accel-Buffering", "no") // a proxy in front must not wait for more
		w.WriteHeader(http.StatusOK)
		out := &lines{w: w, rc: http.NewResponseController(w), patience: streamPatience}

		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		news, ended := s.follow(ctx, caller, link.RulesVersion{Revision: in.Revision, Tag: in.Tag})
		defer func() { cancel(); <-ended }()
		if out.write(emptyLine) != nil { // so that the gateway has the head of the answer at once
			return
		}
		tick := time.NewTicker(s.o.KeepAlive)
		defer tick.Stop()
		for {
			select {
			case rules := <-news:
				for _, line := range rules.lines {
					if out.write(line) != nil {
						return
					}
				}
				tick.Reset(s.o.KeepAlive)
			case <-tick.C:
				if out.write(emptyLine) != nil {
					return
				}
				if err := s.plane.GatewayHello(ctx, caller, in.GatewayID, key); err != nil && ctx.Err() == nil {
					requestOf(ctx).fail(ctx, err)
					return // the gateway comes again, and by then perhaps this works
				}
			case <-ended:
				return
			case <-ctx.Done():
				return
			case <-s.o.Done:
				return
			}
		}
	}}, nil
}

// follow sends what leads from a version of the rules to the newest, again and again, until ctx ends, or until that cannot
// be had; ended is closed then. A receiver that is slow gets all that happened meanwhile in one.
func (s *server) follow(ctx context.Context, caller policy.Caller, at link.RulesVersion) (news <-chan *ruleLines, ended <-chan struct{}) {
	out, done := make(chan *ruleLines), make(chan struct{})
	go func() {
		defer close(done)
		newest, err := s.plane.WaitRules(ctx, caller, 0)
		for err == nil {
			var rules *ruleLines
			if rules, err = s.feed.news(ctx, caller, at, newest); err != nil {
				break
			}
			at = rules.to
			select {
			case out <- rules:
			case <-ctx.Done():
			}
			newest, err = s.plane.WaitRules(ctx, caller, at.Revision)
		}
		if ctx.Err() == nil {
			requestOf(ctx).fail(ctx, err)
		}
	}()
	return out, done
}

// emptyLine keeps a stream alive.
var emptyLine = []byte{'\n'}

// streamPatience is how long a stream's reader may take nothing.
const streamPatience = 30 * time.Second

// lines writes lines to a peer and gives up on one that does not take them.
type lines struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
}

// write writes a line that ends in its line break.
func (l *lines) write(line []byte) error {
	// A writer without deadlines (a test's) is written to without.
	_ = l.rc.SetWriteDeadline(time.Now().Add(l.patience))
	if _, err := l.w.Write(line); err != nil {
		return err
	}
	return l.rc.Flush()
}
