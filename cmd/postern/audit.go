package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

func (a *app) auditCommand() *cobra.Command {
	return noun("audit", "", "Evidence: who did what, proven, and which endpoints could and did pass traffic",
		a.auditListCommand(), a.auditReportCommand(), a.auditExportCommand(), a.auditVerifyCommand(), a.auditCheckpointCommand(), a.auditKeyCommand())
}

// auditTimes are the flags of a time from when and until when; since is where it begins unless somebody says so.
func auditTimes(cmd *cobra.Command, from, to *string, since string) {
	cmd.Flags().StringVar(from, "from", since, "beginning, as 2026-05-01, 2026-05-01T12:00:00Z, or 24h for as long ago")
	cmd.Flags().StringVar(to, "to", "", "end, in the same forms (default now)")
}

// timeArg reads a time from a command line; empty is the zero time.
func timeArg(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("write it as 2026-05-01, 2026-05-01T12:00:00Z or 24h", "--%s is no time: %q", flag, s)
}

func organisationFlag(cmd *cobra.Command, q *api.AuditQuery) {
	cmd.Flags().StringVar(&q.OrganisationID, "organisation", "", "id of the organisation whose entries are asked for (default all, which is for operators)")
}

func (a *app) auditListCommand() *cobra.Command {
	var q api.AuditQuery
	var from, to string
	list := a.verb("list", "List the audit log, newest first", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) (err error) {
		if q.From, err = timeArg("from", from, time.Now()); err != nil {
			return err
		}
		if q.To, err = timeArg("to", to, time.Now()); err != nil {
			return err
		}
		if q.ClusterID != "" {
			if _, bad := link.ParseID("cluster", q.ClusterID); bad != nil {
				cl, err := a.pickCluster(ctx, c, q.ClusterID)
				if err != nil {
					return err
				}
				q.ClusterID = cl.ID
			}
		}
		l, err := c.Audit(ctx, q, api.Page{Limit: 200, Descending: true})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"ENTRY", "AT", "WHO", "ACTION", "DECISION", "WHY"}, none: "no entries"}, func(t *table) {
			for _, e := range l.Entries {
				t.add(auditRow(e)...)
			}
		})
	})
	list.Flags().StringVarP(&q.ClusterID, "cluster", "c", "", "entries of this cluster, by id or name; by id also of one that was deleted")
	auditTimes(list, &from, &to, "")
	organisationFlag(list, &q)
	return list
}

func auditRow(e api.AuditEntry) []string {
	times := ""
	if e.Count > 1 {
		times = fmt.Sprintf(" (%d times)", e.Count)
	}
	return []string{strconv.FormatInt(e.Position, 10), e.At.UTC().Format(time.DateTime), e.Actor.Name, e.Action, e.Decision + times, e.Message}
}

func (a *app) auditKeyCommand() *cobra.Command {
	var q api.AuditQuery
	cmd := a.verb("key", "Print the public keys that sign the audit log: keep them where the installation cannot write", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error {
			l, err := c.AuditKeys(ctx, q)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(l)
			}
			for _, k := range l.Keys {
				if _, err := fmt.Fprintln(a.out, k.VerifierKey); err != nil {
					return err
				}
			}
			return nil
		})
	organisationFlag(cmd, &q)
	return cmd
}

func (a *app) auditCheckpointCommand() *cobra.Command {
	var q api.AuditQuery
	cmd := a.verb("checkpoint", "Print a signed checkpoint of the audit log: who keeps it notices when the log loses what it signs", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error {
			cp, err := c.AuditCheckpoint(ctx, q)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(cp)
			}
			_, err = io.WriteString(a.out, cp.Note)
			return err
		})
	organisationFlag(cmd, &q)
	return cmd
}

func (a *app) auditExportCommand() *cobra.Command {
	var q api.AuditQuery
	var from string
	cmd := a.verb("export FILE", `Export the audit log with its checkpoints; FILE "-" is standard output`, cobra.ExactArgs(1),
		func(ctx context.Context, c *api.Client, args []string) (err error) {
			if q.From, err = timeArg("from", from, time.Now()); err != nil {
				return err
			}
			body, err := c.ExportAudit(ctx, q)
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }() // what matters is told by the last read
			if args[0] == "-" {
				_, err = io.Copy(a.out, body)
				return err
			}
			n, err := saveAs(args[0], body)
			if err != nil {
				return err
			}
			return a.done(map[string]any{"file": args[0], "bytes": n}, "the audit log is in %s (%d bytes); \"postern audit verify %s\" checks it", args[0], n, args[0])
		})
	cmd.Flags().StringVar(&from, "from", "", "leave out entries of before: 2026-05-01, 2026-05-01T12:00:00Z, or 24h for as long ago")
	cmd.Flags().Int64Var(&q.Position, "position", 0, "begin with this entry")
	organisationFlag(cmd, &q)
	return cmd
}

// saveAs writes what r gives into a file, whole or not at all.
func saveAs(path string, r io.Reader) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".postern-*")
	if err != nil {
		return 0, usagef("give a file in a folder that you may write to", "the file cannot be made: %v", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if n, err = io.Copy(f, r); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return n, err
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var keys, checkpoints []string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Prove offline that an export of the audit log is whole and unchanged, or say where it is not",
		Long: `Check an export of the audit log without asking anybody: every entry's hash, that each continues the one before,
and every checkpoint's signature. Give --key, or it is proven only that the export fits the key that it names itself; give
--checkpoint with one that you kept, or an end that was cut off in the database cannot be noticed.

Exit codes: 0 the export is whole, 1 it is not, 2 it could not be read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.auditVerify(args[0], keys, checkpoints) },
	}
	cmd.Flags().StringSliceVar(&keys, "key", nil, `public key that counts, as "postern audit key" prints it, or a file that holds such lines`)
	cmd.Flags().StringSliceVar(&checkpoints, "checkpoint", nil, `file with a checkpoint that you kept, as "postern audit checkpoint" prints it`)
	return cmd
}

func (a *app) auditVerify(file string, keys, checkpoints []string) error {
	var o audit.Options
	for _, k := range keys {
		more, err := auditKeys(k)
		if err != nil {
			return err
		}
		o.Keys = append(o.Keys, more...)
	}
	for _, name := range checkpoints {
		note, err := os.ReadFile(name)
		if err != nil {
			return usagef("give a readable file to --checkpoint", "the checkpoint cannot be read: %v", err)
		}
		o.Checkpoints = append(o.Checkpoints, note)
	}
	f, err := os.Open(file)
	if err != nil {
		return usagef(`"postern audit export" makes one`, "the export cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := audit.Verify(f, o)
	if errors.Is(err, io.EOF) {
		err = usagef(`"postern audit export" makes one`, "%s is empty", file)
	}
	if err != nil {
		return err
	}
	if a.json() {
		err = a.printJSON(verifyResult(r, len(o.Keys) > 0))
	} else {
		err = tellVerified(a.out, r, len(o.Keys) > 0)
	}
	if err == nil && len(r.Faults) > 0 {
		return verdict(exitFailed)
	}
	return err
}

// auditKeys reads public keys from a command line: one, or a file with one in each line.
func auditKeys(s string) (out []ed25519.PublicKey, err error) {
	text := s
	if b, err := os.ReadFile(s); err == nil {
		text = string(b)
	}
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) == "" {
			continue
		}
		key, err := audit.ParseKey(l)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, usagef(`give what "postern audit key" prints`, "--key names no key: %q", s)
	}
	return out, nil
}

// verified is the result of a verification as a script gets it.
type verified struct {
	Whole          bool            `json:"whole"`
	KeyGiven       bool            `json:"key_given"`
	InstallationID string          `json:"installation_id,omitempty"`
	From           int64           `json:"from"`
	To             int64           `json:"to"`
	Entries        int64           `json:"entries"`
	Stubs          int64           `json:"stubs"`
	FirstAt        time.Time       `json:"first_at,omitzero"`
	LastAt         time.Time       `json:"last_at,omitzero"`
	Checkpoints    int64           `json:"checkpoints"`
	Kept           int             `json:"kept_checkpoints"`
	Faults         []verifiedFault `json:"faults"`
}

type verifiedFault struct {
	Line     int    `json:"line"`
	Position int64  `json:"position,omitempty"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

func verifyResult(r audit.Report, keyGiven bool) verified {
	v := verified{
		Whole: len(r.Faults) == 0, KeyGiven: keyGiven, InstallationID: r.Header.InstallationID, From: r.Header.From, To: r.Header.To,
		Entries: r.Entries, Stubs: r.Stubs, FirstAt: r.FirstAt, LastAt: r.LastAt, Checkpoints: r.Checkpoints, Kept: r.Kept, Faults: []verifiedFault{},
	}
	for _, f := range r.Faults {
		v.Faults = append(v.Faults, verifiedFault{f.Line, f.Position, string(f.Reason), f.Message})
	}
	return v
}

func tellVerified(w io.Writer, r audit.Report, keyGiven bool) error {
	var b strings.Builder
	if len(r.Faults) > 0 {
		fmt.Fprintf(&b, "NOT WHOLE: %d things do not fit; the first is where to look\n", len(r.Faults))
		for _, f := range r.Faults {
			fmt.Fprintf(&b, "  line %d, entry %d: %s: %s\n", f.Line, f.Position, f.Reason, f.Message)
		}
	} else {
		fmt.Fprintf(&b, "WHOLE: entries %d to %d of installation %s are as they were written\n", r.Header.From, r.Header.To, r.Header.InstallationID)
	}
	fmt.Fprintf(&b, "  entries      %d", r.Entries)
	if r.Stubs > 0 {
		fmt.Fprintf(&b, ", of which %d are others' and show their hashes alone", r.Stubs)
	}
	b.WriteByte('\n')
	if !r.FirstAt.IsZero() {
		fmt.Fprintf(&b, "  time         %s to %s\n", r.FirstAt.Format(time.RFC3339), r.LastAt.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "  checkpoints  %d with good signatures", r.Checkpoints)
	if r.LastCheckpoint.Position > 0 {
		fmt.Fprintf(&b, ", the last of entry %d at %s", r.LastCheckpoint.Position, r.LastCheckpoint.At.Format(time.RFC3339))
	}
	b.WriteByte('\n')
	if r.Kept > 0 {
		fmt.Fprintf(&b, "  kept         %d checkpoints that you kept are in the log\n", r.Kept)
	}
	if !keyGiven {
		b.WriteString("  key          taken from the export itself: give --key to prove who signed it\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// auditKey returns the key that a file holds, which signs the audit log, and makes it at the first call.
func auditKey(file string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(file)
	if err == nil {
		seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("%s holds no key of an audit log; put it back from a backup, or remove it to sign with a new one from now on", file)
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	seed := randomBytes(ed25519.SeedSize)
	return ed25519.NewKeyFromSeed(seed), replaceFile(file, []byte(base64.StdEncoding.EncodeToString(seed)+"\n"))
}
