package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Scope says where a role holds: there and in all beneath it.
type Scope struct {
	Scope   string `json:"scope" enum:"INSTALLATION,ORGANISATION,PROJECT,CLUSTER"`
	ScopeID string `json:"scope_id,omitempty" doc:"The organisation's, project's or cluster's id; absent for the installation"`
}

func (s Scope) query(q url.Values) url.Values {
	q.Set("scope", s.Scope)
	if s.ScopeID != "" {
		q.Set("scope_id", s.ScopeID)
	}
	return q
}

// Grant is a role that is held at a scope.
type Grant struct {
	Scope
	Role      string    `json:"role" enum:"VIEWER,CLUSTER_OPERATOR,CLUSTER_ADMIN,PROJECT_ADMIN,ORGANISATION_ADMIN,OPERATOR"`
	CreatedAt time.Time `json:"created_at"`
}

// Member is a grant with who holds it.
type Member struct {
	Grant
	PrincipalID string `json:"principal_id" format:"uuid"`
	Kind        string `json:"kind" enum:"PERSON,SERVICE_ACCOUNT"`
	Name        string `json:"name"`
	Email       string `json:"email,omitempty" doc:"Of a person"`
	Disabled    bool   `json:"disabled" doc:"It may do nothing, whatever its roles"`
}

// MemberList is a page of members.
type MemberList struct {
	Members    []Member   `json:"members"`
	Pagination Pagination `json:"pagination"`
}

// AddMemberRequest gives a role at a scope to a person or to a service account.
type AddMemberRequest struct {
	Scope
	Role             string `json:"role" enum:"VIEWER,CLUSTER_OPERATOR,CLUSTER_ADMIN,PROJECT_ADMIN,ORGANISATION_ADMIN,OPERATOR"`
	Email            string `json:"email,omitempty" doc:"Of a person, who need not be known before"`
	Name             string `json:"name,omitempty" doc:"Of a person who is not known before; the address when absent"`
	ServiceAccountID string `json:"service_account_id,omitempty" doc:"In the place of email; of the organisation that the scope is in"`
}

// Self is who asks, and what it may.
type Self struct {
	Name           string  `json:"name"`
	Role           string  `json:"role" enum:"operator,gateway,member" doc:"operator and gateway are tokens of the installation or of its operators; of a member the grants say what it may"`
	PrincipalID    string  `json:"principal_id,omitempty" doc:"Absent for a token of the installation"`
	Kind           string  `json:"kind,omitempty" doc:"PERSON or SERVICE_ACCOUNT; absent for a token of the installation"`
	OrganisationID string  `json:"organisation_id,omitempty" doc:"Of a service account"`
	Email          string  `json:"email,omitempty" doc:"Of a person"`
	Grants         []Grant `json:"grants"`
}

// Me returns who the client's token stands for.
func (c *Client) Me(ctx context.Context) (Self, error) {
	var out Self
	err := c.call(ctx, http.MethodGet, path("me"), nil, nil, &out)
	return out, err
}

// Members returns a page of who holds which role at a scope and beneath it, oldest first. Of the installation it lists
// those who hold one at the installation's own scope.
func (c *Client) Members(ctx context.Context, s Scope, p Page) (MemberList, error) {
	var out MemberList
	err := c.call(ctx, http.MethodGet, path("members"), s.query(p.query()), nil, &out)
	return out, err
}

// AddMember gives somebody a role at a scope. Given again it is the same.
func (c *Client) AddMember(ctx context.Context, req AddMemberRequest) (Member, error) {
	var out Member
	err := c.call(ctx, http.MethodPost, path("members"), nil, req, &out)
	return out, err
}

// RemoveMember takes a role at a scope away from somebody, and returns what it was.
func (c *Client) RemoveMember(ctx context.Context, s Scope, principalID, role string) (Member, error) {
	var out Member
	err := c.call(ctx, http.MethodDelete, path("members", principalID, role), s.query(url.Values{}), nil, &out)
	return out, err
}
