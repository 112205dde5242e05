package awsprivatelink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/postern/postern/internal/cloud"
)

// Reasons of the refusals that this driver returns, beside cloud.EndpointsAttached.
const (
	reasonCredentials = "CREDENTIALS_REFUSED"
	reasonNotAllowed  = "NOT_AUTHORIZED"
	reasonQuota       = "QUOTA_EXCEEDED"
	reasonElsewhere   = "LOAD_BALANCER_IN_ANOTHER_VPC"
	reasonState       = "WRONG_STATE"
	reasonSpec        = "INCOMPLETE_SPEC"
	reasonRefused     = "REQUEST_REFUSED"
)

// codeOf returns the AWS error code in err's chain, or "".
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// translate turns an error of the SDK into the words of package cloud. doing says what was attempted.
func translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return refusal(doing, api.ErrorCode(), api.ErrorMessage(), err)
}

// unsuccessful reads the part of a 200 answer in which EC2 hides the items that it refused.
func unsuccessful(doing string, items []types.UnsuccessfulItem) error {
	for _, item := range items {
		if item.Error == nil {
			continue
		}
		return refusal(doing, deref(item.Error.Code), deref(item.Error.Message), nil)
	}
	return nil
}

// refusal sorts an AWS error by its code: absent, worth another attempt, or final.
func refusal(doing, code, message string, cause error) error {
	if cause == nil {
		cause = errors.New(code + ": " + message)
	}
	final := func(reason string) error {
		return fmt.Errorf("%s: %w", doing, &cloud.Refusal{Reason: reason, Code: code, Message: message})
	}
	switch code {
	case "ExistingVpcEndpointConnections":
		return final(cloud.EndpointsAttached)
	case "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "OptInRequired":
		return final(reasonCredentials)
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException":
		return final(reasonNotAllowed)
	case "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException",
		"Unavailable", "ServiceUnavailable", "InternalError", "InternalFailure", "InternalServiceError",
		"RequestExpired", "ExpiredToken", "ExpiredTokenException",
		// In use or dependent now, free as soon as AWS has finished deleting what uses it.
		"ResourceInUse", "DependencyViolation", "OperationNotPermitted", "IncorrectState":
		return fmt.Errorf("%s: %w", doing, cause)
	}
	switch {
	case strings.HasSuffix(code, "NotFound"):
		return fmt.Errorf("%s: %w: %s", doing, cloud.ErrNotFound, message)
	case strings.HasSuffix(code, "LimitExceeded") || strings.HasPrefix(code, "TooMany"):
		return final(reasonQuota)
	}
	if api, ok := errors.AsType[smithy.APIError](cause); ok && api.ErrorFault() == smithy.FaultServer {
		return fmt.Errorf("%s: %w", doing, cause)
	}
	return final(reasonRefused)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
