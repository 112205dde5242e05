package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

var update = flag.Bool("update", false, "write the golden file anew")

const exampleFile = "../../docs/postern.example.yaml"

// TestExample: the example is what the settings say, is taken as it stands, and sets nothing but the defaults.
func TestExample(t *testing.T) {
	if *update {
		if err := os.WriteFile(exampleFile, []byte(Example()), 0o644); err != nil { //nolint:gosec // a document for everybody
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), Example()); diff != "" {
		t.Errorf("%s differs (-file +settings); write it anew with -update:\n%s", exampleFile, diff)
	}
	of := load(t, Input{Name: "e", File: golden})
	bare := load(t, Input{Flags: map[string]string{"domain": "postern.example"}})
	if !reflect.DeepEqual(of, bare) {
		t.Errorf("the example makes\n%+v\nthe defaults are\n%+v", of, bare)
	}
}

func load(t *testing.T, in Input) Config {
	t.Helper()
	c, _, err := Load(in)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEverySettingIsSet(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "url")
	write(t, secret, "postgres://u:hunter2@db/postern\r\n")
	c, effective, err := Load(Input{Name: "p.yaml", File: []byte(`
data: /var/lib/postern
domain: Postern.Example.
api:
  addr: "[::1]:8443"
  public_url: https://api.postern.example/
  trusted_proxies: [10.0.0.0/24, "2001:db8::/64"]
  tls:
    acme:
      domains: [api.postern.example, b.postern.example]
      email: ops@postern.example
      directory_url: https://127.0.0.1:14000/dir
      ca_file: ca.pem
      challenge_addr: :80
limits: {callers_per_second: 0, callers_burst: 7, strangers_per_second: 0.5, strangers_burst: 8, sign_ins_per_second: 2, sign_ins_burst: 9, streams_per_caller: 3, streams: 40}
openid:
  issuer: https://accounts.example
  client_id: postern
  client_secret_file: ` + secret + `
  scopes: [email, groups]
  domains: [Example.com]
  grant_claim: groups
  grants: [ops=operator@installation, staff=CLUSTER_ADMIN@organisation/0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11]
database:
  url_file: ` + secret + `
aws: {endpoint_url: "http://127.0.0.1:4566"}
log: {level: WARN, format: json}
metrics: {addr: "127.0.0.1:9100"}
tracing: {otlp_url: "http://127.0.0.1:4318", sampled_percent: 12.5}
shutdown: {delay: 5s, grace: 1m30s}
webhooks: {allowed_ranges: [10.1.0.0/16, 127.0.0.0/8]}
mail:
  smtp_addr: smtp.postern.example:587
  from: Postern <postern@postern.example>
  username: postern
  password_file: ` + secret + `
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		DataDir: "/var/lib/postern", Domain: "postern.example",
		API: API{Addr: "[::1]:8443", PublicURL: "https://api.postern.example", TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/64"),
		}, TLS: TLS{ACME: ACME{
			Domains: []string{"api.postern.example", "b.postern.example"}, Email: "ops@postern.example",
			DirectoryURL: "https://127.0.0.1:14000/dir", CAFile: "ca.pem", ChallengeAddr: ":80",
		}}},
		Limits: Limits{
			Callers: Rate{0, 7}, Strangers: Rate{0.5, 8}, SignIns: Rate{2, 9}, StreamsPerCaller: 3, Streams: 40,
		},
		OpenID: OpenID{
			Issuer: "https://accounts.example", ClientID: "postern", ClientSecret: NewSecret("postgres://u:hunter2@db/postern"),
			Scopes: []string{"email", "groups"}, Domains: []string{"example.com"}, GrantClaim: "groups",
			Grants: []OpenIDGrant{
				{"ops", link.RoleOperator, link.Scope{Kind: link.ScopeInstallation}},
				{"staff", link.RoleClusterAdmin, link.Scope{Kind: link.ScopeOrganisation, ID: "0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11"}},
			},
		},
		Database: Database{URL: NewSecret("postgres://u:hunter2@db/postern")},
		AWS:      AWS{EndpointURL: "http://127.0.0.1:4566"},
		Log:      Log{Level: slog.LevelWarn, JSON: true},
		Metrics:  Metrics{Addr: "127.0.0.1:9100"},
		Tracing:  Tracing{OTLPURL: "http://127.0.0.1:4318", Sampled: 0.125},
		Shutdown: Shutdown{Delay: 5 * time.Second, Grace: 90 * time.Second},
		Webhooks: Webhooks{AllowedRanges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}},
		Mail: Mail{
			SMTPAddr: "smtp.postern.example:587", From: "Postern <postern@postern.example>", Username: "postern",
			Password: NewSecret("postgres://u:hunter2@db/postern"),
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for _, e := range effective {
		if strings.Contains(e.Value, "hunter2") {
			t.Errorf("%s shows a secret: %s", e.Key, e.Value)
		}
	}
}

// TestWhoWins: a flag before the environment, the environment before the file, the file before the default.
func TestWhoWins(t *testing.T) {
	file := []byte("domain: file.test\napi:\n  addr: 127.0.0.1:1\nlog:\n  level: error\nshutdown:\n  grace: 1s\n")
	_, effective, err := Load(Input{
		Name: "p.yaml", File: file,
		Env:   []string{"POSTERN_API_ADDR=127.0.0.1:2", "POSTERN_LOG_LEVEL=warn", "POSTERN_TOKEN=no setting", "HOME=/root"},
		Flags: map[string]string{"api.addr": "127.0.0.1:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range effective {
		got[e.Key] = e.Value + " by " + e.Source
	}
	for key, want := range map[string]string{
		"api.addr": "127.0.0.1:3 by flag", "log.level": "warn by $POSTERN_LOG_LEVEL", "shutdown.grace": "1s by p.yaml:7", "log.format": "text by default",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

// TestWhatIsRefused: each mistake is named with its line, and all mistakes of a file at once.
func TestWhatIsRefused(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	write(t, empty, "\n")
	for _, c := range []struct{ name, file, want string }{
		{"an unknown key", "domian: x.test", "p.yaml:1: domian: there is no such setting; did you mean domain?"},
		{"an unknown key in a section", "api:\n  adr: 1", "p.yaml:2: api.adr: there is no such setting; did you mean api.addr?"},
		{"a key of another section", "addr: 127.0.0.1:1", "did you mean api.addr?"},
		{"nothing like it", "frobnicate: 1", "p.yaml:1: frobnicate: there is no such setting\n"},
		{"a key twice", "domain: a.test\ndomain: b.test", "p.yaml:2: domain: it is given twice, first on line 1"},
		{"a section twice", "log:\n  level: info\nlog:\n  format: json", "p.yaml:3: log: it is given twice"},
		{"a value for a section", "api: 127.0.0.1:1", "p.yaml:1: api: a section is expected here"},
		{"a section for a value", "domain:\n  a: b", "p.yaml:2: domain: a plain value is expected"},
		{"a list for a value", "domain: [a.test]", "domain: a plain value is expected"},
		{"a section for a list", "api: {tls: {acme: {domains: {a: b}}}}", "a list or a text is expected"},
		{"no value", "metrics:\n  addr:\n", "p.yaml:2: metrics.addr: it has no value: leave the key out"},
		{"a number without its unit", "shutdown:\n  grace: 20", "shutdown.grace: 20 of what? Write the unit, for example 20s"},
		{"no duration", "shutdown: {grace: soon}", `"soon" is no duration`},
		{"a duration that is too long", "shutdown: {grace: 11m}", "11m0s is not between 0s and 10m0s"},
		{"no address", "api: {addr: 8443}", `"8443" is no address`},
		{"no port", "api: {addr: \"h:99999\"}", `"99999" is no port`},
		{"no URL", "aws: {endpoint_url: localhost}", "aws.endpoint_url: not a URL"},
		{"a URL with a password", "aws: {endpoint_url: \"http://a:b@h/\"}", "a URL here holds no user and password"},
		{"a secret in the file", "database:\n  url: postgres://u:hunter2@h/d", "p.yaml:2: database.url: a secret does not stand in this file: name the file that holds it with database.url_file, or set $POSTERN_DATABASE_URL"},
		{"a secret's file that is not there", "database: {url_file: /nowhere}", "database.url_file: the secret cannot be read"},
		{"a secret's file that is empty", "database: {url_file: " + empty + "}", "is empty"},
		{"no domain name", "domain: -x", `"-x" is no domain name`},
		{"no level", "log: {level: loud}", `"loud" is no level`},
		{"no format", "log: {format: xml}", `"xml" is neither text nor json`},
		{"a percentage beyond", "tracing: {sampled_percent: 101}", "no number from 0 to 100"},
		{"a rate below nothing", "limits: {callers_per_second: -1}", `limits.callers_per_second: "-1" is no number from 0`},
		{"a rate with a unit", "limits: {sign_ins_per_second: 5/s}", `"5/s" is no number`},
		{"a burst of nothing", "limits: {callers_burst: 0}", `"0" is no whole number from 1`},
		{"part of a stream", "limits: {streams: 1.5}", `"1.5" is no whole number`},
		{"a proxy that is no range", "api: {trusted_proxies: [10.0.0.1]}", `"10.0.0.1" is no range of addresses`},
		{"a range that says more than it means", "api: {trusted_proxies: [10.0.0.1/24]}", `"10.0.0.1/24" is no range of addresses`},
		{"half a pair", "domain: a.test\napi: {tls: {key_file: k}}", "certificate_file and key_file go together"},
		{"two sources of a certificate", "domain: a.test\napi: {tls: {key_file: k, certificate_file: c, acme: {domains: [a.test]}}}", "not both"},
		{"a provider without a client", "domain: a.test\nopenid: {issuer: \"https://i.test\"}", "openid: issuer needs client_id and api.public_url"},
		{"a client without a provider", "domain: a.test\nopenid: {client_id: c}", "openid: without an issuer nobody signs in there"},
		{"a claim without roles", "domain: a.test\nopenid: {grant_claim: groups}", "openid: grant_claim and grants go together"},
		{"a role to nobody", "openid: {grants: [operator@installation]}", "gives nobody a role"},
		{"a role that is none", "openid: {grants: [a=king@installation]}", `"king" is no role`},
		{"a role at a scope that is none", "openid: {grants: [a=viewer@moon/1]}", `"moon/1" is no scope`},
		{"a role at a scope without id", "openid: {grants: [a=viewer@project]}", `"project" is no scope`},
		{"an operator of a project", "openid: {grants: [a=operator@project/0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11]}", "OPERATOR is a role of the installation alone"},
		{"a client's secret in the file", "openid: {client_secret: hunter2}", "a secret does not stand in this file"},
		{"no domain", "{}", "domain: it is required"},
		{"no YAML", "a: [", "p.yaml: "},
		{"a list", "- a", "p.yaml:1: : a section is expected here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Load(Input{Name: "p.yaml", File: []byte(c.file)})
			if err == nil || link.KindOf(err) != link.Invalid {
				t.Fatalf("taken: %v", err)
			}
			if got := err.Error() + "\n"; !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("told:\n%swant it to hold:\n%s", got, c.want)
			}
		})
	}
	_, _, err := Load(Input{Name: "p.yaml", File: []byte("domian: x\nlog: {level: loud}\nshutdown: {grace: 1}\n")})
	if n := strings.Count(err.Error(), "p.yaml:"); n != 3 {
		t.Errorf("%d of 3 mistakes are told: %v", n, err)
	}
	_, _, err = Load(Input{Env: []string{"POSTERN_DOMAIN=a.test", "POSTERN_DATABASE_URL=postgres://u:hunter2@h/d", "POSTERN_DATABASE_URL_FILE=/x"}})
	if err == nil || !strings.Contains(err.Error(), "give one of them") {
		t.Errorf("a secret from two sides: %v", err)
	}
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("postgres://u:hunter2@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"domain": "a.test", "database.url_file": file}
	if c, _, err := Load(Input{Flags: flags}); err != nil || c.Database.URL.Reveal() != "postgres://u:hunter2@h/d" {
		t.Errorf("a secret's file by a flag: %q, %v", c.Database.URL.Reveal(), err)
	}
	flags["database.url"] = "postgres://u@h/d"
	if _, _, err := Load(Input{Flags: flags}); err == nil || !strings.Contains(err.Error(), "give one of them") {
		t.Errorf("a secret by two flags: %v", err)
	}
}

func TestSecretIsNotShown(t *testing.T) {
	c := Config{Database: Database{URL: NewSecret("hunter2")}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", c.Database.URL, "config", c)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", c.Database.URL, "config", c)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		log.String(), string(asJSON), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %x %d", c, c, c, c.Database.URL, c.Database.URL, c.Database.URL, c.Database.URL),
	} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
	if c.Database.URL.Reveal() != "hunter2" {
		t.Error("the secret is lost")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzLoad: whatever stands in a file is taken or refused with a line of why, and what is taken is taken again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte("domain: a.test\napi: {tls: {acme: {domains: [a.test]}}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("<<: {domain: a.test}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, effective, err := Load(Input{Name: "f", File: b})
		if err != nil {
			if link.KindOf(err) != link.Invalid {
				t.Fatal(err)
			}
			return
		}
		flags := map[string]string{}
		for _, e := range effective {
			if s, _ := settingOf(e.Key); !s.secret {
				flags[e.Key] = e.Value
			}
		}
		again, _, err := Load(Input{Flags: flags})
		again.Database = c.Database
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
