package store

import (
	"context"
	"database/sql/driver"
	"fmt"

	modernc "modernc.org/sqlite"
)

// mostStatements is how many statements a connection keeps ready. The store and the queue together have fewer.
const mostStatements = 400

// sqliteConnector makes connections that keep their statements ready: to parse the text of a statement and to plan it takes
// SQLite longer than to run it, and all of ours are run over and over.
type sqliteConnector struct{ driver.Connector }

// newSQLiteConnector returns the connector of a database's name.
func newSQLiteConnector(name string) (driver.Connector, error) {
	c, err := modernc.NewConnector(name)
	return sqliteConnector{c}, err
}

// Connect implements driver.Connector.
func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	plain, ok := conn.(sqliteConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("a connection of %T does not do what the store needs", conn)
	}
	return &statementConn{sqliteConn: plain, ready: map[string]*statement{}}, nil
}

// sqliteConn is what a connection of the driver can do for database/sql.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// statementConn is a connection with its statements. database/sql sees to it that nobody uses it at the same time.
type statementConn struct {
	sqliteConn
	ready map[string]*statement // by their text
}

// statement is a statement that is kept.
type statement struct {
	driver.Stmt
	text string
	busy bool // rows of it are being read
}

// take returns the statement of a text, which is the caller's until let or drop; nil when rows of it are being read.
func (c *statementConn) take(ctx context.Context, text string) (*statement, error) {
	s := c.ready[text]
	switch {
	case s == nil:
		made, err := c.PrepareContext(ctx, text)
		if err != nil {
			return nil, err
		}
		c.makeRoom()
		s = &statement{Stmt: made, text: text}
		c.ready[text] = s
	case s.busy:
		return nil, nil
	}
	s.busy = true
	return s, nil
}

// makeRoom forgets one that nobody uses when there are too many.
func (c *statementConn) makeRoom() {
	if len(c.ready) < mostStatements {
		return
	}
	for _, s := range c.ready {
		if !s.busy {
			c.drop(s)
			return
		}
	}
}

// drop forgets a statement: one that failed may still hold on to the database.
func (c *statementConn) drop(s *statement) {
	delete(c.ready, s.text)
	_ = s.Close() // says again what it failed with
}

// ExecContext implements driver.ExecerContext.
func (c *statementConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, text, args)
	}
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	s.busy = false
	if err != nil {
		c.drop(s)
	}
	return r, err
}

// QueryContext implements driver.QueryerContext.
func (c *statementConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.QueryContext(ctx, text, args)
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		c.drop(s)
		return nil, err
	}
	return &statementRows{Rows: rows, of: c, s: s}, nil
}

// Close implements driver.Conn.
func (c *statementConn) Close() error {
	for _, s := range c.ready {
		if !s.busy { // or its rows are closed later, and end it
			c.drop(s)
		}
	}
	return c.sqliteConn.Close()
}

// statementRows gives its statement back when it was read.
type statementRows struct {
	driver.Rows
	of *statementConn
	s  *statement
}

// Close implements driver.Rows.
func (r *statementRows) Close() error {
	err := r.Rows.Close()
	r.s.busy = false
	if err != nil {
		r.of.drop(r.s)
	}
	return err
}
