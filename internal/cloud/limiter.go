package cloud

import (
	"context"
	"time"
)

// Bucket is one of a cloud's token buckets: each request of an account to the APIs that share it takes a token, and one
// that finds none is answered with an error.
type Bucket struct {
	Name      string  // unique within an account: provider, region and family of APIs, joined by "/"
	Burst     float64 // tokens that it holds; at least 1
	PerSecond float64 // tokens that come back; more than 0
}

// Request is one request to a cloud. Each page of a list and each further try of a request that failed is one of its own.
type Request struct {
	API    string // the provider's name of it, with the service in front: "ec2:DescribeVpcEndpointConnections"
	Bucket Bucket
}

// Outcome is what a cloud said to a request.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Throttled Outcome = "throttled" // asked too often
	Refused   Outcome = "refused"   // the cloud understood and said no, or that there is no such thing
	Lost      Outcome = "lost"      // no answer, or one of a cloud that is not well
)

// Limiter keeps the requests of all drivers of one account within what the cloud takes, in this process and in all others
// that share the account. It is safe for concurrent use.
type Limiter interface {
	// Wait returns when the request may be sent, the error of ctx when that is over sooner, or why it must not be sent any
	// more. It fails open: whoever cannot find out how many requests are left is better off being told so by the cloud
	// than doing nothing.
	Wait(ctx context.Context, r Request) error

	// Sent is told what came of a request that was sent, and how long that took.
	Sent(r Request, o Outcome, took time.Duration)
}
