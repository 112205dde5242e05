// Package awsprivatelink is the vendor's side of AWS PrivateLink: an internal network load balancer whose target
// groups speak PROXY protocol v2, and an endpoint service in front of it that asks for acceptance. It is the only
// package of the control plane that talks to AWS, and it talks to the embedded fabric in exactly the same way.
//
// Nothing is remembered between calls. Load balancer, target groups and listeners are found again by names derived
// from the service's key, the endpoint service by its tag, and every create call that takes a ClientToken gets one
// derived from what it is for, so that a crash between any two requests doubles nothing.
package awsprivatelink

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/postern/postern/internal/cloud"
)

// Config says which account and region a Driver works in. Only Region is required.
type Config struct {
	Region      string
	EndpointURL string // base URL of every AWS API; empty means AWS itself

	// AccessKeyID and SecretAccessKey are static credentials. Both empty means the SDK's default chain (environment,
	// shared files, web identity, instance role).
	AccessKeyID     string
	SecretAccessKey string

	// Transport carries the requests; nil means the SDK's own.
	Transport http.RoundTripper

	// MaxBackoff bounds the pause before one request is tried again; zero means 5 s. A request is tried 8 times.
	MaxBackoff time.Duration

	// PageSize asks for that many items per page (at least 5, EC2's minimum); zero leaves it to AWS, and means the most
	// that AWS gives, 1,000, where a service's endpoints are listed.
	PageSize int32

	Limiter cloud.Limiter // asked before every try of every request; nil asks nobody

	Now func() time.Time // when endpoints were seen; nil means time.Now
	Log *slog.Logger     // nil discards
}

// Driver implements cloud.Driver. It holds no state of its own and is safe for concurrent use.
type Driver struct {
	region   string
	ec2      *ec2.Client
	elb      *elb.Client
	route53  *route53.Client
	sts      *sts.Client
	pageSize *int32
	listSize *int32 // of the pages of a service's endpoints
	now      func() time.Time
	log      *slog.Logger
}

var _ cloud.Driver = (*Driver)(nil)

// New returns a Driver. It sends no request; ctx bounds reading the credential configuration.
func New(ctx context.Context, cfg Config) (*Driver, error) {
	if cfg.Region == "" {
		return nil, fmt.Errorf("awsprivatelink: no region given")
	}
	sdk, err := sdkConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	d := &Driver{
		region:  cfg.Region,
		ec2:     ec2.NewFromConfig(sdk),
		elb:     elb.NewFromConfig(sdk),
		route53: route53.NewFromConfig(sdk),
		sts:     sts.NewFromConfig(sdk),
		now:     cfg.Now,
		log:     cfg.Log,
	}
	const mostListed = 1000
	d.listSize = aws.Int32(mostListed)
	if cfg.PageSize > 0 {
		d.pageSize = aws.Int32(max(cfg.PageSize, 5))
		d.listSize = d.pageSize
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

func sdkConfig(ctx context.Context, cfg Config) (aws.Config, error) {
	backoff := cfg.MaxBackoff
	if backoff <= 0 {
		backoff = 5 * time.Second
	}
	// The SDK's standard retryer already knows AWS's throttling codes and 5xx answers. Its client-side token bucket is
	// left out: it would turn a long throttling into errors long before the caller's deadline.
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 8
			o.MaxBackoff = backoff
			o.RateLimiter = ratelimit.None
		})
	}
	var sdk aws.Config
	if cfg.AccessKeyID != "" {
		// Static credentials: nothing of the machine's own AWS configuration may leak in.
		sdk = aws.Config{
			Region:      cfg.Region,
			Credentials: credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, cfg.SecretAccessKey, ""),
			Retryer:     retryer,
		}
	} else {
		var err error
		sdk, err = config.LoadDefaultConfig(ctx, config.WithRegion(cfg.Region), config.WithRetryer(retryer))
		if err != nil {
			return aws.Config{}, err
		}
	}
	sdk.Logger = logging.Nop{} // its own log goes to standard error; what fails comes back as an error
	if cfg.Limiter != nil {
		sdk.APIOptions = append(sdk.APIOptions, limited(cfg.Region, cfg.Limiter))
	}
	if cfg.EndpointURL != "" {
		sdk.BaseEndpoint = aws.String(cfg.EndpointURL)
	}
	if cfg.Transport != nil {
		sdk.HTTPClient = &http.Client{Transport: cfg.Transport}
	}
	return sdk, nil
}
