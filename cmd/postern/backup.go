package main

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := a.verb("backup FILE", "Copy the control plane's embedded database while it runs", cobra.ExactArgs(1),
		func(ctx context.Context, c *api.Client, args []string) error {
			b, err := c.Backup(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = b.Close() }() // what matters is told by the last read
			n, err := saveAs(args[0], b)
			if err != nil {
				return err
			}
			sum := hex.EncodeToString(b.SHA256[:])
			return a.done(map[string]any{"file": args[0], "bytes": n, "sha256": sum},
				"the backup is in %s (%d bytes, SHA-256 %s); it holds secrets. Keep the files token, gateway-token and audit-key of --data as well", args[0], n, sum)
		})
	cmd.Long = `Copy the control plane's embedded database into FILE while everybody goes on to read and write. The copy is of one moment,
was checked before it was sent, and arrives whole or not at all. It takes as much of the control plane's disk as the database
while it is being sent. Operators may do this.

What is beside the database in the data directory is not in it: the files token, gateway-token and audit-key. Without them a
restored control plane makes new ones.

A PostgreSQL database is backed up with PostgreSQL's own tools: pg_dump.`
	return cmd
}

func (a *app) restoreCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of a control plane's database",
		Long: `Put a backup that "postern backup" wrote in the place of the control plane's database in --data, which nobody may run on.
Everything is checked first: a file that is damaged, or of a newer version of Postern, changes nothing.

What was done since the backup is lost, and the control plane cannot know of it. So everybody signs in again, cursors of the
feed of events are not taken any more, gateways get all rules anew, and the audit log says that it was restored. API keys that
were revoked since the backup are good again: revoke them once more.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := openDataDir(a.dataDir)
			if err != nil {
				return err
			}
			r, err := store.Restore(cmd.Context(), args[0], dir.path(databaseDir), force, store.Options{Log: a.log})
			if err != nil {
				return err
			}
			asOf := "from before its first event"
			if !r.AsOf.IsZero() {
				asOf = "whose last event is of " + r.AsOf.Format("2006-01-02 15:04:05 UTC")
			}
			return a.done(map[string]any{"data": a.dataDir, "installation_id": r.InstallationID, "as_of": r.AsOf},
				`%s holds installation %s again, %s; start the control plane, and revoke once more what was revoked since`, a.dataDir, r.InstallationID, asOf)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "lose the database that is in --data now")
	return cmd
}

func (a *app) migrateCommand() *cobra.Command {
	var d databaseFlags
	var rehearsal bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move a control plane's embedded database to PostgreSQL",
		Long: `Move the control plane's database in --data to the empty PostgreSQL database of --database-url, which is better given by
--database-url-file or $POSTERN_DATABASE_URL. Stop the control plane first; gateways go on with the rules that they have.

Everything is copied in one transaction and compared before it ends: afterwards all of it is there, or nothing. The original
stays as it was, marked so that no control plane starts on it by mistake. Then start "postern serve" with the same --data,
for the tokens and the audit log's key in it, and the new database.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, err := d.find()
			if err != nil {
				return err
			}
			if url == "" {
				return usagef("give --database-url-file", "no PostgreSQL database is named")
			}
			tables, err := store.Move(cmd.Context(), dataDir(a.dataDir).path(databaseDir), url, rehearsal, store.Options{Log: a.log})
			if err != nil {
				if link.KindOf(err) == link.Internal {
					return &link.Error{
						Kind: link.Precondition, Reason: "NOT_MOVED", Message: "the database was not moved", Err: err,
						Hint: "nothing was changed; when the cause is gone, run it again",
					}
				}
				return err
			}
			return a.tellMoved(tables, rehearsal)
		},
	}
	d.add(cmd.Flags())
	cmd.Flags().BoolVar(&rehearsal, "dry-run", false, "say what would be moved, and write nothing to PostgreSQL")
	return cmd
}

func (a *app) tellMoved(tables []store.MovedTable, rehearsal bool) error {
	rows, t := int64(0), &table{head: []string{"TABLE", "ROWS"}}
	list := []map[string]any{}
	for _, m := range tables {
		rows += m.Rows
		t.add(m.Name, strconv.FormatInt(m.Rows, 10))
		list = append(list, map[string]any{"table": m.Name, "rows": m.Rows})
	}
	if a.json() {
		return a.printJSON(map[string]any{"moved": !rehearsal, "rows": rows, "tables": list})
	}
	if err := t.write(a.out); err != nil {
		return err
	}
	if rehearsal {
		return a.done(nil, "%d rows in %d tables would be moved; nothing was", rows, len(tables))
	}
	return a.done(nil, "%d rows in %d tables were moved, and are the same; start the control plane with the new database", rows, len(tables))
}
