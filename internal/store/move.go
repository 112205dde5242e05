package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern/postern/internal/link"
)

// MovedTable is a table that Move copied, or would copy.
type MovedTable struct {
	Name string
	Rows int64
}

// Move copies the database in a directory, which no process may have open, into an empty PostgreSQL database: all tables in
// one transaction, each compared with the original before the end, so that afterwards everything is there or nothing is.
// Gateways go on with the rules that they have. The job queue is not copied: the sweep makes the jobs of what is due anew.
// The original is kept and marked as moved, so that no process opens it by mistake. A rehearsal writes nothing to
// PostgreSQL; like every process that opens the original it may bring the original's schema up to date.
func Move(ctx context.Context, dir, url string, rehearsal bool, o Options) (out []MovedTable, err error) {
	o.Log = orElse(o.Log, slog.Default())
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: "NO_DATABASE", Message: "there is no database in " + dir, Hint: "give the data directory that the control plane ran with",
		}
	}
	from, err := openSQLite(ctx, dir, o.Log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	tables, err := tablesOf(ctx, from.read)
	if err != nil {
		return nil, fmt.Errorf("read what there is to move: %w", err)
	}
	for _, t := range tables {
		n, err := countRows(ctx, from.read, t.name)
		if err != nil {
			return nil, err
		}
		out = append(out, MovedTable{t.name, n})
	}
	if rehearsal {
		return out, rehearse(ctx, url)
	}
	to, err := openPostgres(ctx, url, o.Log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	if err := pgError(ctx, moveInto(ctx, from.read, to, tables)); err != nil {
		return nil, err
	}
	_, err = from.write.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ('`+movedName+`', '1') ON CONFLICT (name) DO NOTHING`)
	if err != nil {
		return nil, fmt.Errorf("everything was moved, but the original could not be marked: never start it again: %w", err)
	}
	return out, nil
}

// movedName is the row of meta that says that a database was moved.
const movedName = "moved"

// errMoved is what opening a database fails with that was moved.
var errMoved = &link.Error{
	Kind: link.Precondition, Reason: "DATABASE_MOVED", Message: "this database was moved to PostgreSQL: two control planes would work against each other",
	Hint: "start with --database-url; to go back, restore a backup from before the move",
}

// unmoved fails with errMoved when the database was moved.
func (e *sqlite) unmoved(ctx context.Context) error {
	n, err := texts(ctx, e.read, `SELECT name FROM meta WHERE name = $1`, movedName)
	if err == nil && len(n) > 0 {
		return errMoved
	}
	return err
}

var errNotEmpty = &link.Error{
	Kind: link.Precondition, Reason: "DATABASE_NOT_EMPTY", Message: "the PostgreSQL database is in use already",
	Hint: "make an empty one with CREATE DATABASE, and start no control plane on it before the move",
}

// rehearse finds out whether a PostgreSQL database can be moved into.
func rehearse(ctx context.Context, url string) (err error) {
	c, err := pgxpool.ParseConfig(url) // which knows the parameters that openPostgres takes
	if err != nil {
		return errDatabaseURL
	}
	conn, err := pgx.ConnectConfig(ctx, c.ConnConfig)
	if err != nil {
		return pgError(ctx, fmt.Errorf("connect to the database: %w", err))
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var there bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('meta') IS NOT NULL`).Scan(&there); err != nil || !there {
		return err
	}
	return empty(ctx, conn)
}

// empty reports errNotEmpty of a database that a control plane was started on.
func empty(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) error {
	var used bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'installation_id') OR EXISTS (SELECT 1 FROM audit_entries)
		OR EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM clusters)`).Scan(&used)
	if err == nil && used {
		return errNotEmpty
	}
	return err
}

// table is one of ours.
type table struct {
	name    string
	columns []string
	needs   []string // tables that its rows refer to
	seq     int64    // the last that was ever given to a row; 0 of a table that gives none
}

// tablesOf are all tables of ours, those first that others refer to.
func tablesOf(ctx context.Context, db *sql.DB) ([]table, error) {
	names, err := texts(ctx, db, `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, notOurs)
	var tables []table
	for _, name := range names {
		t := table{name: name}
		if t.columns, err = texts(ctx, db, `SELECT name FROM pragma_table_info($1) ORDER BY cid`, name); err != nil {
			return nil, err
		}
		if t.needs, err = texts(ctx, db, `SELECT "table" FROM pragma_foreign_key_list($1)`, name); err != nil {
			return nil, err
		}
		err := db.QueryRowContext(ctx, `SELECT seq FROM sqlite_sequence WHERE name = $1`, name).Scan(&t.seq)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		tables = append(tables, t)
	}
	return inOrder(tables)
}

// notOurs tells the tables that belong to an engine, to the job queue or to what migrates: each database has its own.
func notOurs(name string) bool {
	return strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "river_") || name == "goose_db_version"
}

// inOrder sorts tables so that none comes before one that it needs.
func inOrder(tables []table) (out []table, err error) {
	done := map[string]bool{}
	for len(tables) > 0 {
		left := slices.DeleteFunc(slices.Clone(tables), func(t table) bool {
			ready := !slices.ContainsFunc(t.needs, func(n string) bool { return !done[n] })
			if ready {
				out = append(out, t)
			}
			return ready
		})
		if len(left) == len(tables) {
			return nil, fmt.Errorf("table %s and others refer to each other", left[0].name)
		}
		for _, t := range out {
			done[t.name] = true
		}
		tables = left
	}
	return out, nil
}

func texts(ctx context.Context, db *sql.DB, query string, args ...any) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what matters is told by Err
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func countRows(ctx context.Context, db *sql.DB, table string) (n int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM `+quoted(table)).Scan(&n)
	return n, err
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// moveInto copies all tables.
func moveInto(ctx context.Context, from *sql.DB, to *postgres, tables []table) error {
	tx, err := to.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing, after a commit
	// A control plane that starts meanwhile waits at meta, and then finds an installation that is there already.
	if _, err := tx.Exec(ctx, `LOCK TABLE meta IN ACCESS EXCLUSIVE MODE`); err != nil {
		return err
	}
	if err := empty(ctx, tx); err != nil {
		return err
	}
	types, err := columnTypes(ctx, tx)
	if err != nil {
		return err
	}
	for name := range types {
		if !slices.ContainsFunc(tables, func(t table) bool { return t.name == name }) && !notOurs(name) {
			return fmt.Errorf("PostgreSQL has a table %s, and SQLite none", name)
		}
	}
	for _, t := range slices.Backward(tables) { // what the migrations put there
		if _, err := tx.Exec(ctx, `DELETE FROM `+quoted(t.name)); err != nil {
			return fmt.Errorf("empty the table %s: %w", t.name, err)
		}
	}
	for _, t := range tables {
		if err := t.move(ctx, from, tx, types[t.name]); err != nil {
			return fmt.Errorf("move the table %s: %w", t.name, err)
		}
	}
	// Jobs are the other database's: the sweep finds whatever has none.
	if _, err := tx.Exec(ctx, `UPDATE work SET job_id = 0`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM meta WHERE name = $1`, movedName); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// columnTypes are the types of all columns of our tables on PostgreSQL, by table and column.
func columnTypes(ctx context.Context, tx pgx.Tx) (map[string]map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()`)
	if err != nil {
		return nil, err
	}
	types := map[string]map[string]string{}
	var table, column, typ string
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &typ}, func() error {
		if types[table] == nil {
			types[table] = map[string]string{}
		}
		types[table][column] = typ
		return nil
	})
	return types, err
}

// move copies a table and compares the copy.
func (t table) move(ctx context.Context, from *sql.DB, to pgx.Tx, types map[string]string) error {
	kinds := make([]string, len(t.columns))
	for i, c := range t.columns {
		if kinds[i] = types[c]; kinds[i] == "" {
			return fmt.Errorf("PostgreSQL has no column %s", c)
		}
	}
	if len(types) != len(t.columns) {
		return fmt.Errorf("PostgreSQL has %d columns, and SQLite %d", len(types), len(t.columns))
	}
	list := make([]string, len(t.columns))
	for i, c := range t.columns {
		list[i] = quoted(c)
	}
	query := `SELECT ` + strings.Join(list, ", ") + ` FROM ` + quoted(t.name)

	rows, err := from.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // what matters is told by Err
	source := &tableRows{rows: rows, kinds: kinds}
	copied, err := to.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, source)
	if err := errors.Join(err, rows.Err()); err != nil {
		return err
	}
	there := digest{}
	back, err := to.Query(ctx, query)
	if err != nil {
		return err
	}
	defer back.Close()
	for back.Next() {
		values, err := back.Values()
		if err != nil {
			return err
		}
		if values, err = plainValues(kinds, values); err != nil {
			return err
		}
		there.add(values)
	}
	if err := back.Err(); err != nil {
		return err
	}
	if source.digest != there || copied != there.rows {
		return fmt.Errorf("what PostgreSQL holds is not what it was given: %d rows of %d", there.rows, source.digest.rows)
	}
	if t.seq == 0 {
		return nil
	}
	// No number is given twice, not even that of a row that is gone.
	_, err = to.Exec(ctx, `SELECT setval(pg_get_serial_sequence($1, 'seq'), $2)`, quoted(t.name), t.seq)
	return err
}

// tableRows gives the rows of a table on SQLite to PostgreSQL. It implements pgx.CopyFromSource.
type tableRows struct {
	rows   *sql.Rows
	kinds  []string
	digest digest
}

// Next implements pgx.CopyFromSource.
func (r *tableRows) Next() bool { return r.rows.Next() }

// Values implements pgx.CopyFromSource.
func (r *tableRows) Values() ([]any, error) {
	values, into := make([]any, len(r.kinds)), make([]any, len(r.kinds))
	for i := range values {
		into[i] = &values[i]
	}
	if err := r.rows.Scan(into...); err != nil {
		return nil, err
	}
	values, err := plainValues(r.kinds, values)
	if err == nil {
		r.digest.add(values)
	}
	return values, err
}

// Err implements pgx.CopyFromSource.
func (r *tableRows) Err() error { return r.rows.Err() }

// plainValues are the values of a row as both engines give them: int64, bool and string. kinds are the types of the columns
// on PostgreSQL.
func plainValues(kinds []string, values []any) ([]any, error) {
	for i, v := range values {
		switch x := v.(type) {
		case int32:
			v = int64(x)
		case []byte:
			v = string(x)
		}
		n, isInt := v.(int64)
		_, isBool := v.(bool)
		s, isText := v.(string)
		switch {
		case kinds[i] == "boolean" && isInt:
			v = n != 0
		case kinds[i] == "boolean" && isBool, kinds[i] == "bigint" && isInt, kinds[i] == "integer" && isInt:
		case kinds[i] == "text" && isText:
			// From before everything that was written was made so.
			v = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
		default:
			return nil, fmt.Errorf("a value of type %T in a column of type %s", v, kinds[i])
		}
		values[i] = v
	}
	return values, nil
}

// digest says of rows, whatever their order, how many there are and what is in them. The zero value is that of none.
type digest struct {
	rows int64
	sums [4]uint64 // of the rows' SHA-256, each quarter by itself
}

func (d *digest) add(values []any) {
	h := sha256.New()
	for _, v := range values {
		s := fmt.Sprint(v)
		_, _ = fmt.Fprintf(h, "%T %d %s\n", v, len(s), s) // a hash takes everything
	}
	sum := h.Sum(nil)
	for i := range d.sums {
		d.sums[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
	d.rows++
}
