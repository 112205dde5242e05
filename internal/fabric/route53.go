package fabric

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	route53Path      = "/2013-04-01/"
	route53Namespace = "https://route53.amazonaws.com/doc/2013-04-01/"
)

// route53Service is Route 53 (API version 2013-04-01): REST with XML, for all regions at once.
var route53Service = service{
	noSignature:  errMissingToken,
	badSignature: incompleteSignature,
	unknownKey:   errUnknownToken,
	wrong:        errWrongToken,
	expired:      expiredSignature,
	wrongRegion:  wrongScope,
	fault:        errorEnvelope(route53Namespace),
}

// zoneRequest is a call of Route 53 after its URL was read.
type zoneRequest struct {
	id    string // of the zone, change or resource, without "/hostedzone/" or "/change/"
	query url.Values
	body  []byte
}

// decode reads the body.
func (r *zoneRequest) decode(into any) error {
	if err := xml.Unmarshal(r.body, into); err != nil {
		return fail("InvalidInput", "Invalid XML ; the body could not be read")
	}
	return nil
}

// zoneAction is one action of Route 53.
type zoneAction struct {
	method string
	path   string // below the version; "*" is an id
	action string
	status int
	writes bool
	run    func(c *call, r *zoneRequest) (any, error)
}

// zoneActions is what Route 53 can do here.
var zoneActions []zoneAction

func init() {
	const look, change = false, true
	zoneActions = []zoneAction{
		{"POST", "hostedzone", "CreateHostedZone", http.StatusCreated, change, createHostedZone},
		{"GET", "hostedzone", "ListHostedZones", http.StatusOK, look, listHostedZones},
		{"GET", "hostedzone/*", "GetHostedZone", http.StatusOK, look, getHostedZone},
		{"POST", "hostedzone/*", "UpdateHostedZoneComment", http.StatusOK, change, updateHostedZoneComment},
		{"DELETE", "hostedzone/*", "DeleteHostedZone", http.StatusOK, change, deleteHostedZone},
		{"GET", "hostedzonesbyname", "ListHostedZonesByName", http.StatusOK, look, listHostedZonesByName},
		{"GET", "hostedzonesbyvpc", "ListHostedZonesByVPC", http.StatusOK, look, listHostedZonesByVPC},
		{"POST", "hostedzone/*/associatevpc", "AssociateVPCWithHostedZone", http.StatusOK, change, associateVPC},
		{"POST", "hostedzone/*/disassociatevpc", "DisassociateVPCFromHostedZone", http.StatusOK, change, disassociateVPC},
		{"POST", "hostedzone/*/rrset", "ChangeResourceRecordSets", http.StatusOK, change, changeRecordSets},
		{"GET", "hostedzone/*/rrset", "ListResourceRecordSets", http.StatusOK, look, listRecordSets},
		{"GET", "change/*", "GetChange", http.StatusOK, look, getChange},
		{"GET", "tags/hostedzone/*", "ListTagsForResource", http.StatusOK, look, listZoneTags},
		{"POST", "tags/hostedzone/*", "ChangeTagsForResource", http.StatusOK, change, changeZoneTags},
	}
}

// serveRoute53 finds the action of a call and carries it out.
func serveRoute53(c *call, r *http.Request) (int, http.Header, []byte, error) {
	path, isRoute53 := strings.CutPrefix(r.URL.EscapedPath(), route53Path)
	if !isRoute53 {
		return 0, nil, nil, failWith(http.StatusNotFound, "UnknownOperationException", "There is nothing at %s", r.URL.Path)
	}
	var parts []string
	for part := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(path, "%2F", "/"), "%2f", "/"), "/") {
		if text, err := url.PathUnescape(part); err == nil && text != "" {
			parts = append(parts, text)
		}
	}
	// Clients may put a whole "/hostedzone/Z123" where an id belongs.
	for i := len(parts) - 1; i > 0; i-- {
		if parts[i] == parts[i-1] && (parts[i] == "hostedzone" || parts[i] == "change") {
			parts = slices.Delete(parts, i, i+1)
		}
	}
	for _, action := range zoneActions {
		id, matches := matchPath(action.path, parts)
		if action.method != r.Method || !matches {
			continue
		}
		c.action = action.action
		if err := c.faulted(); err != nil {
			return 0, nil, nil, err
		}
		request := &zoneRequest{id: id, query: r.URL.Query(), body: c.body}
		answer, err := c.do(operation{writes: action.writes, run: func(c *call) (any, error) { return action.run(c, request) }}, false)
		if err != nil {
			return 0, nil, nil, err
		}
		fields, err := inner(answer)
		if err != nil {
			return 0, nil, nil, err
		}
		header := http.Header{}
		if created, ok := answer.(*createZoneOutput); ok {
			header.Set("Location", "https://route53.amazonaws.com"+route53Path+strings.TrimPrefix(created.Zone.ID, "/"))
		}
		return action.status, header, fmt.Appendf(nil, "<%[1]sResponse xmlns=%[2]q>%[3]s</%[1]sResponse>", action.action, route53Namespace, fields), nil
	}
	return 0, nil, nil, failWith(http.StatusNotFound, "UnknownOperationException", "There is no operation for %s %s", r.Method, r.URL.Path)
}

func matchPath(pattern string, parts []string) (id string, matches bool) {
	want := strings.Split(pattern, "/")
	if len(want) != len(parts) {
		return "", false
	}
	for i, part := range parts {
		if want[i] == "*" {
			id = part
		} else if want[i] != part {
			return "", false
		}
	}
	return id, true
}

// wantedItems reads maxitems.
func (r *zoneRequest) wantedItems(most int) (int, error) {
	text := r.query.Get("maxitems")
	if text == "" {
		return most, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fail("InvalidInput", "Invalid value '%s' for maxitems", text)
	}
	return min(n, most), nil
}

type changeInfoXML struct {
	ID          string `xml:"Id"`
	Status      string `xml:"Status"`
	SubmittedAt string `xml:"SubmittedAt"`
	Comment     string `xml:"Comment,omitempty"`
}

type changeOutput struct {
	Info changeInfoXML `xml:"ChangeInfo"`
}

// submitted records a change that has just been made.
func (c *call) submitted(comment string) changeInfoXML {
	change := &Change{ID: "C" + c.s.drawFrom(upperDigits, 20), AccountID: c.account, Comment: comment, SubmittedAt: c.now, Due: c.now.Add(c.s.settle)}
	c.s.Changes[change.ID] = change
	return change.xml(c)
}

func (change *Change) xml(c *call) changeInfoXML {
	status := "PENDING"
	if reached(change.Due, c.now) {
		status = "INSYNC"
	}
	return changeInfoXML{"/change/" + change.ID, status, ec2Time(change.SubmittedAt), change.Comment}
}

func getChange(c *call, r *zoneRequest) (any, error) {
	change := c.s.Changes[r.id]
	if change == nil || change.AccountID != c.account {
		return nil, failWith(http.StatusNotFound, "NoSuchChange", "Could not find resource with ID: %s", r.id)
	}
	return &changeOutput{change.xml(c)}, nil
}

// ownZone finds a hosted zone of the caller's.
func (c *call) ownZone(id string) (*HostedZone, error) {
	zone := c.s.HostedZones[id]
	if zone == nil || zone.AccountID != c.account {
		return nil, failWith(http.StatusNotFound, "NoSuchHostedZone", "No hosted zone found with ID: %s", id)
	}
	return zone, nil
}

type zoneTag struct {
	Key   string `xml:"Key"`
	Value string `xml:"Value"`
}

type zoneTagsOutput struct {
	Kind string    `xml:"ResourceTagSet>ResourceType"`
	ID   string    `xml:"ResourceTagSet>ResourceId"`
	Tags []zoneTag `xml:"ResourceTagSet>Tags>Tag"`
}

func listZoneTags(c *call, r *zoneRequest) (any, error) {
	if _, err := c.ownZone(r.id); err != nil {
		return nil, err
	}
	out := &zoneTagsOutput{Kind: "hostedzone", ID: r.id}
	for _, tag := range c.s.tagsOf(r.id).Items {
		out.Tags = append(out.Tags, zoneTag(tag))
	}
	return out, nil
}

func changeZoneTags(c *call, r *zoneRequest) (any, error) {
	if _, err := c.ownZone(r.id); err != nil {
		return nil, err
	}
	var in struct {
		Add    []zoneTag `xml:"AddTags>Tag"`
		Remove []string  `xml:"RemoveTagKeys>Key"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	for _, tag := range in.Add {
		if err := c.setTags(r.id, []ec2Tag{{Key: tag.Key, Value: &tag.Value}}); err != nil {
			return nil, fail("InvalidInput", "The tag '%s' is not valid or one too many", tag.Key)
		}
	}
	for _, key := range in.Remove {
		delete(c.s.Tags[r.id], key)
	}
	return &none{}, nil
}
