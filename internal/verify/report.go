package verify

import (
	"time"

	"github.com/postern/postern/internal/link"
)

// Status is the outcome of one check.
type Status string

// The outcomes. Skip says that a check could not be made or was not asked for; its Cause says why.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Side says who can mend what a check found.
type Side string

// The sides. SideEither is said when the facts at hand fit both; SideNone when there is nothing to mend.
const (
	SideCustomer Side = "customer"
	SideVendor   Side = "vendor"
	SideCloud    Side = "cloud"
	SideEither   Side = "either"
	SideNone     Side = "none"
)

// Group is the layer that a check looks at. Groups are judged, and printed, in the order of the constants.
type Group string

// The layers of a private path, from what the control plane says to the public door.
const (
	GroupVendor  Group = "Vendor"
	GroupDNS     Group = "DNS"
	GroupAddress Group = "Address"
	GroupTCP     Group = "TCP"
	GroupTLS     Group = "TLS"
	GroupHTTP    Group = "HTTP"
	GroupPath    Group = "Path"
	GroupPublic  Group = "Public"
)

// Check is one thing that was looked at. ID names the question and Code the answer, both stable; Subject is what it was
// asked of (an address, a name) when the same question is asked of several.
type Check struct {
	ID      string            `json:"id"`
	Group   Group             `json:"group"`
	Status  Status            `json:"status"`
	Code    string            `json:"code"`
	Subject string            `json:"subject,omitempty"`
	Summary string            `json:"summary"`         // what was seen
	Cause   string            `json:"cause,omitempty"` // why it is so, as far as the facts of both sides tell
	Side    Side              `json:"side"`
	Next    string            `json:"next,omitempty"` // what whoever is on that side does
	Detail  map[string]string `json:"detail,omitempty"`
	Took    time.Duration     `json:"took_ns"`
}

// Verdict is the report in one word.
type Verdict string

// The verdicts. Proven: the gateway signed that the flow came through the endpoint, and nothing failed. Unproven:
// nothing failed, yet there is no proof of path (no gateway key to hold it against). Broken: a check failed. NotProbed:
// the vantage point itself does not work or the probe was cut short, so nothing is known about the path.
const (
	Proven    Verdict = "PROVEN"
	Unproven  Verdict = "UNPROVEN"
	Broken    Verdict = "BROKEN"
	NotProbed Verdict = "NOT_PROBED"
)

// Report is the outcome of a verification. Layer, Code, Side and Next are those of the first check that failed; Side is
// SideNone when none did.
type Report struct {
	Verdict    Verdict         `json:"verdict"`
	Layer      Group           `json:"layer,omitempty"`
	Code       string          `json:"code,omitempty"`
	Side       Side            `json:"side"`
	Summary    string          `json:"summary"`
	Next       string          `json:"next,omitempty"`
	Name       string          `json:"private_name"`
	Port       uint16          `json:"port"`
	Vantage    string          `json:"vantage"`
	EndpointID link.EndpointID `json:"proven_endpoint_id,omitempty"` // as the gateway signed it; empty: not proven
	Proof      *link.PathProof `json:"proof,omitempty"`              // the evidence: keep it with the gateway's key
	Checks     []Check         `json:"checks"`
	StartedAt  time.Time       `json:"started_at"`
	Took       time.Duration   `json:"took_ns"`
}

// ExitCode is the exit status of a command whose outcome this report is: 0 when the path works, 1 when a check failed,
// 2 when the path could not be probed.
func (r Report) ExitCode() int {
	switch r.Verdict {
	case Proven, Unproven:
		return 0
	case NotProbed:
		return 2
	default:
		return 1
	}
}

// Worst returns the gravest status among the checks, for callers that fail on warnings too. Skipped checks do not count.
func (r Report) Worst() Status {
	worst := OK
	for _, c := range r.Checks {
		if c.Status == Fail {
			return Fail
		}
		if c.Status == Warn {
			worst = Warn
		}
	}
	return worst
}
