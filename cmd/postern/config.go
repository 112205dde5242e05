package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/link"
)

// configVariable names the file of settings when no flag does.
const configVariable = "POSTERN_CONFIG"

// settingFlags are the settings that have a flag of their own.
var settingFlags = []struct{ flag, key, usage string }{
	{"api-addr", "api.addr", "address of the API"},
	{"domain", "domain", "base domain of the clusters' names: CLUSTER.REGION.pe.DOMAIN is private, CLUSTER.REGION.DOMAIN public"},
	{"aws-endpoint-url", "aws.endpoint_url", `AWS endpoint to use instead of Amazon's, for example that of "postern fabric"`},
	{"metrics-addr", "metrics.addr", "address of GET /metrics for Prometheus; none when empty"},
}

// configFlags adds the flags by which a command takes its settings.
func (a *app) configFlags(cmd *cobra.Command, file *string) {
	f := cmd.Flags()
	f.StringVar(file, "config", "", "file of settings, YAML (default $"+configVariable+")")
	for _, s := range settingFlags {
		f.String(s.flag, "", s.usage)
	}
}

// loadConfig reads the settings that cmd was given: flags, the environment, a file.
func (a *app) loadConfig(cmd *cobra.Command, file string) (config.Config, []config.Effective, error) {
	in := config.Input{Env: os.Environ(), Flags: map[string]string{}}
	if file == "" {
		file = os.Getenv(configVariable)
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
				err = pathErr.Err
			}
			return config.Config{}, nil, &link.Error{
				Kind: link.Invalid, Reason: "CONFIGURATION", Field: "--config", Message: "the settings in " + file + " cannot be read", Err: err,
				Hint: `"postern config example" writes a file to begin with`,
			}
		}
		in.Name, in.File = file, b
	}
	for _, s := range settingFlags {
		if f := cmd.Flags().Lookup(s.flag); f != nil && f.Changed {
			in.Flags[s.key] = f.Value.String()
		}
	}
	if f := cmd.Flags().Lookup("data"); f.Changed {
		in.Flags["data"] = f.Value.String()
	}
	return config.Load(in)
}

// logger is the log of a server.
func (a *app) logger(l config.Log) *slog.Logger {
	if a.verbose {
		return a.log
	}
	o := &slog.HandlerOptions{Level: l.Level}
	if l.JSON {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: `Check, show or begin the settings of "postern serve"`,
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(a.configCheckCommand(), a.configShowCommand(), a.configExampleCommand())
	return cmd
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say everything that is wrong with a file of settings",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, effective, err := a.loadConfig(cmd, args[0])
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"settings": effective})
			}
			_, err = fmt.Fprintf(a.out, "%s is right\n", args[0])
			return err
		},
	}
}

func (a *app) configShowCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the settings that count, and where each was given; of secrets only that they are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, effective, err := a.loadConfig(cmd, file)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"settings": effective})
			}
			t := table{head: []string{"SETTING", "VALUE", "GIVEN BY"}}
			for _, e := range effective {
				t.add(e.Key, e.Value, e.Source)
			}
			return t.write(a.out)
		},
	}
	a.configFlags(cmd, &file)
	return cmd
}

func (a *app) configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Write a file with every setting, explained",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.out, config.Example())
			return err
		},
	}
}
