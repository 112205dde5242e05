package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postern/postern/internal/audit"
)

// flip makes one bit of a file another, and writes it elsewhere: flip FROM TO LINE COLUMN. Lines count from 1, and from the
// end below 0; the column is a byte, from 0, and from the line's end below 0.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: flip from to line column")
	}
	lines := bytes.SplitAfter([]byte(ts.ReadFile(args[0])), []byte("\n"))
	lines = lines[:len(lines)-1]
	line, err := strconv.Atoi(args[2])
	ts.Check(err)
	column, err := strconv.Atoi(args[3])
	ts.Check(err)
	if line < 0 {
		line += len(lines) + 1
	}
	l := lines[line-1]
	if column < 0 {
		column += len(l)
	}
	l[column] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), bytes.Join(lines, nil), 0o600))
}

// tamper writes another text into the entries of the audit log in a database that no process has open: tamper FOLDER FROM TO.
func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: tamper folder from to")
	}
	statement := fmt.Sprintf(`UPDATE audit_entries SET body = replace(body, '%s', '%s') WHERE body LIKE '%%%[1]s%%'`, args[1], args[2])
	if database := ts.Getenv(databaseVariable); database != "" {
		conn, err := pgx.Connect(context.Background(), database)
		ts.Check(err)
		_, err = conn.Exec(context.Background(), statement)
		ts.Check(errors.Join(err, conn.Close(context.Background())))
		return
	}
	db, err := sql.Open("sqlite", filepath.Join(ts.MkAbs(args[0]), "postern.db"))
	ts.Check(err)
	_, err = db.Exec(statement)
	ts.Check(errors.Join(err, db.Close()))
}

// What docs/audit.md says to do with other tools does what it says.
func TestAuditRecipe(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("needs jq (Debian package jq)")
	}
	if _, err := exec.LookPath("xxd"); err != nil {
		t.Skip("needs xxd (Debian package xxd)")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl (Debian package openssl)")
	}
	doc, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tools, found := strings.Cut(string(doc), "## With other tools\n")
	ofEntry, tools, found2 := nextRecipe(tools)
	ofCheckpoint, _, found3 := nextRecipe(tools)
	if !found || !found2 || !found3 {
		t.Fatal("docs/audit.md has no two recipes")
	}
	dir := t.TempDir()
	put := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	follow := func(recipe string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", recipe)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	log, want := auditLines(t, 9)
	put("log.jsonl", log)
	if out, err := follow(ofEntry); err != nil || !strings.Contains(out, want[6]) {
		t.Errorf("%v: %s, want the hash of entry 7, %s", err, out, want[6])
	}

	// Of several keys: in some their base64 holds the character that parts the line.
	for seed := range byte(8) {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
		public, _ := key.Public().(ed25519.PublicKey)
		c := audit.Checkpoint{InstallationID: "0a1b2c3d", Position: 41, Previous: 17, At: time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)}
		note := c.Sign(key)
		put("audit-key.txt", []byte(audit.VerifierKey("0a1b2c3d", public)+"\n"))
		put("checkpoint.txt", note)
		if out, err := follow(ofCheckpoint); err != nil {
			t.Errorf("a checkpoint, by key %d: %v: %s", seed, err, out)
		}
		put("checkpoint.txt", bytes.Replace(note, []byte("\n41\n"), []byte("\n42\n"), 1))
		if out, err := follow(ofCheckpoint); err == nil {
			t.Errorf("a checkpoint that was changed, by key %d: %s", seed, out)
		}
	}
}

// nextRecipe cuts out the next lines of a document that are for a shell.
func nextRecipe(doc string) (recipe, rest string, found bool) {
	_, rest, found = strings.Cut(doc, "```sh\n")
	recipe, rest, found2 := strings.Cut(rest, "```")
	return recipe, rest, found && found2
}

// auditLines are the entries of a log as an export has them, with their hashes.
func auditLines(t *testing.T, n int) (lines []byte, hashes []string) {
	t.Helper()
	var last audit.Sealed
	for i := range n {
		var err error
		if last, err = audit.Seal(audit.Entry{Action: "a.b", Decision: audit.Done, Why: "number ☕ " + strconv.Itoa(i)}, last, [16]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		line, err := last.Line()
		if err != nil {
			t.Fatal(err)
		}
		lines, hashes = append(lines, line...), append(hashes, last.Hash.String())
	}
	return lines, hashes
}
