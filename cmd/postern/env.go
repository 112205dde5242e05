package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) envCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "env",
		Short: `Print the shell variables that let this shell use a running "postern up"`,
		Long: `Print export lines for the control plane, the embedded cloud and one of its accounts, so that postern, aws,
terraform and any SDK talk to what "postern up" runs:

  eval "$(postern env --account customer)"
  aws ec2 describe-vpc-endpoints`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r, err := readReady(a.dataDir)
			if err != nil {
				return usagef("start it with: postern up --data "+a.dataDir, "nothing runs on the data directory %s", a.dataDir)
			}
			acc, ok := r.account(role)
			switch {
			case len(r.Accounts) == 0:
				return usagef(`name the data directory of "postern up" or "postern fabric"`, "%s belongs to a control plane without an embedded cloud", a.dataDir)
			case !ok:
				return usagef("give vendor, customer or stranger", "no account has the role %q", role)
			}
			vars := [][2]string{
				{"POSTERN_API_URL", r.APIURL},
				{"POSTERN_TOKEN", r.Token},
				{"POSTERN_CLUSTER", r.ClusterID},
				{"POSTERN_CA_FILE", r.CAFile},
				{"POSTERN_VPC", acc.VPCID},
				{"POSTERN_PROXY", fmt.Sprintf("socks5h://%s:x@%s", acc.VPCID, r.SOCKSAddr)},
				{"POSTERN_DNS", acc.DNSAddr},
				{"AWS_ENDPOINT_URL", r.AWSEndpointURL},
				{"AWS_REGION", r.Region},
				{"AWS_DEFAULT_REGION", r.Region},
				{"AWS_ACCESS_KEY_ID", acc.AccessKeyID},
				{"AWS_SECRET_ACCESS_KEY", acc.SecretAccessKey},
			}
			// An embedded cloud alone has no control plane: what this shell says of one stays.
			vars = slices.DeleteFunc(vars, func(v [2]string) bool { return v[1] == "" })
			if a.json() {
				m := map[string]string{}
				for _, v := range vars {
					m[v[0]] = v[1]
				}
				return a.printJSON(m)
			}
			for _, v := range vars {
				if _, err := fmt.Fprintf(a.out, "export %s=%s\n", v[0], shellQuote(v[1])); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "account", "customer", "account of the embedded cloud: vendor, customer or stranger")
	_ = cmd.RegisterFlagCompletionFunc("account", cobra.FixedCompletions([]string{"vendor", "customer", "stranger"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// shellQuote makes one word of s for any POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
