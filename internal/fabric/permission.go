package fabric

import (
	"regexp"
	"slices"
	"strings"
)

// principalPattern is what may be allowed: an account, a user, a role, or a service of the cloud. The ARN of an assumed
// role names a session and is refused.
var principalPattern = regexp.MustCompile(`^(\*|arn:aws[a-z-]*:iam::[0-9]{12}:(root|user/[\w+=,.@/-]+|role/[\w+=,.@/-]+)|[a-z0-9.-]+\.amazonaws\.com)$`)

// kind is the principal's type in the words of EC2.
func (p Permission) kind() string {
	switch {
	case p.Principal == "*":
		return "All"
	case strings.HasSuffix(p.Principal, ":root"):
		return "Account"
	case strings.Contains(p.Principal, ":user/"):
		return "User"
	case strings.Contains(p.Principal, ":role/"):
		return "Role"
	}
	return "Service"
}

// callerARN is the identity behind the access keys of an account.
func callerARN(account *accountRecord) string {
	name := account.Name
	if name == "" {
		name = "operator"
	}
	return "arn:aws:iam::" + account.ID + ":user/" + strings.ReplaceAll(name, " ", "-")
}

// lets says whether the account may see the service and create endpoints to it.
func (e *EndpointService) lets(account *accountRecord) bool {
	if account.ID == e.AccountID {
		return true
	}
	return slices.ContainsFunc(e.Permissions, func(p Permission) bool {
		return p.Principal == "*" || p.Principal == callerARN(account) ||
			p.kind() == "Account" && strings.Contains(p.Principal, ":iam::"+account.ID+":")
	})
}

type permissionXML struct {
	Kind      string       `xml:"principalType"`
	Principal string       `xml:"principal"`
	ID        string       `xml:"servicePermissionId"`
	Tags      *set[tagXML] `xml:"tagSet"`
	ServiceID string       `xml:"serviceId"`
}

type modifyPermissionsInput struct {
	ServiceID string   `q:"ServiceId,required"`
	Add       []string `q:"AddAllowedPrincipals"`
	Remove    []string `q:"RemoveAllowedPrincipals"`
}

type modifyPermissionsOutput struct {
	Added  set[permissionXML] `xml:"addedPrincipalSet"`
	Return bool               `xml:"return"`
}

func modifyPermissions(c *call, in *modifyPermissionsInput) (*modifyPermissionsOutput, error) {
	service, err := c.ownService(in.ServiceID)
	if err != nil {
		return nil, err
	}
	out := &modifyPermissionsOutput{Return: true}
	for _, principal := range in.Remove {
		service.Permissions = slices.DeleteFunc(service.Permissions, func(p Permission) bool { return p.Principal == principal })
	}
	for _, principal := range in.Add {
		if !principalPattern.MatchString(principal) {
			return nil, fail("InvalidPrincipal", "Invalid Principal: '%s'", principal)
		}
		i := slices.IndexFunc(service.Permissions, func(p Permission) bool { return p.Principal == principal })
		if i < 0 {
			i = len(service.Permissions)
			service.Permissions = append(service.Permissions, Permission{ID: c.s.newID("vpce-svc-perm"), Principal: principal})
		}
		p := service.Permissions[i]
		out.Added.Items = append(out.Added.Items, permissionXML{Kind: p.kind(), Principal: p.Principal, ID: p.ID, ServiceID: service.ID})
	}
	return out, nil
}

type describePermissionsInput struct {
	ServiceID string      `q:"ServiceId,required"`
	Filters   []ec2Filter `q:"Filter"`
	paging
}

type describePermissionsOutput struct {
	Permissions set[permissionXML] `xml:"allowedPrincipals"`
	NextToken   string             `xml:"nextToken,omitempty"`
}

var permissionFilters = filters[Permission]{
	"principal":      one(func(p Permission) string { return p.Principal }),
	"principal-type": one(Permission.kind),
}

func describePermissions(c *call, in *describePermissionsInput) (*describePermissionsOutput, error) {
	service, err := c.ownService(in.ServiceID)
	if err != nil {
		return nil, err
	}
	id := func(p Permission) string { return p.ID }
	permissions, err := selected(c, service.Permissions, in.Filters, permissionFilters, nil)
	if err != nil {
		return nil, err
	}
	permissions = slices.SortedFunc(slices.Values(permissions), func(a, b Permission) int { return strings.Compare(a.ID, b.ID) })
	permissions, next, err := page(in.paging, permissions, id)
	if err != nil {
		return nil, err
	}
	out := &describePermissionsOutput{NextToken: next}
	for _, p := range permissions {
		out.Permissions.Items = append(out.Permissions.Items, permissionXML{Kind: p.kind(), Principal: p.Principal, ID: p.ID, Tags: &set[tagXML]{}, ServiceID: service.ID})
	}
	return out, nil
}
