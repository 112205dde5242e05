package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
	"github.com/postern/postern/internal/webserver"
)

// renderRequest is what a person asks "postern render" for.
type renderRequest struct {
	cluster, file string
	target        string
	check         bool
	diff, install string
	test, reload  string
	watch         bool
	interval      time.Duration

	cmd *cobra.Command
}

// rendering is what came of it.
type rendering struct {
	Target    string                 `json:"target"`
	Text      string                 `json:"text"`
	Notes     []api.ReverseProxyNote `json:"notes"`
	Check     *checkReport           `json:"check,omitempty"`
	Diff      *string                `json:"diff,omitempty"`
	Installed *installReport         `json:"installed,omitempty"`

	proxy  link.ReverseProxy
	aim    proxyconf.Target
	report webserver.Report
}

// checkReport is what the installed server said.
type checkReport struct {
	Outcome  webserver.Outcome `json:"outcome"` // ACCEPTED, REFUSED, NOT_CHECKED
	Version  string            `json:"version,omitempty"`
	Started  bool              `json:"started,omitempty"`
	Missing  []string          `json:"missing_modules,omitempty"`
	Messages []string          `json:"messages,omitempty"`
	Why      string            `json:"why,omitempty"`
}

// installReport is what became of the file.
type installReport struct {
	Path     string `json:"path"`
	Changed  bool   `json:"changed"`
	Reloaded bool   `json:"reloaded"`
	Previous string `json:"previous,omitempty"`
}

func (a *app) renderCommand() *cobra.Command {
	var req renderRequest
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the configuration of a web server in front of a cluster, check it for real, put it in place",
		Long: `Print the configuration by which nginx, Apache, HAProxy or Caddy does what a cluster's reverse proxy says. The settings
come from the control plane, or without any from a file in the form of "postern reverse-proxy get --output json".

--check has the server that is installed here look at it in a temporary folder, with throw-away keys and certificates.
--install replaces a file at once and as a whole, runs the commands of --test and --reload, and puts the previous text back when
one of them fails. --watch goes on doing so when the settings change, also through an outage of the control plane.

Exit codes: 0 done, and with --diff nothing differs; 1 --diff found a difference, the check refused the text or could not be
made, or the installation failed; 2 the settings or the command line are wrong.`,
		Example: `  postern render --target nginx=1.26 >postern.conf
  postern render --file settings.yaml --check --diff /etc/nginx/conf.d/postern.conf
  postern render --install /etc/nginx/conf.d/postern.conf --test "nginx -t" --reload "systemctl reload nginx" --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.cmd = cmd
			return a.render(cmd.Context(), req)
		},
	}
	f := cmd.Flags()
	a.clusterFlag(cmd, &req.cluster)
	f.StringVarP(&req.file, "file", "f", "", "settings in JSON or YAML, - for standard input (default those that the control plane has)")
	f.StringVar(&req.target, "target", "", `server and version, for example nginx=1.26,openssl=3.5, or "installed" (default the settings' server in Debian 12's version)`)
	f.BoolVar(&req.check, "check", false, "have the installed server check the text; nothing is printed or installed that it refuses")
	f.StringVar(&req.diff, "diff", "", "print how the text differs from this file; exit with 1 when it does")
	f.StringVar(&req.install, "install", "", "put the text into this file")
	f.StringVar(&req.test, "test", "", `command for sh that tests the file in its place, for example "nginx -t"`)
	f.StringVar(&req.reload, "reload", "", `command for sh that has the server read the file, for example "systemctl reload nginx"`)
	f.BoolVar(&req.watch, "watch", false, "go on installing when the settings change, until interrupted")
	f.DurationVar(&req.interval, "interval", 30*time.Second, "with --watch, how often to look, beside when the control plane tells of a change")
	cmd.MarkFlagsMutuallyExclusive("diff", "install")
	cmd.MarkFlagsMutuallyExclusive("file", "cluster")
	_ = cmd.RegisterFlagCompletionFunc("target", cobra.FixedCompletions([]string{"nginx", "apache", "haproxy", "caddy", "direct", "installed"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (req renderRequest) wrong() error {
	switch {
	case req.install == "" && (req.test != "" || req.reload != ""):
		return usagef("give --install with the file", "--test and --reload belong to an installation")
	case req.install == "" && req.watch:
		return usagef("give --install with the file", "--watch installs what changes")
	case req.watch && req.file == "-":
		return usagef("give the path of a file", "standard input does not change")
	case req.interval < time.Second:
		return usagef("give at least 1s", "--interval cannot be %v", req.interval)
	}
	return nil
}

func (a *app) render(ctx context.Context, req renderRequest) error {
	if err := req.wrong(); err != nil {
		return err
	}
	load, err := a.settingsSource(req)
	if err != nil {
		return err
	}
	if req.watch {
		return a.watchSettings(ctx, req, load)
	}
	settings, err := load.read(ctx)
	if err != nil {
		return err
	}
	r, err := req.make(ctx, settings)
	if err != nil {
		return err
	}
	return a.deliver(ctx, req, r)
}

// settingsSource is where the settings are read from. One goroutine reads, another may take the events.
type settingsSource struct {
	read   func(context.Context) (api.ReverseProxySettings, error)
	events func(context.Context) (*api.EventStream, error) // of the cluster, from now on; nil: nobody tells of changes
}

func (a *app) settingsSource(req renderRequest) (settingsSource, error) {
	if req.file != "" {
		return settingsSource{read: func(context.Context) (api.ReverseProxySettings, error) {
			var p api.ReverseProxy
			err := readDocument(req.cmd, req.file, &p)
			return p.ReverseProxySettings, err
		}}, nil
	}
	c, err := a.client()
	if err != nil {
		return settingsSource{}, err
	}
	// The cluster's id is asked for until it is known: --watch may begin in an outage.
	var mu sync.Mutex
	var known string
	cluster := func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if known != "" {
			return known, nil
		}
		cl, err := a.pickCluster(ctx, c, req.cluster)
		known = cl.ID
		return known, err
	}
	var tag string // of last, the settings that were read last
	var last api.ReverseProxySettings
	return settingsSource{
		read: func(ctx context.Context) (api.ReverseProxySettings, error) {
			id, err := cluster(ctx)
			if err != nil {
				return api.ReverseProxySettings{}, err
			}
			p, now, changed, err := c.ReverseProxyUnless(ctx, id, tag)
			if changed {
				tag, last = now, p.ReverseProxySettings
			}
			return last, err
		},
		events: func(ctx context.Context) (*api.EventStream, error) {
			id, err := cluster(ctx)
			if err != nil {
				return nil, err
			}
			// A stream without a cursor would begin with the oldest event.
			page, err := c.Feed(ctx, api.FeedQuery{ClusterID: id, Since: time.Now().Add(-time.Minute)})
			if err != nil {
				return nil, err
			}
			return c.StreamEvents(ctx, api.FeedQuery{ClusterID: id, Cursor: page.NextCursor})
		},
	}, nil
}

// make renders settings, and has the text checked when that was asked for.
func (req renderRequest) make(ctx context.Context, settings api.ReverseProxySettings) (rendering, error) {
	proxy, err := proxyOf(settings)
	if err != nil {
		return rendering{}, err
	}
	aim, err := req.aim(ctx, proxy.Server)
	if err != nil {
		return rendering{}, err
	}
	out, err := proxyconf.Render(proxy, aim)
	if err != nil {
		return rendering{}, err
	}
	r := rendering{Target: aim.String(), Text: out.Text, Notes: []api.ReverseProxyNote{}, proxy: proxy, aim: aim}
	for _, n := range out.Notes {
		r.Notes = append(r.Notes, api.ReverseProxyNote{Code: n.Code, Text: n.Text})
	}
	if !req.check {
		return r, nil
	}
	rep, err := webserver.Check(ctx, proxy, aim)
	if err != nil {
		return rendering{}, err
	}
	r.Check = &checkReport{Outcome: rep.Outcome, Started: rep.Started, Missing: rep.Missing, Messages: rep.Messages, Why: rep.Why}
	if rep.Version != (proxyconf.Version{}) {
		r.Check.Version = rep.Version.String()
	}
	r.report = rep
	return r, nil
}

// aim is what the text is for.
func (req renderRequest) aim(ctx context.Context, server link.WebServer) (proxyconf.Target, error) {
	switch req.target {
	case "":
		return proxyconf.Target{Server: server}, nil
	case "installed":
		p, err := webserver.Find(ctx, server)
		return p.Target(), err
	}
	return proxyconf.ParseTarget(req.target)
}

// tellCheck tells a person what the installed server said.
func (a *app) tellCheck(r rendering) {
	t, c := newTeller(a.err), r.Check
	details := c.Messages
	for _, m := range c.Missing {
		details = append(details, "this machine lacks the module "+m)
	}
	with := fmt.Sprintf("%s %s", r.aim.Server, c.Version)
	switch c.Outcome {
	case webserver.Accepted:
		what := "accepts it"
		if c.Started {
			what = "accepts it, and starts with it"
		}
		t.held(with+" "+what, 0, details...)
	case webserver.Refused:
		t.failed(with+" refuses it", 0, details...)
	default:
		t.left("not checked: "+c.Why, 0, details...)
	}
}

// deliver prints or installs what was rendered.
func (a *app) deliver(ctx context.Context, req renderRequest, r rendering) error {
	notes := func() {
		for _, n := range r.Notes {
			if !a.json() {
				fmt.Fprintf(a.err, "note: %s\n", n.Text)
			}
		}
	}
	if req.install == "" { // what is in place already was told of when it came there
		notes()
	}
	if r.Check != nil && !a.json() {
		a.tellCheck(r)
	}
	failed := r.Check != nil && r.Check.Outcome != webserver.Accepted
	if req.diff != "" {
		old, err := os.ReadFile(req.diff)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return usagef("give a readable file to --diff", "the file cannot be read: %v", err)
		}
		diff := proxyconf.Diff(string(old), r.Text)
		if diff != "" {
			diff = fmt.Sprintf("--- %[1]s\n+++ %[1]s\n%[2]s", req.diff, diff)
		}
		r.Diff = &diff
		failed = failed || diff != ""
	}
	if req.install != "" && !failed {
		done, err := req.put(ctx, r)
		if err != nil || done.Changed {
			notes()
		}
		if err != nil {
			return err
		}
		r.Installed = &done
	}
	if err := a.printRendering(r, failed && req.diff == ""); err != nil {
		return err
	}
	if failed {
		return verdict(exitFailed)
	}
	return nil
}

// printRendering prints what was asked for: the document, the difference, what became of the file, or the text, unless it
// was refused.
func (a *app) printRendering(r rendering, refused bool) error {
	var err error
	switch {
	case a.json():
		return a.printJSON(r)
	case r.Diff != nil:
		_, err = fmt.Fprint(a.out, *r.Diff)
	case r.Installed != nil:
		_, err = fmt.Fprintln(a.out, r.Installed)
	case !refused:
		_, err = fmt.Fprint(a.out, r.Text)
	}
	return err
}

// put installs what was rendered.
func (req renderRequest) put(ctx context.Context, r rendering) (installReport, error) {
	in := webserver.Installation{Path: req.install, Text: r.Text}
	if req.test != "" {
		in.Test = []string{"sh", "-c", req.test}
	}
	if req.reload != "" {
		in.Reload = []string{"sh", "-c", req.reload}
	}
	done, err := webserver.Install(ctx, in)
	return installReport{req.install, done.Changed, done.Reloaded, done.Previous}, err
}

func (r *installReport) String() string {
	what := "is as it should be"
	switch {
	case r.Changed && r.Reloaded:
		what = "is replaced, and the server has read it"
	case r.Changed:
		what = "is replaced"
	case r.Reloaded:
		what = "is as it should be, and the server has read it"
	}
	if r.Changed && r.Previous != "" {
		what += "; the text before is in " + r.Previous
	}
	return r.Path + " " + what
}
