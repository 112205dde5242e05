package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Q is the little that this package needs of a database engine's transaction.
type Q interface {
	Exec(ctx context.Context, text string, args ...any) (affected int64, err error)
	Query(ctx context.Context, text string, args ...any) (Rows, error)
}

// Rows is a result being read.
type Rows interface {
	Row
	Next() bool
	Err() error
	Close() error
}

// Row is something that can be scanned into variables.
type Row interface {
	Scan(into ...any) error
}

func (tx *Tx) exec(text string, args ...any) (int64, error) {
	return tx.s.Exec(tx.ctx, text, plainText(args)...)
}

func (tx *Tx) query(text string, args ...any) (Rows, error) {
	return tx.s.Query(tx.ctx, text, plainText(args)...)
}

// plainText makes what is text among the values of a statement text that every engine keeps: PostgreSQL takes no NUL and
// no broken UTF-8, and both may stand in what a client sent as a name. Each is replaced by U+FFFD.
func plainText(args []any) []any {
	for i, a := range args {
		s, ok := a.(string)
		if !ok {
			v := reflect.ValueOf(a)
			if v.Kind() != reflect.String {
				continue
			}
			s = v.String()
		}
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}

// ask is a statement to go to the engine with others.
func (tx *Tx) ask(take func(Row) error, text string, args ...any) asked {
	return asked{text, plainText(args), take}
}

// change runs a statement that must hit a row; missed is what to return when it hits none.
func (tx *Tx) change(missed error, text string, args ...any) error {
	n, err := tx.exec(text, args...)
	if err == nil && n == 0 {
		return missed
	}
	return err
}

// oneRow is a query of which the first row counts. Its Scan returns ErrNotFound when there is none.
type oneRow struct {
	rows Rows
	err  error
}

func (tx *Tx) row(text string, args ...any) oneRow {
	rows, err := tx.query(text, args...)
	return oneRow{rows, err}
}

func (r oneRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer func() { _ = r.rows.Close() }() // what matters is told by Err
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	// Only the end of the result tells whether the statement itself succeeded.
	for r.rows.Next() {
	}
	return errors.Join(r.rows.Err(), r.rows.Close())
}

// list reads a whole result.
func list[T any](tx *Tx, scan func(Row) (T, error), text string, args ...any) ([]T, error) {
	rows, err := tx.query(text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// stamp is a time as a column holds it; the zero time is 0.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// at scans a column of microseconds into t.
func at(t *time.Time) timeColumn { return timeColumn{t} }

type timeColumn struct{ t *time.Time }

// Scan implements sql.Scanner.
func (c timeColumn) Scan(src any) error {
	us, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as microseconds, not as %T", src)
	}
	*c.t = time.Time{}
	if us != 0 {
		*c.t = time.UnixMicro(us).UTC()
	}
	return nil
}

// text is a value as a JSON column holds it. It is given only values that always marshal.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: %T does not marshal: %v", v, err))
	}
	return string(b)
}

// parsed scans a JSON column into v, a pointer.
func parsed(v any) jsonColumn { return jsonColumn{v} }

type jsonColumn struct{ v any }

// Scan implements sql.Scanner.
func (c jsonColumn) Scan(src any) error {
	switch s := src.(type) {
	case string:
		return json.Unmarshal([]byte(s), c.v)
	case []byte:
		return json.Unmarshal(s, c.v)
	}
	return fmt.Errorf("JSON is kept as text, not as %T", src)
}

// Cut asks for a part of a list, by the order of creation. After is the seq of the last row of the previous part, 0 for
// the beginning.
type Cut struct {
	After      int64
	Limit      int
	Descending bool
}

// cut completes a SELECT whose condition is open ("… WHERE cluster_id = $1"), asking for one row more than wanted to
// learn whether there is another part.
func (c Cut) on(text string, args ...any) (string, []any) {
	n := len(args)
	order, cmp := "ASC", ">"
	if c.Descending {
		order, cmp = "DESC", "<"
	}
	if c.After > 0 {
		text += fmt.Sprintf(" AND seq %s $%d", cmp, n+1)
		args = append(args, c.After)
		n++
	}
	return text + fmt.Sprintf(" ORDER BY seq %s LIMIT $%d", order, n+1), append(args, c.Limit+1)
}

// listed is a row with its place in its list.
type listed[T any] struct {
	seq int64
	v   T
}

// cutList reads one part of a list and returns the seq to go on after, 0 at the end. scan has to scan seq first.
func cutList[T any](tx *Tx, c Cut, scan func(Row) (listed[T], error), text string, args ...any) ([]T, int64, error) {
	text, args = c.on(text, args...)
	rows, err := list(tx, scan, text, args...)
	if err != nil {
		return nil, 0, err
	}
	rows, next := part(c, rows)
	return unlisted(rows), next, nil
}

// part takes the row too many, that was asked for, off a part of a list, and returns the seq to go on after, 0 at the end.
func part[T any](c Cut, rows []listed[T]) (_ []listed[T], next int64) {
	if len(rows) > c.Limit {
		rows = rows[:c.Limit]
		next = rows[len(rows)-1].seq
	}
	return rows, next
}

// unlisted drops the places from a list.
func unlisted[T any](rows []listed[T]) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = r.v
	}
	return out
}
