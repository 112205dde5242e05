package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// setting is one thing that can be set.
type setting struct {
	key    string // as in the file, sections joined by dots
	def    string // as one would write it; empty: none
	doc    string // for Example
	secret bool   // the file names another that holds it, by key_file; the environment may hold it itself
	list   bool   // the file has a list; the environment one text, parted by commas
	set    func(c *Config, value string) error
}

// variable is the environment variable that takes a key's place.
func variable(key string) string {
	return "POSTERN_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// settings are all that there are, in the order of Example.
var settings = []setting{
	{key: "data", def: "postern-data", doc: "Folder of keys and tokens, and of the database when it is SQLite.", set: func(c *Config, v string) error { return filled(&c.DataDir, v) }},
	{key: "domain", doc: "Base domain of the clusters' names: CLUSTER.REGION.pe.DOMAIN is private, CLUSTER.REGION.DOMAIN public. Required.", set: func(c *Config, v string) error { return domain(&c.Domain, v) }},

	{key: "api.addr", def: "127.0.0.1:8443", doc: "Where the API listens.", set: func(c *Config, v string) error { return addr(&c.API.Addr, v) }},
	{key: "api.public_url", doc: "By which URL people and gateways reach the API.", set: func(c *Config, v string) error { return httpURL(&c.API.PublicURL, v) }},
	{key: "api.trusted_proxies", list: true, doc: "Ranges of addresses of proxies in front of the API. What they say in X-Forwarded-For, from its end to the first address that is none of theirs, is where a request comes from: for rates, sessions and the audit log. Without any the peer's address counts. Whoever is in such a range can pass for anybody.", set: func(c *Config, v string) error { return ranges(&c.API.TrustedProxies, v) }},
	{key: "api.tls.certificate_file", doc: "PEM certificate chain of the API; read again when it changes. Without one, and without ACME, the API speaks plain HTTP.", set: func(c *Config, v string) error { return filled(&c.API.TLS.CertificateFile, v) }},
	{key: "api.tls.key_file", doc: "Its PEM key.", set: func(c *Config, v string) error { return filled(&c.API.TLS.KeyFile, v) }},
	{key: "api.tls.acme.domains", list: true, doc: "Names for which an ACME authority is asked for a certificate.", set: func(c *Config, v string) error { return each(&c.API.TLS.ACME.Domains, v, domain) }},
	{key: "api.tls.acme.email", doc: "Whom the authority writes to.", set: func(c *Config, v string) error { return filled(&c.API.TLS.ACME.Email, v) }},
	{key: "api.tls.acme.directory_url", def: "https://acme-v02.api.letsencrypt.org/directory", doc: "The authority. By naming it you agree to its terms.", set: func(c *Config, v string) error { return httpURL(&c.API.TLS.ACME.DirectoryURL, v) }},
	{key: "api.tls.acme.ca_file", doc: "PEM roots for the authority's own certificate, when the system does not know them.", set: func(c *Config, v string) error { return filled(&c.API.TLS.ACME.CAFile, v) }},
	{key: "api.tls.acme.challenge_addr", doc: "Where the authority's HTTP challenge arrives, forwarded from port 80. Without it only TLS-ALPN is used, from port 443.", set: func(c *Config, v string) error { return addr(&c.API.TLS.ACME.ChallengeAddr, v) }},

	{key: "limits.callers_per_second", def: "50", doc: "How many requests a second each person and service account may make, on average; 0 is no limit. Each process counts for itself. The vendor's operators and gateways have no limit.", set: func(c *Config, v string) error { return perSecond(&c.Limits.Callers.PerSecond, v) }},
	{key: "limits.callers_burst", def: "200", doc: "And how many at once.", set: func(c *Config, v string) error { return count(&c.Limits.Callers.Burst, v) }},
	{key: "limits.strangers_per_second", def: "5", doc: "The same of each address whose requests carry no token that is good.", set: func(c *Config, v string) error { return perSecond(&c.Limits.Strangers.PerSecond, v) }},
	{key: "limits.strangers_burst", def: "30", doc: "And how many at once.", set: func(c *Config, v string) error { return count(&c.Limits.Strangers.Burst, v) }},
	{key: "limits.sign_ins_per_second", def: "1", doc: "The same of each address that signs in. After failures it takes longer, whatever is said here.", set: func(c *Config, v string) error { return perSecond(&c.Limits.SignIns.PerSecond, v) }},
	{key: "limits.sign_ins_burst", def: "20", doc: "And how many at once.", set: func(c *Config, v string) error { return count(&c.Limits.SignIns.Burst, v) }},
	{key: "limits.streams_per_caller", def: "20", doc: "How many streams of events one caller may have open at a process.", set: func(c *Config, v string) error { return count(&c.Limits.StreamsPerCaller, v) }},
	{key: "limits.streams", def: "2000", doc: "And all callers together.", set: func(c *Config, v string) error { return count(&c.Limits.Streams, v) }},

	{key: "openid.issuer", doc: "OpenID provider at which people sign in, as it writes itself in its tokens. It sends browsers back to PUBLIC_URL/api/v1/login/openid/callback, so api.public_url is needed.", set: func(c *Config, v string) error { return filled(&c.OpenID.Issuer, v) }},
	{key: "openid.client_id", doc: "How the provider knows this installation.", set: func(c *Config, v string) error { return filled(&c.OpenID.ClientID, v) }},
	{key: "openid.client_secret", secret: true, doc: "What it knows it by.", set: func(c *Config, v string) error { c.OpenID.ClientSecret = NewSecret(v); return nil }},
	{key: "openid.scopes", list: true, def: "email,profile", doc: "What the provider is asked to tell, beside who it is.", set: func(c *Config, v string) error { return each(&c.OpenID.Scopes, v, filled) }},
	{key: "openid.domains", list: true, doc: "Domains of the e-mail addresses that may sign in, also of people who are not known yet. Without any, only people who are known may.", set: func(c *Config, v string) error { return each(&c.OpenID.Domains, v, domain) }},
	{key: "openid.grant_claim", doc: "Claim that openid.grants are about, for example groups.", set: func(c *Config, v string) error { return filled(&c.OpenID.GrantClaim, v) }},
	{key: "openid.grants", list: true, doc: "Roles that the claim gives and takes, each as VALUE=ROLE@installation or VALUE=ROLE@organisation/ID, project/ID, cluster/ID.", set: func(c *Config, v string) error { return openIDGrants(&c.OpenID.Grants, v) }},

	{key: "database.url", secret: true, doc: "PostgreSQL, as postgres://USER:PASSWORD@HOST/DATABASE. Without it: SQLite in the data folder.", set: func(c *Config, v string) error { return databaseURL(&c.Database.URL, v) }},

	{key: "aws.endpoint_url", doc: "AWS endpoint to use instead of Amazon's.", set: func(c *Config, v string) error { return httpURL(&c.AWS.EndpointURL, v) }},

	{key: "log.level", def: "info", doc: "debug, info, warn or error.", set: func(c *Config, v string) error { return level(&c.Log.Level, v) }},
	{key: "log.format", def: "text", doc: "text or json.", set: func(c *Config, v string) error { return choice(&c.Log.JSON, v, "text", "json") }},

	{key: "metrics.addr", doc: "Where GET /metrics is answered for Prometheus. It names customers: keep it inside.", set: func(c *Config, v string) error { return addr(&c.Metrics.Addr, v) }},

	{key: "tracing.otlp_url", doc: "OTLP/HTTP receiver of traces, for example http://127.0.0.1:4318.", set: func(c *Config, v string) error { return httpURL(&c.Tracing.OTLPURL, v) }},
	{key: "tracing.sampled_percent", def: "100", doc: "How many of a hundred traces that begin here are sent.", set: func(c *Config, v string) error { return percent(&c.Tracing.Sampled, v) }},

	{key: "webhooks.allowed_ranges", list: true, doc: "Ranges of addresses that are not public, to which webhooks may be sent all the same, for example 10.1.0.0/16. Whoever may subscribe can then make this server talk to what is there. One of loopback allows plain HTTP to it as well.", set: func(c *Config, v string) error { return ranges(&c.Webhooks.AllowedRanges, v) }},

	{key: "mail.smtp_addr", doc: "Mail server by which subscriptions of kind MAIL are served. TLS is required, unless the server is on loopback.", set: func(c *Config, v string) error { return addr(&c.Mail.SMTPAddr, v) }},
	{key: "mail.from", doc: "Sender of the mails: postern@example.com, or Postern <postern@example.com>.", set: func(c *Config, v string) error { return sender(&c.Mail.From, v) }},
	{key: "mail.username", doc: "Who signs in at the mail server; nobody when left out.", set: func(c *Config, v string) error { return filled(&c.Mail.Username, v) }},
	{key: "mail.password", secret: true, doc: "The password of that.", set: func(c *Config, v string) error { c.Mail.Password = NewSecret(v); return nil }},

	{key: "audit.key_file", doc: "File of the key that signs the audit log, made when it is not there; audit-key in the data folder when left out. Best on a disk that is not the database's. What it says is announced in the log: processes may share one or have one each.", set: func(c *Config, v string) error { return filled(&c.Audit.KeyFile, v) }},

	{key: "shutdown.delay", def: "0s", doc: "After SIGTERM /readyz says no for this long while requests are still answered: time for a balancer to notice.", set: func(c *Config, v string) error { return duration(&c.Shutdown.Delay, v, 10*time.Minute) }},
	{key: "shutdown.grace", def: "20s", doc: "How long the requests under way may take to end after that.", set: func(c *Config, v string) error { return duration(&c.Shutdown.Grace, v, 10*time.Minute) }},
}

func settingOf(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

func filled(into *string, v string) error {
	if strings.TrimSpace(v) == "" {
		return fmt.Errorf("it is empty: leave the key out for the default")
	}
	*into = v
	return nil
}

func each(into *[]string, v string, one func(*string, string) error) error {
	*into = nil
	for part := range strings.SplitSeq(v, ",") {
		var s string
		if err := one(&s, strings.TrimSpace(part)); err != nil {
			return err
		}
		*into = append(*into, s)
	}
	return nil
}

func domain(into *string, v string) error {
	v = strings.TrimSuffix(strings.ToLower(v), ".")
	if len(v) == 0 || len(v) > 200 {
		return fmt.Errorf("%q is no domain name", v)
	}
	for label := range strings.SplitSeq(v, ".") {
		ok := len(label) > 0 && len(label) < 64 && label[0] != '-' && label[len(label)-1] != '-'
		for _, r := range label {
			ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
		}
		if !ok {
			return fmt.Errorf("%q is no domain name", v)
		}
	}
	*into = v
	return nil
}

func ranges(into *[]netip.Prefix, v string) error {
	*into = nil
	for part := range strings.SplitSeq(v, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil || p != p.Masked() {
			return fmt.Errorf("%q is no range of addresses: write one like 10.1.0.0/16", part)
		}
		*into = append(*into, p)
	}
	return nil
}

func sender(into *string, v string) error {
	if _, err := mail.ParseAddress(v); err != nil {
		return fmt.Errorf("%q is no sender: write postern@example.com, or Postern <postern@example.com>", v)
	}
	*into = v
	return nil
}

func addr(into *string, v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is no address: write HOST:PORT, for example 127.0.0.1:8443", v)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is no port", port)
	}
	*into = v
	return nil
}

func httpURL(into *string, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("not a URL: write https://HOST/…") // without the text: it may hold a password
	}
	if u.User != nil {
		return fmt.Errorf("a URL here holds no user and password")
	}
	*into = strings.TrimSuffix(v, "/")
	return nil
}

func databaseURL(into *Secret, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return fmt.Errorf("not a URL of PostgreSQL: write postgres://USER:PASSWORD@HOST/DATABASE")
	}
	*into = NewSecret(v)
	return nil
}

func openIDGrants(into *[]OpenIDGrant, v string) error {
	*into = nil
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		value, rest, ok := strings.Cut(part, "=")
		role, scope, ok2 := strings.Cut(rest, "@")
		kind, id, _ := strings.Cut(scope, "/")
		g := OpenIDGrant{
			Value: value, Role: link.Role(strings.ToUpper(strings.ReplaceAll(role, "-", "_"))),
			Scope: link.Scope{Kind: link.ScopeKind(strings.ToUpper(kind)), ID: link.ID(id)},
		}
		_, idErr := link.ParseID("scope", id)
		switch {
		case !ok || !ok2 || value == "":
			return fmt.Errorf("%q gives nobody a role: write for example admins=ORGANISATION_ADMIN@organisation/ID", part)
		case !slices.Contains([]link.Role{link.RoleViewer, link.RoleClusterOperator, link.RoleClusterAdmin, link.RoleProjectAdmin, link.RoleOrganisationAdmin, link.RoleOperator}, g.Role):
			return fmt.Errorf("%q is no role", role)
		case g.Scope.Kind == link.ScopeInstallation && id == "":
		case !slices.Contains([]link.ScopeKind{link.ScopeOrganisation, link.ScopeProject, link.ScopeCluster}, g.Scope.Kind) || idErr != nil:
			return fmt.Errorf("%q is no scope: write installation, or organisation, project or cluster with / and the id", scope)
		}
		if g.Role == link.RoleOperator && g.Scope.Kind != link.ScopeInstallation {
			return fmt.Errorf("%s is a role of the installation alone", g.Role)
		}
		*into = append(*into, g)
	}
	return nil
}

func level(into *slog.Level, v string) error {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(v, l.String()) {
			*into = l
			return nil
		}
	}
	return fmt.Errorf("%q is no level: write debug, info, warn or error", v)
}

func choice(into *bool, v, no, yes string) error {
	if v != no && v != yes {
		return fmt.Errorf("%q is neither %s nor %s", v, no, yes)
	}
	*into = v == yes
	return nil
}

// Bounds of limits: what is beyond them is a slip of the pen.
const (
	mostPerSecond = 1e6
	mostCount     = 1_000_000
)

func perSecond(into *float64, v string) error {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f <= mostPerSecond) {
		return fmt.Errorf("%q is no number from 0 to %.0f", v, mostPerSecond)
	}
	*into = f
	return nil
}

func count(into *int, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > mostCount {
		return fmt.Errorf("%q is no whole number from 1 to %d", v, mostCount)
	}
	*into = n
	return nil
}

func percent(into *float64, v string) error {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f <= 100) {
		return fmt.Errorf("%q is no number from 0 to 100", v)
	}
	*into = f / 100
	return nil
}

func duration(into *time.Duration, v string, most time.Duration) error {
	d, err := time.ParseDuration(v)
	switch {
	case err != nil && isNumber(v):
		return fmt.Errorf("%s of what? Write the unit, for example %ss", v, v)
	case err != nil:
		return fmt.Errorf("%q is no duration: write for example 500ms, 20s or 5m", v)
	case d < 0 || d > most:
		return fmt.Errorf("%s is not between 0s and %s", d, most)
	}
	*into = d
	return nil
}

func isNumber(v string) bool {
	_, err := strconv.ParseFloat(v, 64)
	return err == nil
}

// readSecret reads the file that holds a secret. Line ends at its end are not part of it.
func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return v, nil
}
