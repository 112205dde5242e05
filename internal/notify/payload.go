package notify

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// payload is the body of a webhook: Standard Webhooks' three fields.
type payload struct {
	Type      link.Happening `json:"type"`
	Timestamp time.Time      `json:"timestamp"` // of what happened, not of the try
	Data      data           `json:"data"`
}

type data struct {
	EventID        int64             `json:"event_id"`
	OrganisationID link.ID           `json:"organisation_id,omitempty"`
	ProjectID      link.ID           `json:"project_id,omitempty"`
	ClusterID      link.ID           `json:"cluster_id,omitempty"`
	ClusterName    string            `json:"cluster_name,omitempty"`
	Object         object            `json:"object"`
	State          string            `json:"state,omitempty"`
	Reason         string            `json:"reason,omitempty"`
	Message        string            `json:"message"`
	NextStep       string            `json:"next_step,omitempty"`
	Actor          string            `json:"actor"`
	Links          map[string]string `json:"links"`
}

type object struct {
	Kind string `json:"kind"`
	ID   string `json:"id"` // the last part of the object's key: an endpoint's id, a claim's
}

// payloadOf is the same in every try.
func payloadOf(p parcel, base string) payload {
	e := p.delivery.Event
	_, id, ok := cutLast(e.Object.ID)
	if !ok {
		id = e.Object.ID
	}
	if e.Object.Kind == link.ObjectService || e.Object.Kind == link.ObjectRegion {
		id = e.Object.ID // provider and region name it together
	}
	return payload{Type: p.delivery.Type, Timestamp: e.At.UTC(), Data: data{
		EventID: e.ID, OrganisationID: e.Place.OrganisationID, ProjectID: e.Place.ProjectID, ClusterID: e.Place.ClusterID, ClusterName: p.cluster,
		Object: object{e.Object.Kind, id}, State: e.State, Reason: e.Reason, Message: e.Message, NextStep: e.NextStep, Actor: e.Actor,
		Links: links(e, id, base),
	}}
}

func cutLast(key string) (owner, id string, ok bool) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return "", key, false
	}
	return key[:i], key[i+1:], true
}

// links lead to the object in the API, where it has a place there, and to its history.
func links(e link.Event, id, base string) map[string]string {
	cluster := "/api/v1/clusters/" + string(e.Place.ClusterID)
	var at string
	switch e.Object.Kind {
	case link.ObjectConnection:
		at = cluster + "/networking/private-endpoint-connections/" + url.PathEscape(id)
	case link.ObjectClaim:
		return map[string]string{"claims": base + cluster + "/networking/claims", "cluster": base + cluster}
	case link.ObjectWebhook:
		return map[string]string{"webhook": base + "/api/v1/webhooks/" + id}
	default:
		if e.Place.ClusterID != "" {
			return map[string]string{"cluster": base + cluster}
		}
		return map[string]string{}
	}
	return map[string]string{"object": base + at, "events": base + at + "/events", "cluster": base + cluster}
}

// body writes a payload as it is sent and signed.
func (p payload) body() ([]byte, error) { return json.Marshal(p) }
