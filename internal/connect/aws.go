package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/postern/postern/internal/link"
)

// account is the customer's account in one region.
type account struct {
	region  string
	ec2     *ec2.Client
	route53 *route53.Client
	sts     *sts.Client
}

// open reads the credential configuration; it sends no request.
func (a AWS) open(ctx context.Context, region string) (*account, error) {
	backoff := a.MaxBackoff
	if backoff <= 0 {
		backoff = 5 * time.Second
	}
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 8
			o.MaxBackoff = backoff
			o.RateLimiter = ratelimit.None
		})
	}
	var sdk aws.Config
	if a.AccessKeyID != "" {
		sdk = aws.Config{
			Region:      region,
			Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""),
			Retryer:     retryer,
		}
	} else {
		var err error
		sdk, err = config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithRetryer(retryer))
		if err != nil {
			return nil, &link.Error{
				Kind: link.Invalid, Reason: "AWS_CONFIGURATION", Message: "the AWS configuration of this machine cannot be read",
				Hint: `check it with "aws configure list"`, Err: err,
			}
		}
	}
	sdk.Logger = logging.Nop{} // its own log goes to standard error, which belongs to the person's steps
	if a.EndpointURL != "" {
		sdk.BaseEndpoint = aws.String(a.EndpointURL)
	}
	if a.Transport != nil {
		sdk.HTTPClient = &http.Client{Transport: a.Transport}
	}
	return &account{
		region: region, ec2: ec2.NewFromConfig(sdk), route53: route53.NewFromConfig(sdk), sts: sts.NewFromConfig(sdk),
	}, nil
}

// identity returns the id of the account that the credentials belong to.
func (a *account) identity(ctx context.Context) (string, error) {
	out, err := a.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", awsError("find out which AWS account this is", err)
	}
	return deref(out.Account), nil
}

// codeOf returns the AWS error code in err's chain, or "".
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// awsError says in link's words what AWS answered. The answer's own code and words are the customer's to see: it is
// the customer's account.
func awsError(doing string, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: %w", doing, err)
		}
		return &link.Error{
			Kind: link.Unavailable, Reason: "AWS_UNREACHABLE", Message: "could not " + doing,
			Hint: "check the network and the credentials (aws sts get-caller-identity), then run it again", Err: err,
		}
	}
	e := &link.Error{
		Kind: link.Precondition, Reason: "AWS_REFUSED",
		Message: fmt.Sprintf("could not %s: AWS answered %s: %s", doing, api.ErrorCode(), api.ErrorMessage()),
		Hint:    "mend what AWS says and run it again",
	}
	switch code := api.ErrorCode(); {
	case code == "AuthFailure" || code == "InvalidClientTokenId" || code == "SignatureDoesNotMatch" ||
		strings.HasPrefix(code, "ExpiredToken") || code == "RequestExpired" || code == "UnrecognizedClientException":
		e.Kind, e.Reason = link.Unauthenticated, "AWS_CREDENTIALS"
		e.Hint = "check credentials and clock: aws sts get-caller-identity"
	case code == "UnauthorizedOperation" || strings.HasPrefix(code, "AccessDenied"):
		e.Kind, e.Reason = link.Denied, "AWS_NOT_AUTHORIZED"
		e.Hint = "let an administrator of the AWS account allow this action, or run what --plan prints with other credentials"
	case code == "RequestLimitExceeded" || strings.HasPrefix(code, "Throttling") || code == "Unavailable" ||
		code == "ServiceUnavailable" || strings.HasPrefix(code, "Internal"):
		e.Kind, e.Reason, e.Hint = link.Unavailable, "AWS_UNAVAILABLE", "run it again in a minute: it goes on where it stopped"
	case code == "InvalidServiceName":
		e.Hint = "the vendor's service is gone or does not admit this account: ask the vendor"
	case strings.HasSuffix(code, "LimitExceeded"):
		e.Reason, e.Hint = "AWS_QUOTA", "ask AWS to raise the quota, or remove what is no longer needed"
	}
	return e
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
