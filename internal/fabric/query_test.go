package fabric

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample has every kind of field.
type sample struct {
	Name  string   `q:"Name"`
	Flag  *bool    `q:"Flag"`
	Count *int     `q:"Count"`
	List  []string `q:"List"`
	Inner struct {
		A string `q:"A"`
	} `q:"Inner"`
	Filters []struct {
		Name   string   `q:"Name"`
		Values []string `q:"Value"`
	} `q:"Filter"`
	Needed  string      `q:"Needed,required"`
	Refused unsupported `q:"Refused"`
}

func TestDecodeQuery(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect *dialect
		form    string
		check   func(s sample) any
		want    any
		code    string
	}{
		{"a string", &ec2Dialect, "Needed=x&Name=a%20b", func(s sample) any { return s.Name }, "a b", ""},
		{"a boolean", &ec2Dialect, "Needed=x&Flag=True", func(s sample) any { return *s.Flag }, true, ""},
		{"none given", &ec2Dialect, "Needed=x", func(s sample) any { return s.Flag == nil && s.Count == nil }, true, ""},
		{"a number", &ec2Dialect, "Needed=x&Count=-7", func(s sample) any { return *s.Count }, -7, ""},
		{"a list by number, not by text", &ec2Dialect, "Needed=x&List.10=c&List.2=b&List.1=a", func(s sample) any { return s.List }, []string{"a", "b", "c"}, ""},
		{"members", &elbDialect, "Needed=x&List.member.2=b&List.member.1=a", func(s sample) any { return s.List }, []string{"a", "b"}, ""},
		{"an empty list", &elbDialect, "Needed=x&List=", func(s sample) any { return len(s.List) }, 0, ""},
		{"a structure", &ec2Dialect, "Needed=x&Inner.A=1", func(s sample) any { return s.Inner.A }, "1", ""},
		{"lists in lists", &ec2Dialect, "Needed=x&Filter.1.Name=n&Filter.1.Value.1=v&Filter.1.Value.2=w", func(s sample) any { return s.Filters[0].Values }, []string{"v", "w"}, ""},
		{"the first of two", &ec2Dialect, "Needed=x&Name=a&Name=b", func(s sample) any { return s.Name }, "a", ""},
		{"a missing one", &ec2Dialect, "Name=a", nil, nil, "MissingParameter"},
		{"an empty required one", &ec2Dialect, "Needed=", nil, nil, "MissingParameter"},
		{"an unknown one", &ec2Dialect, "Needed=x&Nome=a", nil, nil, "UnknownParameter"},
		{"an index that is none", &ec2Dialect, "Needed=x&List.first=a", nil, nil, "UnknownParameter"},
		{"a list without index", &ec2Dialect, "Needed=x&List=a", nil, nil, "UnknownParameter"},
		{"something below a string", &ec2Dialect, "Needed=x&Name.1=a", nil, nil, "UnknownParameter"},
		{"the other dialect's list", &ec2Dialect, "Needed=x&List.member.1=a", nil, nil, "UnknownParameter"},
		{"a boolean that is none", &ec2Dialect, "Needed=x&Flag=perhaps", nil, nil, "InvalidParameterValue"},
		{"a number too large", &ec2Dialect, "Needed=x&Count=99999999999", nil, nil, "InvalidParameterValue"},
		{"one that is not carried out", &ec2Dialect, "Needed=x&Refused.1=a", nil, nil, "UnsupportedOperation"},
		{"load balancing's word for it", &elbDialect, "Name=a", nil, nil, "ValidationError"},
	} {
		t.Run(test.name, func(t *testing.T) {
			values, err := url.ParseQuery(test.form)
			if err != nil {
				t.Fatal(err)
			}
			var s sample
			problem := test.dialect.decodeQuery(values, &s)
			switch {
			case test.code != "":
				if problem == nil || problem.Code != test.code {
					t.Errorf("got %v, want %s", problem, test.code)
				}
			case problem != nil:
				t.Error(problem)
			default:
				if diff := cmp.Diff(test.want, test.check(s)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Whatever is sent, the decoder neither panics nor takes a parameter in silence: what it accepts can be written back
// as the same form.
func FuzzDecodeQuery(f *testing.F) {
	for _, form := range []string{
		"Needed=x", "Needed=x&Name=a&Flag=true&Count=3", "Needed=x&List.1=a&List.2=b", "Needed=x&Filter.1.Name=n&Filter.1.Value.1=v",
		"Needed=x&List.member.1=a", "Needed=x&Inner.A=1", "Needed=x&List=", "Needed=x&....=1", "Needed=x&List.0=a&List.00=b", "Needed=x&Filter.1=a",
		"Needed=%FF&Name=%00", "Needed=x&Inner=1", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p=1", "Needed=x&Refused=1",
	} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		values, err := url.ParseQuery(form)
		if err != nil {
			return
		}
		var s sample
		if ec2Dialect.decodeQuery(values, &s) != nil {
			return
		}
		taken := 1 // Needed
		if s.Needed != values.Get("Needed") {
			t.Fatalf("Needed is %q in %q", s.Needed, form)
		}
		for name := range values {
			switch name {
			case "Name", "Flag", "Count", "Inner.A", "List", "Filter":
				taken++
			}
		}
		for _, filter := range s.Filters {
			taken += len(filter.Values)
		}
		taken += len(s.List)
		for name := range values {
			if strings.HasPrefix(name, "Filter.") && (strings.HasSuffix(name, ".Name") || strings.HasSuffix(name, ".Value")) {
				taken++
			}
		}
		if taken != len(values) {
			t.Errorf("%d of %d parameters of %q were taken: %+v", taken, len(values), form, s)
		}
	})
}

// FuzzEC2Query sends any form to the real actions: each answers or refuses, and what is refused changes nothing.
func FuzzEC2Query(f *testing.F) {
	f.Add("Action=DescribeVpcs&Version=2016-11-15")
	f.Add("Action=CreateVpcEndpoint&Version=2016-11-15&VpcEndpointType=Interface&VpcId=vpc-00000000&ServiceName=x&SubnetId.1=y")
	f.Add("Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=0")
	f.Add("Action=CreateTags&Version=2016-11-15&ResourceId.1=vpc-1&Tag.1.Key=a&Tag.1.Value=b")
	f.Add("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16&DryRun=true")
	f.Add("Action=CreateSubnet&Version=2016-11-15&VpcId=vpc-1&CidrBlock=0.0.0.0/0")
	f.Add("Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Value.1=*\\&MaxResults=5&NextToken=YWZ0ZXIg")
	c := startCloud(f)
	f.Fuzz(func(t *testing.T, form string) {
		values, err := url.ParseQuery(form)
		if err != nil {
			return
		}
		op, known := ec2Actions[values.Get("Action")]
		if !known {
			return
		}
		delete(values, "Action")
		delete(values, "Version")
		call := &call{f: c.Fabric, service: &ec2Service, action: "fuzz", account: customer.ID, region: testRegion, params: values}
		before := c.snapshot()
		answer, err := call.do(op, true) // a dry run: nothing piles up
		if err == nil && op.writes {
			t.Errorf("a dry run succeeded: %v", answer)
		}
		if c.snapshot() != before {
			t.Errorf("the state changed by %q", form)
		}
	})
}

func TestFilterWildcards(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"a.c", "abc", false},
		{"a.*", "abc", false},
		{"(", "(", true},
		{"*\n*", "a\nb", true},
	} {
		if got := wildcardMatch(test.pattern, test.text); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.text, got)
		}
	}
}

func TestPage(t *testing.T) {
	var ids []string
	for i := range 12 {
		ids = append(ids, "id-"+strconv.Itoa(10+i))
	}
	self := func(id string) string { return id }
	five := 5
	var seen []string
	in := paging{MaxResults: &five}
	for range 5 {
		part, next, err := page(in, ids, self)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, part...)
		if in.NextToken = next; next == "" {
			break
		}
		// What was seen may go away in between without hiding what was not.
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == part[0] || id == part[len(part)-1] })
	}
	if len(seen) != 12 || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 12 {
		t.Errorf("the pages hold %v", seen)
	}
}
