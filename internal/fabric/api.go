package fabric

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// largestBody bounds a request's body.
const largestBody = 1 << 20

// A call is one signed request on its way through a service.
type call struct {
	f         *Fabric
	service   *service
	action    string
	account   string // id
	key       string // access key id
	region    string // of the credential scope
	body      []byte
	params    url.Values // of the query protocols
	requestID string

	s   *State    // what the action reads, and changes when it may
	now time.Time // of the transition
}

// service is how one of the cloud's services speaks.
type service struct {
	regional bool // answers only in the configured regions
	// Its names for what goes wrong before an action runs.
	noSignature  *apiError
	badSignature func(reason string) *apiError // cannot be read
	unknownKey   *apiError
	wrong        *apiError
	expired      func(reason string) *apiError
	wrongRegion  func(region string) *apiError

	serve func(c *call, r *http.Request) (status int, header http.Header, answer []byte, err error)
	fault func(e *apiError, requestID string) []byte
}

// services by the name in the credential scope.
var services = map[string]*service{
	"ec2":                  &ec2Service,
	"elasticloadbalancing": &elbService,
	"route53":              &route53Service,
	"sts":                  &stsService,
}

// handler answers for all services.
func (f *Fabric) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{f: f, requestID: newRequestID()}
		status, header, answer, err := c.answer(w, r)
		if err != nil {
			status, answer = c.failure(err)
			header = nil
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
		w.Header().Set("X-Amzn-Requestid", c.requestID)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, xml.Header)
		_, _ = w.Write(answer)
		f.cfg.Log.Debug("call", "account", c.account, "action", c.action, "status", status, "err", err)
	})
}

// answer authenticates the request and carries it out.
func (c *call) answer(w http.ResponseWriter, r *http.Request) (int, http.Header, []byte, error) {
	c.service = guessService(r)
	var err error
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody)); err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return 0, nil, nil, failWith(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is larger than %d bytes.", tooLarge.Limit)
		}
		return 0, nil, nil, fail("IncompleteBody", "The body could not be read.")
	}
	if err := c.authenticate(r); err != nil {
		return 0, nil, nil, err
	}
	return c.service.serve(c, r)
}

// authenticate finds out who calls which service where, or refuses.
func (c *call) authenticate(r *http.Request) error {
	signature, problem := signatureOf(r)
	switch {
	case problem != "":
		return c.service.badSignature(problem)
	case signature == nil:
		return c.service.noSignature
	}
	service := services[signature.service]
	if service == nil {
		return c.service.badSignature("Credential should be scoped to one of the services ec2, elasticloadbalancing, route53 and sts, not '" + signature.service + "'.")
	}
	c.service = service
	account, known := c.f.keys[signature.accessKeyID]
	if !known || r.Header.Get("X-Amz-Security-Token") != "" || r.URL.Query().Has("X-Amz-Security-Token") {
		return service.unknownKey // no temporary credentials are ever given out, so every session token is unknown
	}
	if reason, ok := signature.fresh(c.f.cfg.Now()); !ok {
		return service.expired(reason)
	}
	if !signature.verifies(r, c.body, account.SecretAccessKey) {
		return service.wrong
	}
	if service.regional && !c.f.regionServed(signature.region) {
		return service.wrongRegion(signature.region)
	}
	c.account, c.key, c.region = account.ID, account.AccessKeyID, signature.region
	return nil
}

// guessService is the service whose manner of speaking an unreadable request gets its error in.
func guessService(r *http.Request) *service {
	if strings.HasPrefix(r.URL.Path, route53Path) {
		return &route53Service
	}
	return &ec2Service
}

// faulted is the error that Config.Limit or Config.Fault want the action to end with, nil when none.
func (c *call) faulted() error {
	if err := c.throttled(); err != nil {
		return err
	}
	if c.f.cfg.Fault == nil {
		return nil
	}
	if fault := c.f.cfg.Fault(c.account, c.action); fault != nil {
		return &apiError{Status: fault.Status, Code: fault.Code, Message: fault.Message}
	}
	return nil
}

// failure writes an error as the service does.
func (c *call) failure(err error) (int, []byte) {
	problem := (*apiError)(nil)
	if !errors.As(err, &problem) {
		c.f.cfg.Log.Error("a call failed inside", "action", c.action, "account", c.account, "err", err)
		problem = failWith(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
	}
	return problem.Status, c.service.fault(problem, c.requestID)
}

// newRequestID is a random UUID. It is no part of the state.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// operation is an action behind its wire format: in decodes the input, and run does the work on c.s.
type operation struct {
	writes bool
	run    func(c *call) (any, error)
}

// reads makes an operation of a function that looks at the state.
func reads[In, Out any](run func(c *call, in *In) (*Out, error)) operation {
	return operation{run: typed(run)}
}

// writes makes an operation of a function that changes the state. Where it returns an error nothing has changed.
func writes[In, Out any](run func(c *call, in *In) (*Out, error)) operation {
	return operation{writes: true, run: typed(run)}
}

func typed[In, Out any](run func(c *call, in *In) (*Out, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		in := new(In)
		if err := c.dialect().decodeQuery(c.params, in); err != nil {
			return nil, err
		}
		out, err := run(c, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// do carries an operation out on the state. A dry run's transition is thrown away.
func (c *call) do(op operation, dryRun bool) (answer any, err error) {
	run := func() error {
		if answer, err = op.run(c); err == nil && dryRun {
			err = errDryRun
		}
		return err
	}
	if op.writes {
		err = c.f.update(func(s *State, now time.Time) error {
			c.s, c.now = s, now
			return run()
		})
		return answer, err
	}
	c.s, c.now = c.f.snapshot(), c.f.now()
	err = run()
	return answer, err
}

// none is the input of actions without parameters, and the output of those without results.
type none struct{}

// inner is the XML of a value's fields without an element around them.
func inner(value any) ([]byte, error) {
	var out bytes.Buffer
	if err := xml.NewEncoder(&out).EncodeElement(value, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(bytes.TrimPrefix(out.Bytes(), []byte("<x>")), []byte("</x>")), nil
}

// escaped is text for use inside an XML element.
func escaped(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text))
	return out.String()
}
