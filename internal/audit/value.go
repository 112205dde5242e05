package audit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// Value is how an object was or is, as an entry holds it: canonical JSON. Names of Go fields become those of the wire
// (ExternalOwnerID is external_owner_id), and times that are not set are left out. nil gives nil: there was or is no object.
// Numbers have to be integers. Whoever calls it sees to it that v holds no secret.
func Value(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("a value for the audit log: %w", err)
	}
	tree, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("a value for the audit log: %w", err)
	}
	out, err := appendCanonical(nil, wireNames(tree))
	if err != nil {
		return nil, fmt.Errorf("a value of type %T for the audit log: %w", v, err)
	}
	if string(out) == "null" {
		return nil, nil
	}
	return out, nil
}

// wireNames renames what Go fields are named, and drops times that are not set.
func wireNames(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = wireNames(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			if s, is := e.(string); is && s == unsetTime {
				continue
			}
			out[wireName(name)] = wireNames(e)
		}
		return out
	}
	return v
}

var unsetTime = time.Time{}.Format(time.RFC3339)

// wireName is a Go field's name in snake case. Other names, which do not begin with a capital, stay as they are.
func wireName(name string) string {
	if name == "" || !isUpper(name[0]) {
		return name
	}
	var out strings.Builder
	for i := range len(name) {
		c := name[i]
		if !isUpper(c) {
			out.WriteByte(c)
			continue
		}
		// A capital begins a word unless it stands within a row of capitals that goes on: the D of ID, the W of AWSRegion.
		if i > 0 && (!isUpper(name[i-1]) || i+1 < len(name) && isLower(name[i+1]) && name[i+1:] != "s") {
			out.WriteByte('_')
		}
		out.WriteByte(c + 'a' - 'A')
	}
	return out.String()
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// ConnectionValue is what the log says of a connection, of a cluster's or a project's: what decides whether its endpoint may
// pass traffic.
type ConnectionValue struct {
	Want      link.Want  `json:"want"`
	State     link.State `json:"state"`
	Approved  bool       `json:"approved"`
	OwnerID   string     `json:"owner_id,omitempty"`
	Region    string     `json:"region,omitempty"`
	ServiceID string     `json:"service_id,omitempty"`
	Accepted  string     `json:"accepted,omitempty"` // reason of the condition Accepted

	Provider link.Provider `json:"provider,omitempty"` // of a project's: it holds for the clusters there
}

// ConnectionOf is the ConnectionValue of a connection.
func ConnectionOf(c link.Connection) ConnectionValue {
	v := ConnectionValue{
		Want: c.Want, State: c.State, Approved: c.Approved, OwnerID: c.OwnerID, Region: c.Region, ServiceID: c.ServiceID,
		Accepted: link.ConditionOf(c.Conditions, link.ConditionAccepted).Reason,
	}
	if c.ProjectID != "" {
		v.Provider = c.Provider
	}
	return v
}

// ClusterValue is what the log says of a cluster at its creation and its end. Its backends stand in an entry of their own,
// which is the vendor's.
type ClusterValue struct {
	Name         string            `json:"name"`
	ProjectID    link.ID           `json:"project_id"`
	Provider     link.Provider     `json:"provider"`
	Regions      []string          `json:"regions"`
	PublicAccess link.PublicAccess `json:"public_access"`
	AllowList    []AllowValue      `json:"allow_list,omitempty"`
}

// ClusterOf is the ClusterValue of a cluster with its allow list.
func ClusterOf(c link.Cluster, allowed []link.AllowEntry) ClusterValue {
	v := ClusterValue{Name: c.Name, ProjectID: c.ProjectID, Provider: c.Provider, PublicAccess: c.PublicAccess}
	for _, r := range c.Regions {
		v.Regions = append(v.Regions, r.Name)
	}
	for _, e := range allowed {
		v.AllowList = append(v.AllowList, AllowOf(e))
	}
	return v
}

// AllowValue is what the log says of an entry of an allow list.
type AllowValue struct {
	Prefix string `json:"prefix"`
	UI     bool   `json:"ui"`
	SQL    bool   `json:"sql"`
	Name   string `json:"name,omitempty"`
}

// AllowOf is the AllowValue of an entry of an allow list.
func AllowOf(e link.AllowEntry) AllowValue {
	return AllowValue{Prefix: e.Prefix.String(), UI: e.UI, SQL: e.SQL, Name: e.Name}
}

// PublicValue is what the log says of a cluster's public door.
type PublicValue struct {
	PublicAccess link.PublicAccess `json:"public_access"`
}

// OwnerValue is what the log says of a trusted owner.
type OwnerValue struct {
	Type            link.OwnerType `json:"type"`
	ExternalOwnerID string         `json:"external_owner_id"`
}

// OwnerOf is the OwnerValue of a trusted owner.
func OwnerOf(o link.TrustedOwner) OwnerValue {
	return OwnerValue{Type: o.Type, ExternalOwnerID: o.ExternalOwnerID}
}

// EgressValue is what the log says of an egress private endpoint: what the customer asked for and was told, and nothing of how
// the vendor's network does it.
type EgressValue struct {
	Region      string     `json:"region"`
	Target      string     `json:"target"`
	State       link.State `json:"state"`
	Want        link.Want  `json:"want"`
	DomainNames []string   `json:"domain_names,omitempty"`
}

// EgressOf is the EgressValue of an egress private endpoint.
func EgressOf(e link.Egress) EgressValue {
	return EgressValue{Region: e.Region, Target: e.Target, State: e.State, Want: e.Want, DomainNames: e.DomainNames}
}

// WebhookValue is what the log says of a subscription. A receiver's path and query are often all that keeps others from
// writing to it: of a URL there is only what leads to the host, and a hash, by which a change shows.
type WebhookValue struct {
	Kind      link.WebhookKind `json:"kind"`
	Receiver  string           `json:"receiver,omitempty"` // scheme and host
	URLHash   string           `json:"url_sha256,omitempty"`
	Addresses []string         `json:"addresses,omitempty"`
	Types     []link.Happening `json:"types,omitempty"`
	ProjectID link.ID          `json:"project_id,omitempty"`
	ClusterID link.ID          `json:"cluster_id,omitempty"`
	Enabled   bool             `json:"enabled"`
	Reason    string           `json:"disabled_reason,omitempty"`
}

// WebhookOf is the WebhookValue of a subscription.
func WebhookOf(w link.Webhook) WebhookValue {
	v := WebhookValue{
		Kind: w.Kind, Addresses: w.Addresses, Types: w.Types, ProjectID: w.ProjectID, ClusterID: w.ClusterID, Enabled: w.Enabled, Reason: w.DisabledReason,
	}
	if w.URL == "" {
		return v
	}
	v.URLHash = Hash(sha256.Sum256([]byte(w.URL))).String()
	if u, err := url.Parse(w.URL); err == nil {
		v.Receiver = u.Scheme + "://" + u.Host
	}
	return v
}
