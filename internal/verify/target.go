package verify

import (
	"crypto/ed25519"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/link"
)

// DefaultStepTimeout bounds one step of a probe (one question, one connect, one handshake) when the target names none.
// It is well above a cloud's slowest honest answer and well below a person's patience: a security group that drops
// shows as exactly this wait.
const DefaultStepTimeout = 5 * time.Second

// Target is the path to be verified. PrivateName and Port are required; every other field that is zero leaves out the
// checks that need it, and the report says so.
type Target struct {
	PrivateName    string              // the cluster's private name, without the final dot
	RepositoryName string              // of one of the cluster's Docker repositories, below PrivateName; empty: they have none
	PublicName     string              // the cluster's public name; only asked when ExpectPublicRefused
	Port           uint16              // TCP port, of the private and of the public name
	ClusterID      link.ID             // the cluster that the proof of path has to name
	EndpointID     link.EndpointID     // the endpoint that the proof of path has to name
	VPCCIDRs       []netip.Prefix      // the address ranges of the network in which the endpoint stands
	InterfaceAddrs []netip.Addr        // the endpoint's own addresses: probed too when DNS does not lead to them
	ProofKeys      []ed25519.PublicKey // the gateways' keys; a proof by any other key proves nothing
	RootCAs        *x509.CertPool      // roots of the service's certificate; nil: the system's

	HTTPPath     string // path and query to GET from the service, for example "/"; empty: HTTP is not asked
	ExpectStatus []int  // statuses of a healthy answer; empty: everything below 500

	ExpectPublicRefused bool          // the public door has to be closed
	StepTimeout         time.Duration // bound of each step; zero: DefaultStepTimeout
}

func (t Target) stepTimeout() time.Duration {
	if t.StepTimeout > 0 {
		return t.StepTimeout
	}
	return DefaultStepTimeout
}

// proofName is the name that the gateway itself answers.
func (t Target) proofName() string { return link.ProofLabel + "." + t.PrivateName }
