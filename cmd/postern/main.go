// Command postern is the one binary for people: it tells the whole story on a laptop (demo, up), runs the parts (serve,
// fabric), connects and verifies from the customer's side (connect, disconnect, verify), and has a verb for every
// resource of the REST API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes. Scripts rely on them; README lists them.
const (
	exitOK          = 0
	exitFailed      = 1 // the thing asked for did not hold or could not be done
	exitUsage       = 2 // the command line or an input is wrong; nothing was done
	exitUnreachable = 3 // the control plane or the cloud could not be reached
	exitRefused     = 4 // known, but not allowed, or not known at all
)

// run is the whole program but for the process around it: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if silent, ok := errors.AsType[verdict](err); ok {
		return int(silent)
	}
	return a.explain(cmd, err)
}

// verdict is an error that was already told in full: it only carries the exit code.
type verdict int

func (v verdict) Error() string { return "the check did not hold" }

// root builds the command tree. Every verb stands in a file of its own.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "Private connectivity between a software vendor and its customers",
		Long: `Postern gives the customers of a software vendor private endpoints to the vendor's service,
and proves which endpoint every flow came through.

Start with "postern demo": it runs everything on this machine and tells the whole story.
Then "postern up" keeps it running, and the other commands talk to it.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.settle(cmd)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef(fmt.Sprintf("see %q", cmd.CommandPath()+" --help"), "%v", err)
	})
	a.globalFlags(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run it:"},
		&cobra.Group{ID: "customer", Title: "The customer's side:"},
		&cobra.Group{ID: "resource", Title: "Resources of the control plane:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", a.demoCommand(), a.upCommand(), a.serveCommand(), a.fabricCommand(), a.envCommand(), a.configCommand(),
		a.backupCommand(), a.restoreCommand(), a.migrateCommand())
	add("customer", a.connectCommand(), a.disconnectCommand(), a.verifyCommand(), a.dnsCommand(), a.renderCommand())
	add("resource", a.resourceCommands()...)
	root.AddCommand(a.versionCommand())
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}
