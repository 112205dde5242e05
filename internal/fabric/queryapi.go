package fabric

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// queryService is what the services of the query protocol share.
type queryService struct {
	version string // the value of Version
	actions map[string]operation
	unknown func(action, version string) *apiError
	// wrap puts the answer's fields into the service's envelope.
	wrap func(action, requestID string, fields []byte) string
}

// dialect is how the call's parameters are written.
func (c *call) dialect() *dialect {
	if c.service == &ec2Service {
		return &ec2Dialect
	}
	return &elbDialect
}

// serveQuery reads the form of a call, from its body or its URL, and carries it out.
func (q *queryService) serveQuery(c *call, r *http.Request) (int, http.Header, []byte, error) {
	form := r.URL.RawQuery
	if r.Method == http.MethodPost {
		form = string(c.body)
	} else if r.Method != http.MethodGet {
		return 0, nil, nil, failWith(http.StatusMethodNotAllowed, "UnsupportedMethod", "The method %s is not supported.", r.Method)
	}
	params, err := url.ParseQuery(form)
	if err != nil {
		return 0, nil, nil, fail("MalformedQueryString", "The query string contains a syntax error.")
	}
	for name := range params {
		if strings.HasPrefix(name, "X-Amz-") {
			delete(params, name)
		}
	}
	c.action = params.Get("Action")
	version := params.Get("Version")
	if c.action == "" {
		return 0, nil, nil, fail("MissingAction", "The request must contain the parameter Action.")
	}
	op, known := q.actions[c.action]
	if !known || version != q.version {
		return 0, nil, nil, q.unknown(c.action, version)
	}
	delete(params, "Action")
	delete(params, "Version")
	var dryRun bool
	if c.service == &ec2Service {
		dryRun = strings.EqualFold(params.Get("DryRun"), "true")
		delete(params, "DryRun")
	}
	c.params = params
	if err := c.faulted(); err != nil {
		return 0, nil, nil, err
	}
	answer, err := c.do(op, dryRun)
	if err != nil {
		return 0, nil, nil, err
	}
	fields, err := inner(answer)
	if err != nil {
		return 0, nil, nil, err
	}
	return http.StatusOK, nil, []byte(q.wrap(c.action, c.requestID, fields)), nil
}

// resultEnvelope is the envelope of Elastic Load Balancing and STS.
func resultEnvelope(namespace string) func(action, requestID string, fields []byte) string {
	return func(action, requestID string, fields []byte) string {
		return fmt.Sprintf("<%[1]sResponse xmlns=%[2]q><%[1]sResult>%[3]s</%[1]sResult><ResponseMetadata><RequestId>%[4]s</RequestId></ResponseMetadata></%[1]sResponse>",
			action, namespace, fields, requestID)
	}
}

// errorEnvelope is the error answer of Elastic Load Balancing, STS and Route 53.
func errorEnvelope(namespace string) func(e *apiError, requestID string) []byte {
	return func(e *apiError, requestID string) []byte {
		blame := "Sender"
		if e.Status >= http.StatusInternalServerError {
			blame = "Receiver"
		}
		return fmt.Appendf(nil, "<ErrorResponse xmlns=%q><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>",
			namespace, blame, escaped(e.Code), escaped(e.Message), requestID)
	}
}

// The refusals of the services that know a caller by an access token.
var (
	errMissingToken = failWith(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	errUnknownToken = failWith(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	errWrongToken   = failWith(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
)

func incompleteSignature(reason string) *apiError { return fail("IncompleteSignature", "%s", reason) }

func expiredSignature(reason string) *apiError {
	return failWith(http.StatusForbidden, "SignatureDoesNotMatch", "%s", reason)
}

func wrongScope(region string) *apiError {
	return failWith(http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a valid region, not '%s'. ", region)
}
