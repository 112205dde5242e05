package awsprivatelink

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// keyTag is the tag that carries the service's key on everything that can be tagged.
const keyTag = "postern:key"

// loadBalancerName returns the name of the load balancer of key. ELB allows 32 letters, digits and hyphens, so the key
// itself may not fit: it stands in the tags.
func loadBalancerName(key string) string { return "postern-" + digest(key)[:12] }

// targetGroupPrefix is what the names of all target groups of key begin with; the port follows.
func targetGroupPrefix(key string) string { return loadBalancerName(key) + "-" }

func targetGroupName(key string, port uint16) string {
	return fmt.Sprintf("%s%d", targetGroupPrefix(key), port)
}

// clientToken derives the ClientToken of a create call from what is being created. EC2 allows 64 ASCII characters.
func clientToken(parts ...string) string {
	return "postern-" + digest(parts...)[:40]
}

// digest hashes parts such that ("ab", "c") and ("a", "bc") differ.
func digest(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s", len(p), p)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// partition returns the ARN partition of a region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// principalARN spells a principal of a cloud.ServiceSpec as EC2 wants it.
func principalARN(region, account string) string {
	if account == "*" {
		return account
	}
	return fmt.Sprintf("arn:%s:iam::%s:root", partition(region), account)
}

// principalAccount is the way back. ARNs of users and roles, which Postern never grants, come back whole.
func principalAccount(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) == 6 && parts[0] == "arn" && parts[2] == "iam" && parts[5] == "root" {
		return parts[4]
	}
	return arn
}
