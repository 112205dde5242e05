package connect

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Tags on an endpoint. Which clusters use it is a tag each, because the service is shared by all clusters of a region
// and so may be the endpoint; it is deleted with the last of them.
const (
	tagMadeBy        = "postern:made-by"
	tagClusterPrefix = "postern:cluster:"

	madeByConnect   = "connect"
	madeByTerraform = "terraform"
)

// referencePrefix begins the caller reference of every zone that connect makes; only such zones does it delete.
const referencePrefix = "postern-"

// clientToken is the token of the endpoint of a cluster in a VPC. AWS answers a token that it has seen with what it
// made then, even when that was deleted since: generation grows past those.
func clientToken(clusterID, vpcID string, generation int) string {
	return "postern-" + digest("endpoint", clusterID, vpcID, strconv.Itoa(generation))
}

// callerReference is the same for the private zone of a name in a VPC.
func callerReference(clusterID, vpcID, name string, generation int) string {
	return referencePrefix + digest("zone", clusterID, vpcID, name, strconv.Itoa(generation))
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:20])
}
