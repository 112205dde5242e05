package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/link"
)

// app is one run of the program: where it writes and what the global flags said.
type app struct {
	out, err io.Writer

	output    string // table or json
	apiURL    string
	tokenFile string
	apiCAFile string
	dataDir   string
	verbose   bool

	log *slog.Logger
}

const defaultDataDir = "postern-data"

func (a *app) globalFlags(f *pflag.FlagSet) {
	f.StringVarP(&a.output, "output", "o", "table", "how to print results: table or json")
	f.StringVar(&a.apiURL, "api-url", "", "control plane's URL (default $POSTERN_API_URL, else what \"postern up\" left in --data)")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the API token (default $POSTERN_TOKEN, else what \"postern login\" keeps, or \"postern up\" left in --data)")
	f.StringVar(&a.apiCAFile, "api-ca-file", "", "PEM roots that the control plane's certificate may come from (default $POSTERN_API_CA_FILE, else the system's)")
	f.StringVar(&a.dataDir, "data", defaultDataDir, "data directory of \"postern up\"")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what happens inside to standard error")
}

// settle checks the global flags before any verb runs.
func (a *app) settle(*cobra.Command) error {
	if a.output != "table" && a.output != "json" {
		return usagef("write --output table or --output json", "unknown output format %q", a.output)
	}
	level := slog.LevelError
	if a.verbose {
		level = slog.LevelDebug
	}
	a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	return nil
}

// client returns a client of the control plane that the flags, the environment, a running "postern up" or "postern login"
// name, in this order.
func (a *app) client() (*api.Client, error) {
	base, err := a.baseURL()
	if err != nil {
		return nil, err
	}
	token, err := a.token(base)
	if err != nil {
		return nil, err
	}
	return a.clientOf(base, token)
}

// clientOf returns a client of the control plane at a URL, with a token that may be empty.
func (a *app) clientOf(base, token string) (*api.Client, error) {
	client, err := a.httpClient()
	if err != nil {
		return nil, err
	}
	return api.New(base, token, api.WithHTTPClient(client)), nil
}

// baseURL is the URL of the control plane.
func (a *app) baseURL() (string, error) {
	base := a.apiURL
	if base == "" {
		base = os.Getenv("POSTERN_API_URL")
	}
	if base == "" {
		r, err := readReady(a.dataDir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		kept, kerr := readCredentials()
		switch {
		case err == nil:
			base = r.APIURL
		case kerr != nil:
			return "", kerr
		case kept.Last != "":
			base = kept.Last
		default:
			return "", usagef(`start one with "postern up", or set POSTERN_API_URL and sign in with "postern login"`,
				"no control plane is named, and %s holds none", filepath.Join(a.dataDir, readyName))
		}
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", usagef("a URL looks like https://postern.example.com", "not a URL of a control plane: %q", base)
	}
	return strings.TrimRight(base, "/"), nil
}

// token is the token for the control plane at a URL, empty when none is known.
func (a *app) token(base string) (string, error) {
	if a.tokenFile != "" {
		b, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return "", usagef("give a readable file to --token-file", "the token cannot be read: %v", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if token := os.Getenv("POSTERN_TOKEN"); token != "" {
		return token, nil
	}
	kept, err := readCredentials()
	if err != nil {
		return "", err
	}
	if token := kept.token(base, time.Now()); token != "" {
		return token, nil
	}
	// What "postern up" left is everybody's who can read its folder, so that who signed in is asked first.
	r, err := readReady(a.dataDir)
	switch {
	case err == nil && r.APIURL == base:
		return r.Token, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", err
	}
	return "", nil
}

// httpClient returns a client that trusts whom the flags and the environment say.
func (a *app) httpClient() (*http.Client, error) {
	file := a.apiCAFile
	if file == "" {
		file = os.Getenv("POSTERN_API_CA_FILE")
	}
	roots, err := certificate.ReadRoots(file)
	if err != nil || roots == nil {
		return http.DefaultClient, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: t}, nil
}

// ready reads what a running "postern up" said of itself, nil when there is none.
func (a *app) ready() *Ready {
	r, err := readReady(a.dataDir)
	if err != nil {
		return nil
	}
	return r
}

// printJSON writes v as one indented document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) json() bool { return a.output == "json" }

// usagef is an error of kind Invalid for wrong command lines: the hint first, then the message.
func usagef(hint, format string, args ...any) error {
	return &link.Error{Kind: link.Invalid, Reason: "USAGE", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// explain tells a person what went wrong in cmd and what to do next, and returns the exit code that says it to a script.
func (a *app) explain(cmd *cobra.Command, err error) int {
	var t telling
	switch {
	case t.ofAPI(err), t.ofLink(err):
		// The API names its parameter; what was typed, or left out, is the flag.
		if flag, ok := strings.CutSuffix(t.Field, "_id"); ok && cmd.Flags().Lookup(flag) != nil {
			t.Field = "--" + flag
		}
	default:
		t = telling{Code: exitFailed, Message: err.Error()}
		// cobra's own errors for unknown commands and wrong arguments have no type.
		if strings.HasPrefix(t.Message, "unknown command") || strings.Contains(t.Message, "arg(s)") ||
			strings.HasPrefix(t.Message, "required flag") || strings.HasPrefix(t.Message, "if any flags in the group") {
			t.Code, t.Reason, t.Hint = exitUsage, "USAGE", fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
			if !cmd.HasSubCommands() {
				// What cobra takes for a verb is an argument to a verb that takes none.
				if extra, ok := strings.CutPrefix(t.Message, "unknown command "); ok {
					extra, _, _ = strings.Cut(extra, " for ")
					t.Message = fmt.Sprintf("%q takes no argument, and was given %s", cmd.CommandPath(), extra)
					if cmd.Flags().Lookup("cluster") != nil {
						t.Hint = "a cluster is named by --cluster; " + t.Hint
					}
				} else {
					t.Hint = fmt.Sprintf("write it as %q; %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"), t.Hint)
				}
			}
		}
	}
	if a.json() {
		_ = json.NewEncoder(a.err).Encode(map[string]telling{"error": t})
		return t.Code
	}
	fmt.Fprintf(a.err, "postern: %s\n", t.Message)
	if t.Field != "" {
		fmt.Fprintf(a.err, "  field:  %s\n", t.Field)
	}
	if t.Reason != "" && t.Reason != "USAGE" {
		fmt.Fprintf(a.err, "  reason: %s\n", t.Reason)
	}
	if t.Hint != "" && !strings.Contains(t.Message, t.Hint) { // what is wrong may say what would be right
		fmt.Fprintf(a.err, "  next:   %s\n", t.Hint)
	}
	for _, also := range t.Also {
		fmt.Fprintf(a.err, "also: %s\n  field:  %s\n", also.Message, also.Field)
		if also.Hint != "" && !strings.Contains(also.Message, also.Hint) {
			fmt.Fprintf(a.err, "  next:   %s\n", also.Hint)
		}
	}
	return t.Code
}

// telling is an error as people and scripts get it.
type telling struct {
	Code    int    `json:"exit_code"`
	Reason  string `json:"reason,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	Also []api.ErrorDetail `json:"also,omitempty"` // what else is wrong
}

func (t *telling) ofLink(err error) bool {
	e, ok := errors.AsType[*link.Error](err)
	if !ok {
		return false
	}
	*t = telling{Code: exitFailed, Reason: e.Reason, Field: e.Field, Message: err.Error(), Hint: e.Hint}
	switch e.Kind {
	case link.Invalid:
		t.Code = exitUsage
	case link.Unavailable:
		t.Code = exitUnreachable
	case link.Denied, link.Unauthenticated:
		t.Code = exitRefused
	}
	if all := parts(err); len(all) > 1 {
		t.Message = e.Error()
		for _, one := range all[1:] {
			if also, ok := errors.AsType[*link.Error](one); ok {
				t.Also = append(t.Also, api.ErrorDetail{Reason: also.Reason, Field: also.Field, Message: also.Error(), Hint: also.Hint})
			}
		}
	}
	return true
}

func (t *telling) ofAPI(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		if ne, ok := errors.AsType[*net.OpError](err); ok {
			*t = telling{
				Code: exitUnreachable, Reason: "UNREACHABLE", Message: fmt.Sprintf("the control plane does not answer: %v", ne),
				Hint: `is it running? "postern up" starts one here; POSTERN_API_URL names another`,
			}
			return true
		}
		return false
	}
	*t = telling{Code: exitFailed, Message: e.Message}
	if len(e.Details) > 0 {
		d := e.Details[0]
		t.Reason, t.Field, t.Hint = d.Reason, d.Field, d.Hint
		if d.Message != "" { // several mistakes, each with its own words
			t.Also = e.Details[1:]
		}
	}
	switch e.Status {
	case 400, 413, 415, 422:
		t.Code = exitUsage
	case 401, 403:
		t.Code = exitRefused
	case 429, 502, 503, 504:
		t.Code = exitUnreachable
	}
	return true
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json() {
				return a.printJSON(map[string]string{"version": version()})
			}
			_, err := fmt.Fprintln(a.out, "postern", version())
			return err
		},
	}
}

// version is the module's version as the toolchain stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
