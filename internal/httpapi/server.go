package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/policy"
)

// maxBody is the longest request body, in bytes; maxReport the longest of a gateway's reports, whose batches hold many
// flows.
const (
	maxBody   = 1 << 20
	maxReport = 8 << 20
)

// Options are the handler's settings. The zero value is usable.
type Options struct {
	Log       *slog.Logger                // slog.Default when nil
	Version   string                      // stands in the OpenAPI document and in /healthz
	KeepAlive time.Duration               // how often a silent stream gets an empty line; 10 s when 0
	Done      <-chan struct{}             // streams end when it is closed, so that a server can shut down; never when nil
	Ready     func(context.Context) error // asked by /readyz; always ready when nil

	Rates   Rates   // how often each caller may ask
	Streams Streams // how many streams of events there may be

	// Proxies are those in front of this server whose X-Forwarded-For is believed; none is when empty.
	Proxies []netip.Prefix

	// Observe is told of every request that was answered; nobody is when nil. It must not be slow.
	Observe func(Observation)

	// BodyTimeout is how long a body may take to arrive; 30 s when 0. The deadline stays on the stream while the handler
	// works, and ends the request's context when it passes: it has to be longer than any handler takes as well. Twice
	// as long is what a request may take in all, until the peer has taken the answer; streams may take longer.
	BodyTimeout time.Duration
}

// Observation is one request that was answered.
type Observation struct {
	Method string // "OTHER" when it is none of HTTP's
	Route  string // the pattern of its path; "unknown" when no route fits
	Status int
	Took   time.Duration
}

// server is what the handlers share.
type server struct {
	plane *control.Plane
	feed  *ruleFeed
	o     Options
	mux   *http.ServeMux
	api   huma.API

	sameOrigin *http.CrossOriginProtection // of requests that a browser makes with its cookie
	callers    *buckets
	addresses  *buckets
	signIns    *buckets
	streams    *openStreams

	getters map[string]getter       // of the objects, by their paths
	objects map[reflect.Type]bool   // what the getters answer with
	answers map[string]reflect.Type // of the operations, by their ids
}

// New returns the API of plane as a handler. It owns nothing that needs closing; streams end with their client or with
// Options.Done.
func New(plane *control.Plane, o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 10 * time.Second
	}
	if o.BodyTimeout <= 0 {
		o.BodyTimeout = 30 * time.Second
	}
	bendHuma()
	s := &server{
		plane: plane, feed: newRuleFeed(plane), o: o, mux: http.NewServeMux(),
		sameOrigin: http.NewCrossOriginProtection(),
		callers:    newBuckets(o.Rates.Callers, Rate{50, 200}), addresses: newBuckets(o.Rates.Addresses, Rate{5, 30}),
		signIns: newBuckets(o.Rates.SignIns, Rate{1, 20}), streams: newOpenStreams(o.Streams),
		getters: map[string]getter{}, objects: map[reflect.Type]bool{}, answers: map[string]reflect.Type{},
	}
	s.api = humago.New(s.mux, s.config())
	s.api.UseMiddleware(s.authenticate, s.limited, s.once)
	s.login()
	s.sessions()
	s.apiKeys()
	s.me()
	s.organisations()
	s.people()
	s.serviceAccounts()
	s.members()
	s.projects()
	s.regions()
	s.serviceProfile()
	s.clusters()
	s.traffic()
	s.publicAccess()
	s.services()
	s.connections()
	s.projectConnections()
	s.projectTrustedOwners()
	s.claims()
	s.egress()
	s.awsEndpointConnections()
	s.reverseProxy()
	s.clientCertificates()
	s.artifactory()
	s.trustedOwners()
	s.allowList()
	s.records()
	s.histories()
	s.events()
	s.webhooks()
	s.projectHistories()
	s.audit()
	s.backup()
	s.gateways()
	s.health()
	s.document()
	return s.traced(s.outer(s.mux))
}

// config is huma's configuration without what its default adds: no $schema in bodies, no page of documentation that
// loads scripts from elsewhere, JSON only.
func (s *server) config() huma.Config {
	const refs = "#/components/schemas/"
	c := huma.DefaultConfig("Postern", s.o.Version)
	c.CreateHooks = nil
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat}
	c.Components.Schemas = huma.NewMapRegistry(refs, schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "Of the installation, or of a person or a service account"},
	}
	c.Info.Description = "Private endpoints between a vendor's clusters and its customers' networks. " +
		"Every error, whatever its status, has the shape of Problem."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	return c
}

// schemaName names a schema after its Go type, which package api keeps unique.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" {
		return hint
	}
	name := t.Name()
	return strings.ToUpper(name[:1]) + name[1:]
}

// route describes one operation. id is also the name by which generated clients know it.
type route struct {
	method, path, id, tag, summary string
	maxBody                        int64 // bytes; maxBody when 0
	open                           bool  // needs no token
	single                         bool  // a GET of one object, though its path does not end in a name
	secret                         bool  // the answer is shown once: it is kept nowhere, and told to no repetition
	signsIn                        bool  // makes somebody known: slowed down by address
	status                         int   // of a success; 200 when 0
	artifactory                    bool  // is asked by clients of Artifactory, who show who they are in its ways
}

func (r route) operation() huma.Operation {
	op := huma.Operation{
		Method: r.method, Path: r.path, OperationID: r.id, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: http.StatusOK, MaxBodyBytes: maxBody + 1, // huma refuses a body of exactly its limit
	}
	if r.maxBody != 0 {
		op.MaxBodyBytes = r.maxBody + 1
	}
	if r.secret {
		op.Extensions = map[string]any{secretAnswer: true}
	}
	if r.signsIn {
		op.Metadata = map[string]any{signsIn: true}
	}
	if r.artifactory {
		op.Metadata = map[string]any{asArtifactory: true}
	}
	if r.status != 0 {
		op.DefaultStatus = r.status
	}
	if !r.open {
		op.Security = []map[string][]string{{"token": {}}}
	}
	return op
}

// answer is a JSON body.
type answer[T any] struct {
	Status int
	Body   T
}

// empty is the body {}: success with nothing to tell.
type empty struct{}

// register serves a route by f, which gets the caller that the request's token told, and the zero Caller on a route
// that is open.
func register[I, T any](s *server, r route, f func(context.Context, policy.Caller, *I) (T, error)) {
	op := r.operation()
	op.BodyReadTimeout = s.o.BodyTimeout
	s.answers[r.id] = reflect.TypeFor[T]()
	if r.method == http.MethodGet && (r.single || strings.HasSuffix(r.path, "}")) {
		s.getters[r.path] = getterOf(f)
		s.objects[reflect.TypeFor[T]()] = true
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*answer[T], error) {
		req := requestOf(ctx)
		out, err := onCondition(ctx, s, r, func(ctx context.Context) (T, error) { return f(ctx, callerOf(ctx), in) })
		if err != nil {
			req.cause = err
			return nil, err
		}
		a := &answer[T]{Status: op.DefaultStatus, Body: out}
		if s.objects[reflect.TypeFor[T]()] {
			tag := tagOf(out)
			req.answer.Set("ETag", tag)
			if r.method == http.MethodGet && tagListed(req.asked.Get("If-None-Match"), tag, true) {
				a.Status = http.StatusNotModified
			}
		}
		return a, nil
	})
}
